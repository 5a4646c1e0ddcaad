//! The append-only record of every change of trust: JSON lines, each with the hash of the one before.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::identity::Sha256;
use crate::units::Timestamp;

/// The record of one authority. Any number of processes may append to it.
#[derive(Clone, Debug)]
pub struct Audit {
    path: PathBuf,
}

/// What happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// One word, such as `enroll` or `revoke`.
    pub what: &'static str,
    /// Who did it: a client's name, `operator` or `nobody`.
    pub who: String,
    /// Where from.
    pub from: Option<IpAddr>,
    /// What else there is to know, by name.
    pub details: Vec<(&'static str, String)>,
}

/// The last line of a record, or any that was last once: if that line is there unchanged, so is all before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of the line, from 1; 0 when there is none.
    pub number: u64,
    /// SHA-256 of the line without its end; of nothing when there is none.
    pub hash: Sha256,
}

impl Head {
    /// Before the first line.
    pub fn none() -> Self {
        Self { number: 0, hash: Sha256::of(b"") }
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    number: u64,
    at: String,
    what: String,
    who: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    from: Option<IpAddr>,
    #[serde(default)]
    details: serde_json::Map<String, serde_json::Value>,
    previous: String,
}

impl Audit {
    /// The record at `path`, which is made on the first line.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line; when this returns it is on disk. Blocks while another process appends.
    ///
    /// # Errors
    /// When it cannot be written; then nothing of it is left.
    pub fn append(&self, now: Timestamp, event: &Event) -> Result<Head, Error> {
        self.write(now, event).map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    fn write(&self, now: Timestamp, event: &Event) -> io::Result<Head> {
        let new = !self.path.exists();
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        if new && let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        let whole = drop_torn_line(&mut file)?;
        let last = last_line(&mut file, whole)?;
        let (line, head) = next_line(now, event, last.as_deref())?;
        let written = file.write_all(&line).and_then(|()| file.sync_data());
        if written.is_err() {
            file.set_len(whole)?;
        }
        written.map(|()| head)
    }
}

/// Reads a whole record and answers its last line's number and hash. `anchor`: a head that was kept elsewhere, which
/// must be in it; without one, lines taken off the end are not missed.
///
/// # Errors
/// [`Error::Broken`] names the first line that is not as it was written.
pub fn verify(path: &Path, anchor: Option<&Head>) -> Result<Head, Error> {
    let cannot = |source| Error::Read { path: path.to_owned(), source };
    let mut head = Head::none();
    let mut anchored = anchor.is_none_or(|anchor| anchor.number == 0);
    let file = match File::open(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(cannot(error)),
    };
    for line in file.map(Lines::of).into_iter().flatten() {
        let line = line.map_err(cannot)?;
        let number = head.number.saturating_add(1);
        let broken = |why| Error::Broken { line: number, why };
        let line = line.ok_or_else(|| broken("it is longer than any that was written"))?;
        let parsed: Line = serde_json::from_slice(&line).map_err(|_| broken("it cannot be read"))?;
        if parsed.number != number {
            return Err(broken("a line is missing before it, or it is out of order"));
        }
        if parsed.previous != head.hash.to_string() {
            return Err(broken("it, or the line before it, was altered"));
        }
        head = Head { number, hash: Sha256::of(&line) };
        if let Some(anchor) = anchor.filter(|anchor| anchor.number == number) {
            anchored = head == *anchor;
            if !anchored {
                return Err(broken("it was altered"));
            }
        }
    }
    let cut = || Error::Broken { line: head.number.saturating_add(1), why: "lines are missing from the end" };
    if anchored { Ok(head) } else { Err(cut()) }
}

/// The last lines of a record, at most so many, oldest first, as they were written.
///
/// # Errors
/// When it cannot be read.
pub fn last(path: &Path, most: usize) -> Result<Vec<String>, Error> {
    let cannot = |source| Error::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(cannot(error)),
    };
    let (mut lines, mut bytes) = (VecDeque::new(), 0);
    for line in Lines::of(file) {
        let line = line.map_err(cannot)?.unwrap_or_else(|| TOO_LONG.into());
        let line = String::from_utf8_lossy(&line).into_owned();
        bytes += line.len();
        lines.push_back(line);
        while lines.len() > most || bytes > MOST_BYTES {
            bytes -= lines.pop_front().map_or(0, |line| line.len());
        }
    }
    Ok(lines.into())
}

/// The longest line there is, without its end. What is in one comes from names and messages with limits of their own.
const LONGEST: usize = 64 * 1024;
/// Bytes of lines that are answered at once.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// What stands for a line that is none of ours.
const TOO_LONG: &[u8] = b"(a line that is longer than any that was written)";

/// The lines of a record: `None` for one that is too long to be read into memory. Whoever can write the record must not
/// be able to fill the memory of who checks it.
struct Lines(BufReader<File>);

impl Lines {
    fn of(file: File) -> Self {
        Self(BufReader::new(file))
    }

    fn read(&mut self) -> io::Result<Option<Option<Vec<u8>>>> {
        let mut line = Vec::new();
        let most = u64::try_from(LONGEST).unwrap_or(u64::MAX).saturating_add(1);
        if (&mut self.0).take(most).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if line.pop_if(|last| *last == b'\n').is_some() || line.len() <= LONGEST {
            return Ok(Some(Some(line)));
        }
        self.0.skip_until(b'\n')?;
        Ok(Some(None))
    }
}

impl Iterator for Lines {
    type Item = io::Result<Option<Vec<u8>>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// A line without an end was being written when the power went; nobody was told that it was there.
fn drop_torn_line(file: &mut File) -> io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    let whole = start_of_line(file, length)?;
    if whole < length {
        file.set_len(whole)?;
        file.sync_data()?;
    }
    Ok(whole)
}

fn last_line(file: &mut File, end: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(before_the_end) = end.checked_sub(1) else { return Ok(None) };
    let start = start_of_line(file, before_the_end)?;
    let mut line = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    // One that is longer is none of ours: the part of it that is read makes the chain go on, and `verify` names it.
    let most = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    (&*file).take(before_the_end.saturating_sub(start).min(most)).read_to_end(&mut line)?;
    Ok(Some(line))
}

/// The place after the last line end before `end`.
fn start_of_line(file: &mut File, end: u64) -> io::Result<u64> {
    const STEP: u64 = 4096;
    let mut end = end;
    while end > 0 {
        let start = end.saturating_sub(STEP);
        let mut piece = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        (&*file).take(end.saturating_sub(start)).read_to_end(&mut piece)?;
        if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start.saturating_add(u64::try_from(at).unwrap_or(u64::MAX)).saturating_add(1));
        }
        end = start;
    }
    Ok(0)
}

fn next_line(now: Timestamp, event: &Event, last: Option<&[u8]>) -> io::Result<(Vec<u8>, Head)> {
    // A last line that cannot be read is not repaired: the chain goes on from it and `verify` names it.
    let before = last.map_or_else(Head::none, |line| Head {
        number: serde_json::from_slice::<Line>(line).map_or(0, |line| line.number),
        hash: Sha256::of(line),
    });
    let details = event.details.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into())).collect();
    let line = Line {
        number: before.number.saturating_add(1),
        at: now.to_string(),
        what: event.what.to_owned(),
        who: event.who.clone(),
        from: event.from,
        details,
        previous: before.hash.to_string(),
    };
    let mut bytes = serde_json::to_vec(&line)?;
    if bytes.len() > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the line is longer than one can be"));
    }
    let head = Head { number: line.number, hash: Sha256::of(&bytes) };
    bytes.push(b'\n');
    Ok((bytes, head))
}

/// What is wrong with a record.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A line could not be written.
    #[error("could not write the audit log {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be read.
    #[error("could not read the audit log {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not as it was written.
    #[error("the audit log is broken at line {line}: {why}")]
    Broken {
        /// The first line that is not as it was written.
        line: u64,
        /// What about it.
        why: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn event(name: &str) -> Event {
        Event { what: "enroll", who: name.into(), from: None, details: vec![("name", "line\nbreak \"quoted\"".into())] }
    }

    fn written(lines: u64) -> (tempfile::TempDir, Audit) {
        let folder = tempfile::tempdir().expect("a folder");
        let audit = Audit::at(folder.path().join("audit.log"));
        for number in 1..=lines {
            let head = audit.append(Timestamp::from_secs(1_700_000_000), &event("alice")).expect("appended");
            assert_eq!(head.number, number);
        }
        (folder, audit)
    }

    fn lines(audit: &Audit) -> Vec<String> {
        std::fs::read_to_string(audit.path()).expect("read").lines().map(str::to_owned).collect()
    }

    fn rewrite(audit: &Audit, lines: &[String]) {
        std::fs::write(audit.path(), lines.iter().map(|line| format!("{line}\n")).collect::<String>())
            .expect("written");
    }

    #[test]
    fn what_was_appended_verifies_and_is_private() {
        let (_folder, audit) = written(5);
        let head = verify(audit.path(), None).expect("whole");
        assert_eq!(head.number, 5);
        assert_eq!(verify(audit.path(), Some(&head)).expect("whole"), head);
        let mode = std::fs::metadata(audit.path()).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_last_lines_are_as_they_were_written() {
        let (_folder, audit) = written(5);
        assert_eq!(last(audit.path(), 2).expect("read"), lines(&audit).split_off(3));
        assert_eq!(last(audit.path(), 100).expect("read"), lines(&audit));
        assert!(last(&audit.path().with_extension("none"), 5).expect("nothing").is_empty());
    }

    #[test]
    fn every_removed_altered_or_moved_line_is_found() {
        let (_folder, audit) = written(4);
        let head = verify(audit.path(), None).expect("whole");
        let whole = lines(&audit);
        for at in 0..whole.len() {
            let mut fewer = whole.clone();
            fewer.remove(at);
            rewrite(&audit, &fewer);
            assert!(matches!(verify(audit.path(), Some(&head)), Err(Error::Broken { .. })), "removed {at}");
            let mut altered = whole.clone();
            altered[at] = altered[at].replace("alice", "mallo");
            rewrite(&audit, &altered);
            assert!(matches!(verify(audit.path(), Some(&head)), Err(Error::Broken { .. })), "altered {at}");
            let mut moved = whole.clone();
            moved.swap(at, (at + 1) % whole.len());
            rewrite(&audit, &moved);
            assert!(matches!(verify(audit.path(), Some(&head)), Err(Error::Broken { .. })), "moved {at}");
        }
        std::fs::remove_file(audit.path()).expect("removed");
        assert!(matches!(verify(audit.path(), Some(&head)), Err(Error::Broken { line: 1, .. })));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_told() {
        let (_folder, audit) = written(3);
        let head = verify(audit.path(), None).expect("whole");
        let whole = lines(&audit);
        let why = |lines: &[String]| {
            rewrite(&audit, lines);
            match verify(audit.path(), Some(&head)) {
                Err(Error::Broken { line, why }) => (line, why),
                other => panic!("{other:?}"),
            }
        };
        let altered = |at: usize| {
            let mut lines = whole.clone();
            lines[at] = lines[at].replace("alice", "mallo");
            lines
        };
        assert_eq!(why(&altered(0)), (2, "it, or the line before it, was altered"));
        assert_eq!(why(&altered(2)), (3, "it was altered"));
        assert_eq!(why(&whole[1..]), (1, "a line is missing before it, or it is out of order"));
        assert_eq!(why(&whole[..2]), (3, "lines are missing from the end"));
        assert_eq!(why(&[whole[0].clone(), "{}".to_owned()]), (2, "it cannot be read"));
    }

    #[test]
    fn a_torn_last_line_is_dropped_and_the_chain_goes_on() {
        let (_folder, audit) = written(2);
        let mut file = OpenOptions::new().append(true).open(audit.path()).expect("opened");
        file.write_all(b"{\"number\":3,\"at\":\"20").expect("torn");
        let head = audit.append(Timestamp::from_secs(1), &event("bob")).expect("appended");
        assert_eq!(head.number, 3);
        assert_eq!(verify(audit.path(), None).expect("whole"), head);
    }

    #[test]
    fn long_lines_are_chained_too() {
        let (_folder, audit) = written(1);
        audit.append(Timestamp::from_secs(1), &event(&"x".repeat(10_000))).expect("appended");
        audit.append(Timestamp::from_secs(2), &event("y")).expect("appended");
        assert_eq!(verify(audit.path(), None).expect("whole").number, 3);
    }

    #[test]
    fn a_line_of_any_length_is_neither_written_nor_read_into_memory() {
        let (_folder, audit) = written(2);
        let huge = audit.append(Timestamp::from_secs(1), &event(&"x".repeat(LONGEST)));
        assert!(matches!(huge, Err(Error::Write { .. })));
        assert_eq!(verify(audit.path(), None).expect("whole").number, 2, "nothing of it is left");
        // The longest there can be, and one byte more.
        let line = |length: usize| format!("{}\n", "x".repeat(length));
        for (length, whole) in [(LONGEST, true), (LONGEST + 1, false)] {
            std::fs::write(audit.path(), line(length) + "next\n").expect("written");
            let read: Vec<bool> = Lines::of(File::open(audit.path()).expect("opened"))
                .map(|line| line.expect("read").is_some())
                .collect();
            assert_eq!(read, [whole, true], "{length}");
        }
        // One that takes no room on disk: it is passed over, not kept.
        let file = OpenOptions::new().write(true).truncate(true).open(audit.path()).expect("opened");
        file.set_len(256 * 1024 * 1024).expect("a hole");
        let broken = verify(audit.path(), None);
        let why = "it is longer than any that was written";
        assert!(matches!(&broken, Err(Error::Broken { line: 1, why: found }) if *found == why), "{broken:?}");
        assert_eq!(last(audit.path(), 10).expect("read"), [String::from_utf8_lossy(TOO_LONG)]);
        let mut file = OpenOptions::new().append(true).open(audit.path()).expect("opened");
        file.write_all(b"\n").expect("ended");
        let head = audit.append(Timestamp::from_secs(1), &event("after")).expect("appended");
        assert_eq!(head.number, 1, "what cannot be read has no number");
        assert!(matches!(verify(audit.path(), Some(&head)), Err(Error::Broken { line: 1, .. })));
    }

    #[test]
    fn no_more_is_answered_at_once_than_there_is_room_for() {
        let (_folder, audit) = written(0);
        let line = format!("\u{e4}{}\n", "x".repeat(LONGEST - 2));
        std::fs::write(audit.path(), line.repeat(2 * MOST_BYTES / LONGEST)).expect("written");
        assert_eq!(last(audit.path(), usize::MAX).expect("read").len(), MOST_BYTES / LONGEST);
        std::fs::write(audit.path(), b"\xff\xfe\n").expect("written");
        assert_eq!(last(audit.path(), 1).expect("what is no text is shown as well as it can be"), ["\u{fffd}\u{fffd}"]);
    }

    #[test]
    fn appending_from_many_sides_breaks_nothing() {
        let (_folder, audit) = written(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        audit.append(Timestamp::from_secs(1), &event("thread")).expect("appended");
                    }
                });
            }
        });
        assert_eq!(verify(audit.path(), None).expect("whole").number, 80);
    }
}

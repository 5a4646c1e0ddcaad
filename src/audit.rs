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
    for line in file.map(BufReader::new).into_iter().flat_map(|reader| reader.split(b'\n')) {
        let line = line.map_err(cannot)?;
        let number = head.number.saturating_add(1);
        let broken = |why| Error::Broken { line: number, why };
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
    let mut lines = VecDeque::new();
    for line in BufReader::new(file).lines() {
        lines.push_back(line.map_err(cannot)?);
        if lines.len() > most {
            lines.pop_front();
        }
    }
    Ok(lines.into())
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
    (&*file).take(before_the_end.saturating_sub(start)).read_to_end(&mut line)?;
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

//! Reading: everything is unpacked beside its place and checked there, and only then put into it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use ring::digest::{Context, SHA256};
use rustix::fs::{FlockOperation, flock, syncfs};
use tar::{EntryType, Header};

use super::write::sha256;
use super::{BLOCK, END, End, Error, FORMAT, HEAD, Head, PIECE, ROWS};
use crate::authority::backup::{is_ours, settle};
use crate::identity::Sha256;
use crate::store::folder::{Snapshot, digest, is_in_use, place};
use crate::units::Timestamp;

/// Where a backup is unpacked, in the folder it is restored to, so that it is on the same disk.
const UNPACKED: &str = ".restoring";

/// What the archive's own texts may have at most.
const TEXT: u64 = 4096;

/// The parts of a storage folder. They are put in place in this order and moved away in the other: rows without the CA
/// they belong to are what no server starts on, so that one which is killed in between leaves nothing half.
const PARTS: [&str; 3] = [ROWS, "files", "pki"];

/// What the rows have beside them.
const BESIDE: [&str; 6] = ["links.db-wal", "links.db-shm", "links.db-journal", "trust-epoch", "writers", "listening"];

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Links with bytes.
    pub links: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the backup was made.
    pub made_at: Timestamp,
    /// Invites nobody had used by then. Somebody may have since, so they have ended.
    pub invites: u64,
    /// Where that is which was there before.
    pub aside: Option<PathBuf>,
}

/// Restores a backup to a storage folder that is empty, or not there. With `replace` what is there is moved aside
/// first, never mixed with it.
///
/// # Errors
/// When the backup is not whole or does not hold what its rows name, when there is something where it would go, or a
/// server uses the folder. Then the folder is as it was.
pub fn read(from: impl Read, storage: &Path, replace: bool, now: Timestamp) -> Result<Restored, Error> {
    free(storage, replace)?;
    let made = !storage.exists();
    let restored = restore(from, storage, replace, now);
    if restored.is_err() && made {
        // Made for nothing. That it is not empty cannot be, and would keep it.
        let _ = std::fs::remove_dir(storage);
    }
    restored
}

fn restore(from: impl Read, storage: &Path, replace: bool, now: Timestamp) -> Result<Restored, Error> {
    let unpacked = Unpacked::new(storage)?;
    let found = unpack(from, &unpacked.path)?;
    let mut restored = check(&unpacked.path, &found, now)?;
    unpacked.sync()?;
    // It may have taken long.
    free(storage, replace)?;
    restored.aside = move_aside(storage, now)?;
    for part in PARTS {
        rename(&unpacked.path.join(part), &storage.join(part))?;
        sync(storage)?;
    }
    Ok(restored)
}

/// Whether the folder may be restored to.
fn free(storage: &Path, replace: bool) -> Result<(), Error> {
    if is_in_use(storage)? {
        return Err(Error::InUse(storage.to_owned()));
    }
    if replace || names(storage)?.is_empty() { Ok(()) } else { Err(Error::NotEmpty(storage.to_owned())) }
}

/// What is in a folder, but for what every file system has and what a restore that was killed left.
fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::storage("list", folder, source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| Error::storage("list", folder, source))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != "lost+found" && name != UNPACKED {
            names.push(name);
        }
    }
    Ok(names)
}

/// The folder things are unpacked to. What is in it goes with it, unless it was put in place.
struct Unpacked {
    path: PathBuf,
    folder: File,
}

impl Unpacked {
    fn new(storage: &Path) -> Result<Self, Error> {
        let path = storage.join(UNPACKED);
        make_folder(&path)?;
        let folder = File::open(&path).map_err(|source| Error::storage("open", &path, source))?;
        if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Error::InUse(storage.to_owned()));
        }
        let unpacked = Self { path, folder };
        // From a restore that was killed.
        unpacked.clear()?;
        make_folder(&unpacked.path.join("files"))?;
        make_folder(&unpacked.path.join("pki"))?;
        Ok(unpacked)
    }

    fn clear(&self) -> Result<(), Error> {
        for name in names(&self.path)? {
            let path = self.path.join(name);
            let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.map_err(|source| Error::storage("delete", &path, source))?;
        }
        Ok(())
    }

    /// Everything in it, at once: one file after the other would take its time for each.
    fn sync(&self) -> Result<(), Error> {
        syncfs(&self.folder).map_err(|error| Error::storage("sync", &self.path, error.into()))
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        // What cannot be deleted now is by the next restore.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// What came out of an archive.
struct Found {
    made_at: Timestamp,
    blobs: u64,
}

fn unpack(from: impl Read, to: &Path) -> Result<Found, Error> {
    let mut archive = Archive { from, digest: Context::new(&SHA256) };
    let first = match archive.next() {
        Ok(Some(entry)) if entry.name == HEAD => entry,
        Err(Error::Read(source)) => return Err(Error::Read(source)),
        _ => return Err(Error::NotABackup),
    };
    let head: Head = serde_json::from_slice(&archive.text(&first)?).map_err(|_| Error::NotABackup)?;
    if head.format > FORMAT {
        return Err(Error::Newer(head.format));
    }
    let mut found = Found { made_at: head.made_at, blobs: 0 };
    loop {
        let before = sha256(&archive.digest);
        let entry = archive.next()?.ok_or(Error::CutOff)?;
        if entry.name == END {
            let end: End = serde_json::from_slice(&archive.text(&entry)?)
                .map_err(|_| Error::Damaged("its last entry cannot be read".to_owned()))?;
            if end.sha256 != before.to_string() {
                return Err(Error::Damaged("it is not what was written".to_owned()));
            }
            archive.rest()?;
            return Ok(found);
        }
        let path = to.join(expected(&entry.name)?);
        if entry.name.starts_with("files/")
            && let Some(folder) = path.parent()
        {
            make_folder(folder)?;
            found.blobs += 1;
        }
        archive.save(&entry, &path)?;
    }
}

/// The path of an entry, which can only be one of those that belong in a storage folder.
fn expected(name: &str) -> Result<PathBuf, Error> {
    let path = Path::new(name);
    let parts: Vec<&str> = path
        .components()
        .map(|part| match part {
            Component::Normal(part) => part.to_str().unwrap_or_default(),
            _ => "",
        })
        .collect();
    let fits = match parts.as_slice() {
        [rows] => *rows == ROWS,
        ["pki", name] => is_ours(name),
        ["files", _, _, blob] => place(blob).is_ok_and(|place| place == path),
        _ => false,
    };
    // Slashes that say nothing are left out of the parts.
    if fits && parts.join("/") == name { Ok(path.to_owned()) } else { Err(foreign(name)) }
}

fn foreign(name: &str) -> Error {
    Error::Damaged(format!("{name:?} does not belong in a backup"))
}

struct Entry {
    name: String,
    size: u64,
    public: bool,
}

struct Archive<R> {
    from: R,
    digest: Context,
}

impl<R: Read> Archive<R> {
    /// The next entry; `None` at the end.
    fn next(&mut self) -> Result<Option<Entry>, Error> {
        let mut block = [0; BLOCK];
        match self.fill(&mut block) {
            Ok(()) => (),
            Err(Error::CutOff) => return Ok(None),
            Err(error) => return Err(error),
        }
        let header = Header::from_byte_slice(&block);
        let odd = || Error::Damaged("it has an entry that cannot be read".to_owned());
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
            .sum();
        if header.cksum().ok() != Some(sum) {
            return Err(odd());
        }
        let name = header.path_bytes();
        let name = std::str::from_utf8(&name).map_err(|_| odd())?.to_owned();
        if header.entry_type() != EntryType::Regular {
            return Err(foreign(&name));
        }
        let public = header.mode().map_err(|_| odd())? & 0o044 != 0;
        Ok(Some(Entry { name, size: header.size().map_err(|_| odd())?, public }))
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<(), Error> {
        self.from.read_exact(into).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::CutOff,
            _ => Error::Read(error),
        })?;
        self.digest.update(into);
        Ok(())
    }

    fn text(&mut self, entry: &Entry) -> Result<Vec<u8>, Error> {
        if entry.size > TEXT {
            return Err(foreign(&entry.name));
        }
        let mut bytes = vec![0; usize::try_from(entry.size).unwrap_or(0)];
        self.fill(&mut bytes)?;
        self.padding(entry.size)?;
        Ok(bytes)
    }

    fn padding(&mut self, size: u64) -> Result<(), Error> {
        let rest = (BLOCK - usize::try_from(size % BLOCK as u64).unwrap_or(0)) % BLOCK;
        self.fill([0; BLOCK].get_mut(..rest).unwrap_or_default())
    }

    fn save(&mut self, entry: &Entry, path: &Path) -> Result<(), Error> {
        let cannot = |source| Error::storage("write", path, source);
        let mode = if entry.public { 0o644 } else { 0o600 };
        let mut file = match OpenOptions::new().write(true).create_new(true).mode(mode).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::Damaged(format!("{:?} is in it twice", entry.name)));
            }
            Err(source) => return Err(cannot(source)),
        };
        let mut piece = vec![0; PIECE];
        let mut left = entry.size;
        while left > 0 {
            let next = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let part = piece.get_mut(..next).unwrap_or_default();
            self.fill(part)?;
            file.write_all(part).map_err(cannot)?;
            left -= next as u64;
        }
        self.padding(entry.size)
    }

    /// After the last entry there is nothing but what fills an archive up.
    fn rest(&mut self) -> Result<(), Error> {
        let mut rest = Vec::new();
        (&mut self.from).take(1 << 20).read_to_end(&mut rest).map_err(Error::Read)?;
        if rest.iter().all(|byte| *byte == 0) && rest.len() < 1 << 20 {
            return Ok(());
        }
        Err(Error::Damaged("there is something after its last entry".to_owned()))
    }
}

/// Whether what was unpacked is what its rows say.
fn check(unpacked: &Path, found: &Found, now: Timestamp) -> Result<Restored, Error> {
    let path = unpacked.join(ROWS);
    if !path.is_file() {
        return Err(Error::Damaged("it has no rows".to_owned()));
    }
    let rows = Snapshot::open(&path)?;
    rows.check()?;
    let mut restored = Restored { links: 0, bytes: 0, made_at: found.made_at, invites: 0, aside: None };
    let mut last = String::new();
    loop {
        let page = rows.after(&last)?;
        let Some(end) = page.last() else { break };
        last.clone_from(&end.id);
        for kept in page {
            let path = unpacked.join(place(&kept.blob)?);
            if self::found(&path)? != (kept.size, kept.sha256) {
                return Err(Error::Damaged(format!("the bytes of link {} are not what its row says", kept.id)));
            }
            restored.links += 1;
            restored.bytes += kept.size;
        }
    }
    // A name is never used twice.
    if restored.links != found.blobs {
        return Err(Error::Damaged("it has files that no row names".to_owned()));
    }
    restored.invites = settle(&unpacked.join("pki"), &rows, now)?;
    rows.close()?;
    Ok(restored)
}

fn found(path: &Path) -> Result<(u64, Sha256), Error> {
    digest(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::Damaged(format!("{} is not in it", path.display())),
        _ => Error::storage("read", path, source),
    })
}

/// Moves what a server left to a folder beside it; `None` if there is nothing.
fn move_aside(storage: &Path, now: Timestamp) -> Result<Option<PathBuf>, Error> {
    let there = |name: &&str| storage.join(name).symlink_metadata().is_ok();
    let found: Vec<&str> = PARTS.iter().rev().copied().chain(BESIDE).filter(there).collect();
    if found.is_empty() {
        return Ok(None);
    }
    let aside = storage.join(format!("replaced-{}", now.as_millis()));
    DirBuilder::new().mode(0o700).create(&aside).map_err(|source| Error::storage("make", &aside, source))?;
    for name in found {
        rename(&storage.join(name), &aside.join(name))?;
    }
    sync(storage)?;
    Ok(Some(aside))
}

fn make_folder(path: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().mode(0o700).recursive(true).create(path);
    made.map_err(|source| Error::storage("make the folder", path, source))
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::rename(from, to).map_err(|source| Error::storage("put in place", to, source))
}

fn sync(folder: &Path) -> Result<(), Error> {
    let synced = File::open(folder).and_then(|file| file.sync_all());
    synced.map_err(|source| Error::storage("sync", folder, source))
}

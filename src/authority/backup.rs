//! The authority's folder in a backup: its files as they were at one instant, and what has to be so after a restore.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::folder::{Folder, Lock};
use super::{AUDIT_HEAD, Error, ROOT, head_from_kept, keep};
use crate::audit::{self, Audit};
use crate::identity::Sha256;
use crate::store::folder::Snapshot;
use crate::units::Timestamp;

/// The record of trust, which grows while everything else stands still.
pub(super) const RECORD: &str = "audit.log";

/// Lists of revocations are numbered. Those who have one from after the backup take no lower number for newer, so the
/// numbers go on far above any that can have been given out meanwhile.
const NUMBERS_SKIPPED: u32 = 1 << 20;

/// The folder while nobody replaces a file in it. Only the record of trust goes on.
pub struct Frozen {
    folder: Folder,
    _lock: Lock,
}

/// One file of the folder.
pub struct Part {
    /// Its name.
    pub name: String,
    /// Open for reading.
    pub file: File,
    /// How much of it belongs to the backup.
    pub length: u64,
}

/// Waits until nobody changes the folder, and keeps it so.
///
/// # Errors
/// When it cannot be locked.
pub fn freeze(path: &Path) -> Result<Frozen, Error> {
    let folder = Folder::open(path)?;
    let lock = folder.lock()?;
    Ok(Frozen { folder, _lock: lock })
}

impl Frozen {
    /// Its files. Asked for after the rows were copied, the record has at least the lines the rows know of.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn files(&self) -> Result<Vec<Part>, Error> {
        let mut names = self.folder.names()?;
        names.retain(|name| is_ours(name));
        names.sort();
        names.into_iter().map(|name| part(&self.folder, name)).collect()
    }
}

fn part(folder: &Folder, name: String) -> Result<Part, Error> {
    let path = folder.path(&name);
    let cannot = |source| Error::Io { what: "read", path: path.clone(), source };
    let file = File::open(&path).map_err(cannot)?;
    // Lines are written under a lock of their own; between two of them the length is that of whole lines.
    if name == RECORD {
        flock(&file, FlockOperation::LockShared).map_err(|error| cannot(error.into()))?;
    }
    let length = file.metadata().map_err(cannot)?.len();
    if name == RECORD {
        flock(&file, FlockOperation::Unlock).map_err(|error| cannot(error.into()))?;
    }
    Ok(Part { name, file, length })
}

/// Whether a file of this name belongs to the folder: what begins with a dot is only its working state.
pub fn is_ours(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && name.len() <= 90 && !name.starts_with('.') && name.chars().all(plain)
}

/// Whether the record of trust is as it was written, up to the line the rows know of; answers how many lines it has.
///
/// # Errors
/// When it is not, or cannot be read.
pub fn check_record(path: &Path, rows: &Snapshot) -> Result<u64, Error> {
    let anchor = rows.value(AUDIT_HEAD)?.as_deref().and_then(head_from_kept);
    Ok(audit::verify(&path.join(RECORD), anchor.as_ref())?.number)
}

/// Makes a restored folder and its rows ready to be used: checks that they belong together and that the record of
/// trust is whole, ends what works once, and records the restore. Answers how many invites ended.
///
/// # Errors
/// When they do not belong together, or the record is not as it was written.
pub fn settle(path: &Path, rows: &Snapshot, now: Timestamp) -> Result<u64, Error> {
    let folder = Folder::open(path)?;
    let root = Sha256::of(keep::certificate(&folder, keep::ROOT_CERTIFICATE)?.der());
    let known = rows.value(ROOT)?.unwrap_or_default();
    if known != root.to_string() {
        return Err(Error::OtherCa { path: path.to_owned(), known, found: format!("holds {root}") });
    }
    for name in [keep::ISSUING_KEY, keep::ISSUING_CERTIFICATE] {
        if !folder.path(name).exists() {
            return Err(Error::Missing(folder.path(name)));
        }
    }
    let record = Audit::at(folder.path(RECORD));
    check_record(path, rows)?;
    let invites = rows.end_what_works_once(now)?;
    let details = vec![("invites_ended", invites.to_string())];
    let event = audit::Event { what: "restore", who: "operator".to_owned(), from: None, details };
    let head = record.append(now, &event)?;
    rows.set_value(AUDIT_HEAD, &format!("{} {}", head.number, head.hash))?;
    rows.raise_numbers("authority-crl-", NUMBERS_SKIPPED)?;
    Ok(invites)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_way_out_of_the_folder() {
        for name in ["root.key", "issuing-0a.crt", "audit.log"] {
            assert!(is_ours(name), "{name}");
        }
        for name in ["", ".", "..", ".lock", "a/b", "../a", "/a", "a\\b", "a\0", "a b", &"x".repeat(91)] {
            assert!(!is_ours(name), "{name:?}");
        }
    }
}

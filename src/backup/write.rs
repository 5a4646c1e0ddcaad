//! Writing: what is there at one instant, while others go on.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use ring::digest::{Context, SHA256};
use tar::{EntryType, Header};

use super::{BLOCK, END, Error, FORMAT, HEAD, Head, PIECE, ROWS};
use crate::authority::backup::{Frozen, freeze};
use crate::identity::Sha256;
use crate::store::folder::{Kept, Snapshot, place};
use crate::units::Timestamp;

/// How often a link's bytes are looked for again when it leads to others meanwhile.
const TRIES: usize = 5;

/// What a backup has in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Links with bytes.
    pub links: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Writes a backup of a storage folder to `to`. `scratch` is a folder for the copy of the rows, which is deleted.
///
/// # Errors
/// When something cannot be read or written, or bytes are not what their row says.
pub fn write(storage: &Path, scratch: &Path, now: Timestamp, to: impl Write) -> Result<Made, Error> {
    if !storage.join(ROWS).is_file() || !storage.join("pki").is_dir() {
        return Err(Error::NoStorage(storage.to_owned()));
    }
    // The rows are copied while the authority's files stand still, so that they go together, and before the record of
    // trust is: a line more in it than the rows know of does no harm, one less would be missed.
    let copy = scratch.join(ROWS);
    let frozen = freeze(&storage.join("pki"))?;
    let rows = Snapshot::take(storage, &copy)?;
    let mut archive = Archive { to, digest: Context::new(&SHA256), now };
    let head = Head { format: FORMAT, version: env!("CARGO_PKG_VERSION").to_owned(), made_at: now };
    archive.text(HEAD, &head)?;
    archive.authority(&frozen)?;
    drop(frozen);
    let made = archive.contents(storage, &rows)?;
    rows.close()?;
    let file = File::open(&copy).map_err(|source| Error::storage("open", &copy, source))?;
    let length = file.metadata().map_err(|source| Error::storage("look at", &copy, source))?.len();
    archive.entry(ROWS, length, file)?;
    archive.finish()?;
    std::fs::remove_file(&copy).map_err(|source| Error::storage("delete", &copy, source))?;
    Ok(made)
}

struct Archive<W> {
    to: W,
    digest: Context,
    now: Timestamp,
}

impl<W: Write> Archive<W> {
    fn authority(&mut self, frozen: &Frozen) -> Result<(), Error> {
        for part in frozen.files()? {
            self.entry(&format!("pki/{}", part.name), part.length, part.file)?;
        }
        Ok(())
    }

    fn contents(&mut self, storage: &Path, rows: &Snapshot) -> Result<Made, Error> {
        let mut made = Made { links: 0, bytes: 0 };
        let mut last = String::new();
        loop {
            let page = rows.after(&last)?;
            let Some(end) = page.last() else { return Ok(made) };
            last.clone_from(&end.id);
            for kept in page {
                let Some((kept, file)) = open(storage, rows, kept)? else { continue };
                let path = place(&kept.blob)?;
                if self.entry(&path.to_string_lossy(), kept.size, file)? != kept.sha256 {
                    return Err(Error::Content(kept.id));
                }
                made.links += 1;
                made.bytes += kept.size;
            }
        }
    }

    fn text<T: serde::Serialize>(&mut self, name: &str, content: &T) -> Result<(), Error> {
        let mut bytes = serde_json::to_vec(content).map_err(|error| Error::Write(error.into()))?;
        bytes.push(b'\n');
        self.entry(name, bytes.len() as u64, bytes.as_slice()).map(drop)
    }

    /// One file; answers the digest of its content.
    fn entry(&mut self, name: &str, length: u64, content: impl Read) -> Result<Sha256, Error> {
        let mut header = Header::new_ustar();
        header.set_path(name).map_err(Error::Write)?;
        header.set_entry_type(EntryType::Regular);
        header.set_size(length);
        header.set_mode(if name.ends_with(".crt") { 0o644 } else { 0o600 });
        header.set_mtime(self.now.as_secs().unsigned_abs());
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        self.put(header.as_bytes())?;
        let mut digest = Context::new(&SHA256);
        let mut content = content.take(length);
        let mut piece = vec![0; PIECE];
        let mut came: u64 = 0;
        loop {
            let read = match content.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => piece.get(..read).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(Error::storage("read", name, source)),
            };
            digest.update(read);
            self.put(read)?;
            came += read.len() as u64;
        }
        if came != length {
            return Err(Error::storage("read", name, io::ErrorKind::UnexpectedEof.into()));
        }
        let padding = (BLOCK - usize::try_from(length % BLOCK as u64).unwrap_or(0)) % BLOCK;
        self.put([0; BLOCK].get(..padding).unwrap_or_default())?;
        Ok(sha256(&digest))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.digest.update(bytes);
        self.to.write_all(bytes).map_err(Error::Write)
    }

    fn finish(mut self) -> Result<(), Error> {
        let sha256 = sha256(&self.digest).to_string();
        self.text(END, &super::End { sha256 })?;
        self.put(&[0; 2 * BLOCK])?;
        self.to.flush().map_err(Error::Write)
    }
}

pub(super) fn sha256(digest: &Context) -> Sha256 {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.clone().finish().as_ref());
    Sha256(bytes)
}

/// The bytes of a link; `None` if it has ended since the rows were copied. What is open stays readable when it is
/// deleted.
fn open(storage: &Path, rows: &Snapshot, kept: Kept) -> Result<Option<(Kept, File)>, Error> {
    let mut kept = kept;
    for _ in 0..TRIES {
        let path = storage.join(place(&kept.blob)?);
        let missing = match File::open(&path) {
            Ok(file) => {
                let found = file.metadata().map_err(|source| Error::storage("look at", &path, source))?.len();
                return if found == kept.size { Ok(Some((kept, file))) } else { Err(Error::Content(kept.id)) };
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => kept,
            Err(source) => return Err(Error::storage("open", path, source)),
        };
        match rows.again(&missing) {
            Ok(Some(other)) => kept = other,
            Ok(None) => return Ok(None),
            Err(crate::store::Error::Damaged(_)) => return Err(Error::Content(missing.id)),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Restless(kept.id))
}

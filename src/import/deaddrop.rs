//! DeadDrop's storage: `links.db` and `files/`.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use rusqlite::types::Value;

use super::foreign::{Foreign, flag, instant, media_type, text};
use super::{Error, Found, Known, Source};
use crate::identity::Owner;
use crate::link::{FileName, Kind};
use crate::units::Timestamp;

const ID: &[&str] = &["short_id", "slug", "link_id", "id"];
const NAME: &[&str] = &["original_filename", "original_name", "filename", "file_name", "name"];
const STORED: &[&str] =
    &["stored_name", "stored_filename", "storage_name", "file_path", "filepath", "storage_path", "path"];
const MIME: &[&str] = &["content_type", "mime_type", "mimetype", "media_type"];
const SIZE: &[&str] = &["size", "size_bytes", "file_size", "bytes"];
const CREATED: &[&str] = &["created_at", "uploaded_at", "created"];
const EXPIRES: &[&str] = &["expires_at", "expires", "expiry", "expiration"];
const ENDED: &[&str] = &["expired", "is_expired", "revoked", "deleted", "is_deleted"];

/// An installation of DeadDrop.
pub struct DeadDrop {
    database: Foreign,
    /// `files/`, as the file system has it.
    files: PathBuf,
}

impl DeadDrop {
    /// Opens its storage folder.
    ///
    /// # Errors
    /// When it is none.
    pub fn open(storage: &Path) -> Result<Self, Error> {
        let path = storage.join("links.db");
        if let Err(source) = std::fs::metadata(&path) {
            return Err(Error::Folder { path, source });
        }
        let database = Foreign::open(&path)?;
        let files = storage.join("files");
        let files = files.canonicalize().map_err(|source| Error::Folder { path: files, source })?;
        Ok(Self { database, files })
    }

    /// Where the bytes of a link are: as the row says, or named after the link. Whatever a row says, only a file below
    /// `files/` is one of DeadDrop's; anything else on this machine must not become a link that anyone may read.
    fn place(&self, id: &str, stored: Option<&str>) -> Result<PathBuf, String> {
        let said = stored.into_iter().flat_map(|stored| {
            let path = Path::new(stored);
            let below = path.strip_prefix("files").unwrap_or(path);
            // The path of a container is not the path here; the name is the same.
            [Some(self.files.join(below)), path.file_name().map(|name| self.files.join(name))].into_iter().flatten()
        });
        for path in said.chain([self.files.join(id)]) {
            if let Some(file) = self.own(&path)? {
                return Ok(file);
            }
        }
        self.only_one_named_after(id)?
            .ok_or_else(|| format!("its file is not in {}: looked for {}", self.files.display(), stored.unwrap_or(id)))
    }

    /// The file at a path, if there is one below `files/`; a folder with one file in it stands for that.
    fn own(&self, path: &Path) -> Result<Option<PathBuf>, String> {
        let path = match path.canonicalize() {
            Ok(path) => path,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(error) => return Err(format!("cannot look at {}: {error}", path.display())),
        };
        if !path.starts_with(&self.files) || path == self.files {
            return Ok(None);
        }
        if !path.is_dir() {
            return Ok(Some(path));
        }
        let mut inside = entries(&path)?;
        match (inside.pop(), inside.is_empty()) {
            (Some(only), true) if !only.is_dir() => self.own(&only),
            _ => Err(format!("{} is not one file", path.display())),
        }
    }

    /// `files/ID.tar.gz` or `files/ID_name`.
    fn only_one_named_after(&self, id: &str) -> Result<Option<PathBuf>, String> {
        let named = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
            name.strip_prefix(id).is_some_and(|rest| rest.starts_with(['.', '_', '-']))
        };
        let mut found: Vec<PathBuf> = entries(&self.files)?.into_iter().filter(named).collect();
        match (found.pop(), found.is_empty()) {
            (Some(only), true) => self.own(&only),
            (Some(_), false) => Err("more than one file is named after it".to_owned()),
            (None, _) => Ok(None),
        }
    }

    fn link(&self, row: &Row, now: Timestamp) -> Result<Option<Known>, String> {
        let expires_at = instant(&row.expires).map_err(|text| format!("it ends at '{text}', which is no time"))?;
        if flag(&row.ended) || expires_at.is_some_and(|end| end <= now) {
            return Ok(None);
        }
        let id = row.id.parse().map_err(|error: crate::link::Error| error.to_string())?;
        let created_at = instant(&row.created).map_err(|text| format!("it was made at '{text}', which is no time"))?;
        let place = self.place(&row.id, row.stored.as_deref())?;
        let size = std::fs::metadata(&place).map_err(|error| format!("cannot look at {}: {error}", place.display()))?;
        if let Some(said) = row.size.filter(|said| *said != size.len()) {
            return Err(format!("its file has {} bytes, and should have {said}", size.len()));
        }
        Ok(Some(Known {
            id,
            kind: Kind::File,
            // There is one token for everybody, so everything is its bearer's.
            owner: Owner::Token,
            name: row.name.as_deref().and_then(FileName::clean),
            mime: media_type(row.mime.as_deref()),
            created_at,
            expires_at,
            idle: None,
            accessed_at: None,
            burn: false,
            password: None,
            target: None,
            place,
        }))
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let list = || -> std::io::Result<_> { std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect() };
    list().map_err(|error| format!("cannot list {}: {error}", folder.display()))
}

/// What is read of a row.
struct Row {
    id: String,
    name: Option<String>,
    stored: Option<String>,
    mime: Option<String>,
    size: Option<u64>,
    created: Value,
    expires: Value,
    ended: Value,
}

impl Source for DeadDrop {
    fn links(&self, now: Timestamp) -> Result<Vec<Found>, Error> {
        let table = self.database.need_table("links", &["links", "link", "files", "uploads"])?;
        let columns = [
            Some(table.need("the short id", ID)?),
            table.column(NAME),
            table.column(STORED),
            table.column(MIME),
            table.column(SIZE),
            table.column(CREATED),
            // Without it links that are over would live for ever.
            Some(table.need("the end of a link", EXPIRES)?),
            table.column(ENDED),
        ];
        let rows = self.database.rows(&table, &columns)?;
        Ok(rows.into_iter().map(|row| self.found(row, now)).collect())
    }

    fn open(&self, link: &Known) -> Result<(Box<dyn Read>, u64), Error> {
        let opened = File::open(&link.place).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (size, file) = opened.map_err(Error::Read)?;
        Ok((Box::new(file), size))
    }

    fn name_of(&self, _: &Owner) -> Result<Option<String>, Error> {
        Ok(None)
    }
}

impl DeadDrop {
    fn found(&self, row: Vec<Value>, now: Timestamp) -> Found {
        let mut values = row.into_iter();
        let mut next = || values.next().unwrap_or(Value::Null);
        let Some(id) = text(&next()) else {
            return Found::Unusable { id: String::new(), why: "it has no id".to_owned() };
        };
        let row = Row {
            id,
            name: text(&next()),
            stored: text(&next()),
            mime: text(&next()),
            size: text(&next()).and_then(|size| size.parse().ok()),
            created: next(),
            expires: next(),
            ended: next(),
        };
        match self.link(&row, now) {
            Ok(Some(known)) => Found::Link(Box::new(known)),
            Ok(None) => Found::Ended,
            Err(why) => Found::Unusable { id: row.id, why },
        }
    }
}

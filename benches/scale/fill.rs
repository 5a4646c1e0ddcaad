//! Many links at once, past the server: rows and files as it would have made them, while it does not run.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use ring::digest;
use rusqlite::{Connection, params};
use rustls::ClientConfig;

use crate::rig::content::Content;
use crate::rig::ddrop;
use crate::rig::process::Cores;
use crate::rig::tls;

/// Bytes of a link's content.
pub(crate) const SIZE: u64 = 1024;

/// How a set of links is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// They live for another day. Their files are holes of the right length: what counts is that they are there.
    Living,
    /// Their time is over; newer than all others, and with real bytes, which cost something to delete.
    Over,
}

/// A folder with a server's storage and the client who owns what is in it.
pub(crate) struct Filled {
    pub(crate) tls: Arc<ClientConfig>,
    database: Connection,
    files: std::path::PathBuf,
    /// A link that was uploaded: what others are made after.
    model: String,
    made: u64,
}

impl Filled {
    /// Lets a server make its storage in `dir` and takes one upload, then ends it.
    pub(crate) async fn begin(cores: &Cores, dir: &Path, settings: &[&str]) -> Result<Self> {
        let (target, enrolled) = ddrop::start(cores, dir, settings).await?;
        let tls = Arc::new(tls::client(&enrolled, None)?);
        let path = target.upload(&tls, &Content::zeros(), SIZE).await?;
        drop(target);
        let storage = ddrop::storage(dir);
        let database = Connection::open(storage.join("links.db"))?;
        database.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000;")?;
        let model = path.trim_start_matches('/').to_owned();
        Ok(Self { tls, database, files: storage.join("files"), model, made: 0 })
    }

    /// Makes so many; answers the ids of some of them.
    pub(crate) fn add(&mut self, count: u64, kind: Kind) -> Result<Vec<String>> {
        let mut blobs: Vec<String> = (self.made..self.made + count).map(|n| hashed(b"blob", n)).collect();
        let all = self.database.transaction()?;
        {
            // Half of them are the client's own. The order in which they were made is not that of their ids.
            let mut insert = all.prepare(
                "INSERT INTO links (id, phase, kind, owner, name, mime, size, sha256, blob, created_at, expires_at)
                 SELECT ?1, 1, kind, CASE WHEN ?2 % 2 THEN owner ELSE 'client:other' || (?2 % 100) END,
                        'file-' || ?2 || '.bin', mime, size, sha256, ?3, created_at + ?4, expires_at + ?5
                 FROM links WHERE id = ?6",
            )?;
            for (n, blob) in (self.made..).zip(&blobs) {
                let (created, expires) = match kind {
                    Kind::Living => (-(n as i64) - 1, 24 * 3_600_000 + n as i64),
                    Kind::Over => (n as i64 + 1, -48 * 3_600_000 + n as i64),
                };
                insert.execute(params![id(n), n as i64, blob, created, expires, self.model])?;
            }
            all.execute(
                "INSERT INTO totals SELECT owner, count(*), sum(size) FROM links WHERE phase = 1 GROUP BY owner
                 ON CONFLICT (owner) DO UPDATE SET links = excluded.links, bytes = excluded.bytes",
                [],
            )?;
            all.execute(
                "INSERT INTO totals SELECT '', count(*), sum(size) FROM links WHERE phase = 1
                 ON CONFLICT (owner) DO UPDATE SET links = excluded.links, bytes = excluded.bytes",
                [],
            )?;
        }
        all.commit()?;
        self.database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        // One folder after the other.
        blobs.sort_unstable();
        let bytes = vec![0; usize::try_from(SIZE)?];
        for blob in &blobs {
            self.put(blob, if kind == Kind::Over { Some(&bytes) } else { None })?;
        }
        let ids = (self.made..self.made + count).step_by(usize::try_from(count / 1000 + 1)?).map(id).collect();
        self.made += count;
        eprintln!("made {count} links");
        // So that what is measured does not wait for what was written here: bytes too, which a folder's own sync leaves.
        rustix::fs::syncfs(fs::File::open(&self.files)?).context("could not write everything down")?;
        Ok(ids)
    }

    fn put(&self, blob: &str, bytes: Option<&Vec<u8>>) -> Result<()> {
        let (first, second) = (blob.get(..2).context("short")?, blob.get(2..4).context("short")?);
        let folder = self.files.join(first).join(second);
        let path = folder.join(blob);
        let file = fs::File::create(&path).or_else(|_| {
            fs::create_dir_all(&folder)?;
            fs::File::create(&path)
        })?;
        match bytes {
            Some(bytes) => std::io::Write::write_all(&mut &file, bytes)?,
            None => file.set_len(SIZE)?,
        }
        Ok(())
    }

    /// Links that are over and not yet buried; looked for with as little work as can be.
    pub(crate) fn is_swept(&self) -> Result<bool> {
        let left = "SELECT EXISTS (SELECT 1 FROM links WHERE phase = 1 AND expires_at <= 1000 * unixepoch())
                        OR EXISTS (SELECT 1 FROM links WHERE phase = 2)";
        Ok(!self.database.query_row(left, [], |row| row.get::<_, bool>(0))?)
    }
}

/// The id of a link that was made here: as random as those the server makes, and known again.
fn id(n: u64) -> String {
    let mut id = hashed(b"id", n);
    id.truncate(12);
    id
}

/// 32 hex digits.
fn hashed(what: &[u8], n: u64) -> String {
    let digest = digest::digest(&digest::SHA256, &[what, &n.to_le_bytes()].concat());
    digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

//! Links of the two programs before this one, taken over as they are: ids, names, owners and times.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use crate::access::{Adopt, Permit};
use crate::identity::Owner;
use crate::link::{Draft, FileName, Kind, LinkId, PasswordHash};
use crate::store::{self, Adopted, Life, Lookup, Store};
use crate::units::{Timestamp, Ttl};

pub mod deaddrop;
pub mod flaskpaste;
mod foreign;
#[cfg(test)]
mod tests;

/// Bytes moved at a time.
const PIECE: usize = 256 * 1024;

/// An installation of another program.
pub trait Source {
    /// What it has, one after the other; its bytes are not read yet.
    ///
    /// # Errors
    /// When its database cannot be read or understood.
    fn links(&self, now: Timestamp) -> Result<Vec<Found>, Error>;

    /// The bytes of a link, and how many there are.
    ///
    /// # Errors
    /// When they are not there.
    fn open(&self, link: &Known) -> Result<(Box<dyn Read>, u64), Error>;

    /// What the other program calls an owner, if it does.
    ///
    /// # Errors
    /// When its database cannot be read.
    fn name_of(&self, owner: &Owner) -> Result<Option<String>, Error>;
}

/// What a row of another program says.
#[derive(Debug)]
pub enum Found {
    /// A link that can be taken over.
    Link(Box<Known>),
    /// One that is over.
    Ended,
    /// One that cannot be taken over.
    Unusable {
        /// Its id as it stands there.
        id: String,
        /// Why not.
        why: String,
    },
}

/// A link of another program.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its id, which it keeps.
    pub id: LinkId,
    /// What it leads to.
    pub kind: Kind,
    /// Whose it will be.
    pub owner: Owner,
    /// The name it is offered under.
    pub name: Option<FileName>,
    /// The media type of the bytes.
    pub mime: String,
    /// When it was made, if that is known.
    pub created_at: Option<Timestamp>,
    /// When it ends; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// How long after its last reading it ends, if that is what ends it.
    pub idle: Option<Duration>,
    /// When it was last read.
    pub accessed_at: Option<Timestamp>,
    /// Whether the first reader is the last.
    pub burn: bool,
    /// Without the password it leads nowhere.
    pub password: Option<PasswordHash>,
    /// Where a link of kind [`Kind::Url`] leads.
    pub target: Option<String>,
    /// Where the other program has its bytes; a source knows what this means.
    place: PathBuf,
}

/// What became of it all.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Outcome {
    /// Links that were taken over, or would be.
    pub imported: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Links an import before this one has taken over.
    pub there: u64,
    /// Links that were over.
    pub expired: u64,
    /// Links that could not be taken over: id and reason.
    pub failed: Vec<Failure>,
    /// How many links of each owner were taken over, or would be.
    pub owners: BTreeMap<String, u64>,
    /// What the other program calls those owners, as far as it does.
    pub names: BTreeMap<String, String>,
}

/// A link that could not be taken over.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Failure {
    /// Its id as it stands in the other program.
    pub id: String,
    /// Why not.
    pub why: String,
}

/// Where links are taken over to: without a permit it is only looked at.
pub type Into<'a> = (&'a Store, Option<&'a Permit<Adopt>>);

/// Takes over what `source` has; without a permit, or a store, only says what would be. Repeating it does no harm: what was taken over
/// once is not again, also when it has ended since.
///
/// # Errors
/// When either side cannot be read or written at all. A link that cannot be taken over does not stop the others.
pub async fn import(source: &dyn Source, into: Option<Into<'_>>, now: Timestamp) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    for found in source.links(now)? {
        let known = match found {
            Found::Link(known) => known,
            Found::Ended => {
                outcome.expired += 1;
                continue;
            }
            Found::Unusable { id, why } => {
                outcome.failed.push(Failure { id, why });
                continue;
            }
        };
        let (id, owner) = (known.id.to_string(), known.owner.clone());
        match one(source, *known, into, now).await {
            Ok(Some(bytes)) => {
                outcome.imported += 1;
                outcome.bytes += bytes;
                if let Some(name) = source.name_of(&owner)? {
                    outcome.names.insert(owner.to_string(), name);
                }
                *outcome.owners.entry(owner.to_string()).or_default() += 1;
            }
            Ok(None) => outcome.there += 1,
            // The storage is at fault, and would be with the next one too.
            Err(Error::Store(error)) => return Err(Error::Store(error)),
            Err(error) => outcome.failed.push(Failure { id, why: reason(&error) }),
        }
    }
    Ok(outcome)
}

/// An error with its cause: what failed is listed, so there is only one line for it.
fn reason(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// How many bytes it had; `None` when an import before this one has taken it over.
async fn one(source: &dyn Source, known: Known, into: Option<Into<'_>>, now: Timestamp) -> Result<Option<u64>, Error> {
    let Some((store, permit)) = into else { return size(source, &known).map(Some) };
    // A link that has ended is forgotten after a while; that it was taken over is not, or it would come back.
    let mark = format!("imported:{}", known.id);
    let which = known.created_at.map_or_else(|| "-".to_owned(), |at| at.as_millis().to_string());
    let trust = store.trust();
    if let Some(marked) = trust.value(&mark).await? {
        return if marked == which { Ok(None) } else { Err(Error::Taken) };
    }
    match store.find(&known.id).await? {
        Lookup::Unknown => {}
        // Taken over by an import that was broken off before it could note that.
        Lookup::Live(link) if known.created_at.is_some_and(|at| at == link.created_at) && link.kind == known.kind => {
            if permit.is_some() {
                trust.set_value(&mark, &which).await?;
            }
            return Ok(None);
        }
        Lookup::Live(_) | Lookup::Gone => return Err(Error::Taken),
    }
    let Some(permit) = permit else { return size(source, &known).map(Some) };
    let bytes = keep(source, store, permit, known, now).await?;
    trust.set_value(&mark, &which).await?;
    Ok(Some(bytes))
}

/// How many bytes it has, looked at only.
fn size(source: &dyn Source, known: &Known) -> Result<u64, Error> {
    match known.target {
        Some(_) => Ok(0),
        None => Ok(source.open(known)?.1),
    }
}

async fn keep(
    source: &dyn Source,
    store: &Store,
    permit: &Permit<Adopt>,
    known: Known,
    now: Timestamp,
) -> Result<u64, Error> {
    let opened = known.target.is_none().then(|| source.open(&known)).transpose()?;
    let draft = Draft {
        kind: known.kind,
        name: known.name,
        mime: known.mime,
        ttl: Ttl::Forever,
        idle: false,
        burn: known.burn,
        password: known.password,
        most: None,
    };
    let created_at = known.created_at.unwrap_or(now);
    let life = Life { created_at, expires_at: known.expires_at, idle: known.idle, accessed_at: known.accessed_at };
    let adopted = Adopted { id: known.id, owner: known.owner, draft, life };
    if let Some(target) = known.target {
        return if store.adopt_target(permit, adopted, target).await? { Ok(0) } else { Err(Error::Taken) };
    }
    let (reader, size) = opened.ok_or_else(|| Error::Missing("it has no content".to_owned()))?;
    copy(store, permit, adopted, reader, size).await?;
    Ok(size)
}

async fn copy(
    store: &Store,
    permit: &Permit<Adopt>,
    adopted: Adopted,
    mut reader: Box<dyn Read>,
    size: u64,
) -> Result<(), Error> {
    let mut upload = store.adopt(permit, adopted, Some(size)).await?;
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        (&mut reader).take(PIECE as u64).read_to_end(&mut piece).map_err(Error::Read)?;
        if piece.is_empty() {
            break;
        }
        upload.write(Bytes::from(piece)).await.map_err(changed)?;
    }
    upload.finish().await.map_err(changed)?;
    Ok(())
}

/// More or fewer bytes than there were is the other side's doing.
fn changed(error: store::Error) -> Error {
    match error {
        store::Error::Length { .. } => Error::Changed,
        other => Error::Store(other),
    }
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The other program's database cannot be opened.
    #[error("cannot open {path} as an SQLite database")]
    Open {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: rusqlite::Error,
    },
    /// It is one of ours.
    #[error("{0} is a database of ddrop itself: name the installation that is to be taken over")]
    Ours(PathBuf),
    /// It has none of the tables or columns this program knows.
    #[error("{path} has a schema this program does not know: {what}")]
    Schema {
        /// Which.
        path: PathBuf,
        /// What was looked for, and what is there.
        what: String,
    },
    /// It cannot be read.
    #[error("the other program's database cannot be read")]
    Database(#[from] rusqlite::Error),
    /// The other program's folder cannot be used.
    #[error("cannot read {path}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The bytes of a link are not where they should be.
    #[error("{0}")]
    Missing(String),
    /// The bytes of a link cannot be read.
    #[error("its bytes cannot be read")]
    Read(#[source] io::Error),
    /// The bytes of a link became more or fewer.
    #[error("its bytes changed while they were read: is the other program still running?")]
    Changed,
    /// There is another link of that id here.
    #[error("there is another link of that id here")]
    Taken,
    /// Our storage failed.
    #[error("the storage folder failed")]
    Store(#[from] store::Error),
}

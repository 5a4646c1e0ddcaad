//! `ddrop import`: the links of an older program, taken over into a storage folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::{Context, connect, exit, output};
use crate::access;
use crate::identity::{self, Owner, Sha1};
use crate::import::deaddrop::DeadDrop;
use crate::import::flaskpaste::FlaskPaste;
use crate::import::{self, Outcome, Source};
use crate::store::{self, Store};
use crate::units::{MIB, Size};

/// What was said.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("source").required(true))]
pub(super) struct Args {
    /// The storage folder of DeadDrop: links.db and files/
    #[arg(long, value_name = "STORAGE", group = "source")]
    deaddrop: Option<PathBuf>,
    /// The database of FlaskPaste: pastes, short URLs and their owners
    #[arg(long, value_name = "FILE", group = "source")]
    flaskpaste: Option<PathBuf>,
    /// The links of this certificate of FlaskPaste's, by its SHA-1, are to be those of this client of ours
    #[arg(long = "owner", value_name = "SHA1=NAME", value_parser = owner, requires = "flaskpaste")]
    owners: Vec<(Sha1, String)>,
    /// The storage folder of ddrop; made if it is missing. Its server must not run
    #[arg(short, long, value_name = "STORAGE", env = "DD_STORAGE_PATH", hide_env_values = true)]
    storage: PathBuf,
    /// Only say what would be imported
    #[arg(long)]
    check: bool,
}

fn owner(text: &str) -> Result<(Sha1, String), String> {
    let (sha1, name) = text.split_once('=').ok_or("it has to be SHA1=NAME")?;
    let sha1 = sha1.to_ascii_lowercase().parse().map_err(|error: identity::Error| error.to_string())?;
    Ok((sha1, name.to_owned()))
}

/// Takes over.
pub(super) async fn run(context: &Context, args: Args) -> Result<ExitCode> {
    let nothing_there = !args.storage.join("links.db").exists();
    // Looked at first: what is no installation of another program is not to make one of ours.
    source(&args, HashMap::new())?;
    let store = if args.check && nothing_there { None } else { Some(open(&args).await?) };
    let outcome = import(&args, store.as_ref()).await;
    if let Some(store) = &store {
        store.close().await;
    }
    let outcome = outcome?;
    tell(context, &args, &outcome)?;
    Ok(if outcome.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn import(args: &Args, store: Option<&Store>) -> Result<Outcome> {
    let owners = owners(args, store).await?;
    let permit = (!args.check).then(access::adopt);
    if let (Some(store), Some(_)) = (store, &permit) {
        // Those that were taken over before it was known whose they are.
        for (sha1, owner) in &owners {
            store.trust().hand_over(*sha1, owner.clone()).await?;
        }
    }
    let into = store.map(|store| (store, permit.as_ref()));
    Ok(import::import(&*source(args, owners)?, into, connect::clock().now()).await?)
}

/// Who of ours is meant.
async fn owners(args: &Args, store: Option<&Store>) -> Result<HashMap<Sha1, Owner>> {
    let mut owners = HashMap::new();
    for (sha1, name) in &args.owners {
        let client = match store {
            Some(store) => store.trust().client_named(name).await?,
            None => None,
        };
        let Some(client) = client else {
            return Err(exit::Usage(format!("there is no client {name} here: it has to enrol before")).into());
        };
        owners.insert(*sha1, Owner::Client(client.id));
    }
    Ok(owners)
}

fn source(args: &Args, owners: HashMap<Sha1, Owner>) -> Result<Box<dyn Source>> {
    let cannot = |path: &Path| format!("cannot import from {}", path.display());
    match (&args.deaddrop, &args.flaskpaste) {
        (Some(path), _) => Ok(Box::new(DeadDrop::open(path).with_context(|| cannot(path))?)),
        (None, Some(path)) => Ok(Box::new(FlaskPaste::open(path, owners).with_context(|| cannot(path))?)),
        (None, None) => {
            Err(exit::Usage("say what to import: --deaddrop STORAGE or --flaskpaste FILE".to_owned()).into())
        }
    }
}

async fn open(args: &Args) -> Result<Store> {
    let path = &args.storage;
    if !args.check && store::folder::is_in_use(path)? {
        // The quota is kept by the process that counts; two do not know of each other's reservations.
        bail!("a server runs on {}: stop it first, and start it again afterwards", path.display());
    }
    // What another program had is not refused for being more than a new one would take.
    let config = store::Config { path: path.clone(), max_file_size: u64::MAX, max_storage: u64::MAX };
    let store = Store::open(config, connect::clock()).await;
    let store = store.with_context(|| format!("cannot open the storage folder {}", path.display()))?;
    if !args.check {
        // What an import that was broken off has left behind would stand in the way of its own repetition.
        store.sweep().await.with_context(|| format!("cannot clean up {}", path.display()))?;
    }
    Ok(store)
}

#[derive(Serialize)]
struct Told<'a> {
    check: bool,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

fn tell(context: &Context, args: &Args, outcome: &Outcome) -> Result<()> {
    for failure in &outcome.failed {
        output::warning(&format!("{} is left out: {}", output::printable(&failure.id), failure.why));
    }
    for (owner, count) in outcome.owners.iter().filter(|(owner, _)| owner.starts_with("sha1:")) {
        let name = outcome.names.get(owner).map(|name| format!(" ({})", output::printable(name))).unwrap_or_default();
        output::message(&format!("{count} for the holder of the certificate {owner}{name}"));
    }
    if !args.check {
        warn_of_quota(&args.storage);
    }
    if context.json {
        return Ok(output::json(&Told { check: args.check, outcome })?);
    }
    let done = if args.check { "would be imported" } else { "imported" };
    let counts =
        [(outcome.there, "there already"), (outcome.expired, "expired"), (outcome.failed.len() as u64, "left out")];
    let counts: Vec<String> = counts.iter().map(|(count, what)| format!("{count} {what}")).collect();
    let first = format!("{} links {done} ({})", outcome.imported, Size(outcome.bytes));
    Ok(output::line(&format!("{first}, {}", counts.join(", ")))?)
}

/// More than the server may keep is kept, and then nothing more is taken.
fn warn_of_quota(storage: &Path) {
    let said = std::env::var("DD_MAX_STORAGE_MB").ok().and_then(|text| text.trim().parse::<u64>().ok());
    let limit = said.unwrap_or(1024).saturating_mul(MIB);
    let kept = bytes_below(&storage.join("files"));
    if kept > limit {
        let (kept, limit) = (Size(kept), Size(limit));
        output::warning(&format!(
            "{kept} are kept now, and {limit} is the server's limit: nothing more can be uploaded until DD_MAX_STORAGE_MB \
             is raised or links have ended"
        ));
    }
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(facts) if facts.is_dir() => bytes_below(&entry.path()),
        Ok(facts) => facts.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

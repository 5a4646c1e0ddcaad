//! `ddrop import`: the links of an older program, taken over into a storage folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::{Context, connect, exit, output};
use crate::access;
use crate::import::deaddrop::DeadDrop;
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
    /// The storage folder of ddrop; made if it is missing. Its server must not run
    #[arg(short, long, value_name = "STORAGE", env = "DD_STORAGE_PATH", hide_env_values = true)]
    storage: PathBuf,
    /// Only say what would be imported
    #[arg(long)]
    check: bool,
}

/// Takes over.
pub(super) async fn run(context: &Context, args: Args) -> Result<ExitCode> {
    let source = source(&args)?;
    let nothing_there = !args.storage.join("links.db").exists();
    let store = if args.check && nothing_there { None } else { Some(open(&args).await?) };
    let permit = (!args.check).then(access::adopt);
    let into = store.as_ref().map(|store| (store, permit.as_ref()));
    let outcome = import::import(&*source, into, connect::clock().now()).await;
    if let Some(store) = &store {
        store.close().await;
    }
    let outcome = outcome?;
    tell(context, &args, &outcome)?;
    Ok(if outcome.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn source(args: &Args) -> Result<Box<dyn Source>> {
    match &args.deaddrop {
        Some(path) => {
            let opened = DeadDrop::open(path);
            Ok(Box::new(opened.with_context(|| format!("cannot import from {}", path.display()))?))
        }
        None => Err(exit::Usage("say what to import: --deaddrop STORAGE".to_owned()).into()),
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

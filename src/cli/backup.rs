//! `ddrop backup`: a server's whole storage in one file, taken while it runs.

use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{Context, connect, exit, output};
use crate::backup::{self, Made};
use crate::units::{Size, Timestamp};

/// What was said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File to write; `-` is standard output, to be encrypted or sent elsewhere
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The server's storage folder
    #[arg(short, long, value_name = "STORAGE", env = "DD_STORAGE_PATH")]
    storage: PathBuf,
    /// Replace the file if it is there
    #[arg(short, long)]
    force: bool,
}

#[derive(Serialize)]
struct Said<'a> {
    file: &'a Path,
    links: u64,
    bytes: u64,
}

/// Makes the file: it appears whole or not at all, and only its owner can read it.
pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let now = connect::clock().now();
    let standard = args.file.as_os_str() == "-";
    if standard && output::stdout().is_terminal() {
        return Err(exit::Usage("a backup is no text for a terminal: name a file, or pipe it on".to_owned()).into());
    }
    if !standard && !args.force && args.file.exists() {
        let text = format!("{} is there already: name another file, or say --force", args.file.display());
        return Err(exit::Usage(text).into());
    }
    let Args { file, storage, force } = args;
    let shown = storage.clone();
    let (file, made) = tokio::task::spawn_blocking(move || {
        let made = if standard { to_stdout(&storage, now) } else { to_file(&storage, &file, force, now) };
        made.map(|made| (file, made))
    })
    .await?
    .with_context(|| format!("cannot back up {}", shown.display()))?;
    if !standard && context.json {
        output::json(&Said { file: &file, links: made.links, bytes: made.bytes })?;
    } else {
        output::message(&format!("{} links with {} saved", made.links, Size(made.bytes)));
    }
    output::message("the backup holds the keys of the CA: whoever can read it can be anyone here. Keep it encrypted");
    Ok(())
}

fn to_stdout(storage: &Path, now: Timestamp) -> Result<Made> {
    let scratch = tempfile::tempdir()?;
    Ok(backup::write(storage, scratch.path(), now, output::stdout().lock())?)
}

fn to_file(storage: &Path, file: &Path, force: bool, now: Timestamp) -> Result<Made> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // On the disk that has to have room for all of it anyway.
    let cannot = || format!("cannot write to {}", folder.display());
    let scratch = tempfile::Builder::new().prefix(".ddrop-backup-").tempdir_in(folder).with_context(cannot)?;
    let mut part = tempfile::NamedTempFile::new_in(scratch.path()).with_context(cannot)?;
    let mut buffered = std::io::BufWriter::with_capacity(1 << 18, part.as_file_mut());
    let made = backup::write(storage, scratch.path(), now, &mut buffered)?;
    buffered.flush().map_err(backup::Error::Write)?;
    drop(buffered);
    part.as_file().sync_all().map_err(backup::Error::Write)?;
    if force { part.persist(file) } else { part.persist_noclobber(file) }
        .with_context(|| format!("cannot put {} in place", file.display()))?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).with_context(cannot)?;
    Ok(made)
}

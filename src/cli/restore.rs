//! `ddrop restore`: a storage folder made of a backup.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{Context, connect, output};
use crate::backup;
use crate::units::{Size, Timestamp};

/// What was said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A file that `ddrop backup` made; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The storage folder to be: empty, or not there yet
    #[arg(short, long, value_name = "STORAGE", env = "DD_STORAGE_PATH")]
    storage: PathBuf,
    /// Move what is in the folder aside first; it is never mixed with what is restored
    #[arg(short, long)]
    force: bool,
}

#[derive(Serialize)]
struct Said {
    storage: PathBuf,
    links: u64,
    bytes: u64,
    made_at: Timestamp,
    invites_ended: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    aside: Option<PathBuf>,
}

/// Makes the folder: all of it, or nothing.
pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let now = connect::clock().now();
    let Args { file, storage, force } = args;
    let shown = file.clone();
    let (storage, restored) = tokio::task::spawn_blocking(move || -> Result<_> {
        let restored = if file.as_os_str() == "-" {
            backup::read(std::io::stdin().lock(), &storage, force, now)?
        } else {
            let opened = File::open(&file).map_err(backup::Error::Read)?;
            backup::read(opened, &storage, force, now)?
        };
        Ok((storage, restored))
    })
    .await?
    .with_context(|| format!("cannot restore {}", shown.display()))?;
    let backup::Restored { links, bytes, made_at, invites, aside } = restored;
    if context.json {
        return Ok(output::json(&Said { storage, links, bytes, made_at, invites_ended: invites, aside })?);
    }
    output::message(&format!("{links} links with {} restored, as they were at {made_at}", Size(bytes)));
    if let Some(aside) = aside {
        output::message(&format!("what was there before is in {}; delete it when it is not missed", aside.display()));
    }
    if invites > 0 {
        output::message(&format!(
            "{invites} open invites have ended, since each may have been used meanwhile: make new ones"
        ));
    }
    output::message(
        "what was revoked, ended or read once since then is as it was before: look through it before you start the server",
    );
    Ok(())
}

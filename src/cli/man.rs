//! `ddrop man`: a manual page for every command, for packagers.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;

use super::{Cli, output};

/// What was said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder to write the pages to; made if it is missing
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes.
pub(super) fn run(args: &Args) -> Result<()> {
    let what = || format!("cannot write the manual pages to {}", args.folder.display());
    fs::create_dir_all(&args.folder).with_context(what)?;
    clap_mangen::generate_to(Cli::command(), &args.folder).with_context(what)?;
    output::message(&format!("manual pages in {}", args.folder.display()));
    Ok(())
}

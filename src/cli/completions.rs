//! `ddrop completions`: what a shell needs to complete commands and flags.

use anyhow::Result;
use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use super::{Cli, output};

/// What was said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell it is for
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Prints.
pub(super) fn run(args: &Args) -> Result<()> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "ddrop", &mut script);
    Ok(output::raw(&script)?)
}

//! `ddrop paste`: what is piped in becomes a link.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;

use super::password::PasswordFile;
use super::upload::{What, upload};
use super::{Context, exit, output};
use crate::client::Wish;
use crate::units::Ttl;

/// What was said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A file; without one, or as -, it is standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The first reader is the last
    #[arg(short, long)]
    burn: bool,
    /// Seconds it lives
    #[arg(short = 'x', long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    expiry: Option<u64>,
    /// Send it as it is: the server can read it
    #[arg(short = 'E', long)]
    no_encrypt: bool,
    /// Ask for a password, without which it is not shown
    #[arg(long)]
    password: bool,
    #[command(flatten)]
    file_of_password: PasswordFile,
}

/// Pastes.
pub(super) async fn run(context: &Context, args: Args) -> Result<ExitCode> {
    if !args.no_encrypt {
        let why = "this version of ddrop cannot encrypt yet, and nothing was sent: -E sends it as it is, for the server to read";
        return Err(exit::Usage(why.to_owned()).into());
    }
    let ttl = args.expiry.map(|seconds| format!("{seconds}s").parse::<Ttl>()).transpose()?;
    let protect = args.password || args.file_of_password.is_given();
    let wish = Wish {
        name: None,
        ttl: ttl.map(|ttl| ttl.to_string()),
        burn: args.burn.then_some(true),
        password: protect.then(|| args.file_of_password.chosen()).transpose()?,
        paste: true,
    };
    let path = args.file.as_deref().unwrap_or(Path::new("-"));
    let client = context.connection.client().await?;
    let link = upload(&client, What { path, wish, named: false }).await?;
    if context.json {
        output::json(&link)?;
    } else {
        output::line(&link.url)?;
    }
    Ok(ExitCode::SUCCESS)
}

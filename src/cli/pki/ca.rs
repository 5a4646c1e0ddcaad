//! `ddrop pki ca`: the CA's certificates, a new issuing CA, the root key taken offline.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::show;
use super::way::Way;
use crate::cli::{Context, output};

/// What was said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print the issuing CA too
    #[arg(long)]
    chain: bool,
    /// Make a new issuing CA; what the one before it signed stays good. Needs the root key in the storage folder
    #[arg(long, conflicts_with_all = ["chain", "export_root"])]
    rotate: bool,
    /// With --rotate: a domain or network the new CA may sign server certificates for; any: all of them
    /// [default: those the CA before it may]
    #[arg(long, value_name = "NAME", requires = "rotate")]
    permit: Vec<String>,
    /// Move the root key to this file, sealed if there is a passphrase, and remove it from the storage folder.
    /// Put it back as pki/root.key to make a new issuing CA. Needs -s STORAGE
    #[arg(long, value_name = "FILE", conflicts_with = "chain")]
    export_root: Option<PathBuf>,
}

pub(super) async fn run(context: &Context, way: &Way, args: &Args) -> Result<()> {
    if args.rotate {
        let sha256 = way.rotate(&args.permit).await.context("cannot make a new issuing CA")?;
        output::message("there is a new issuing CA; running servers use it from now on. Its SHA-256:");
        return if context.json { Ok(output::json(&sha256)?) } else { Ok(output::line(&sha256)?) };
    }
    if let Some(path) = &args.export_root {
        way.on_storage()?.export_root(path).await.context("cannot take the root key offline")?;
        let text = format!("the root key is in {} and nowhere else: keep it offline, and keep it well", path.display());
        return show::done(context, &text);
    }
    let pem = if args.chain { way.chain().await } else { way.root().await }.context("cannot read the CA")?;
    if context.json { Ok(output::json(&pem)?) } else { Ok(output::raw(pem.as_bytes())?) }
}

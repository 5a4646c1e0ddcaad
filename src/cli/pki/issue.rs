//! `ddrop pki issue`: a certificate for someone, with a key made here unless theirs is in a signing request.

use std::path::PathBuf;

use ::pki::key::{Algorithm, Key};
use anyhow::{Context as _, Result};

use super::way::Way;
use crate::api;
use crate::cli::{Context, exit, output};
use crate::client::Error;
use crate::client::folder::{Readable, Staged};
use crate::link::FileName;

/// What was said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The client's name
    #[arg(value_name = "NAME")]
    name: String,
    /// How long the certificate is valid
    #[arg(long, value_name = "DAYS")]
    days: Option<u32>,
    /// The client is an admin
    #[arg(long)]
    admin: bool,
    /// A signing request in PEM; the certificate is printed then
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,
    /// Folder for NAME.key and NAME.crt, when there is no signing request
    #[arg(short, long, value_name = "DIR", default_value = ".", conflicts_with = "csr")]
    output: PathBuf,
}

pub(super) async fn run(context: &Context, way: &Way, args: Args) -> Result<()> {
    let what = || format!("cannot issue a certificate to {}", args.name);
    let wish = |csr| api::Issue { common_name: args.name.clone(), days: args.days, admin: args.admin, csr: Some(csr) };
    if let Some(path) = &args.csr {
        let csr = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let issued = way.issue(wish(csr)).await.with_context(what)?;
        return show(context, &issued);
    }
    let name = FileName::clean(&args.name).filter(|name| name.as_str() == args.name && !args.name.starts_with('.'));
    let Some(name) = name else {
        return Err(exit::Usage(format!("'{}' cannot be the name of a file: use --csr", args.name)).into());
    };
    let (key_name, cert_name) = (format!("{name}.key"), format!("{name}.crt"));
    for path in [args.output.join(&key_name), args.output.join(&cert_name)] {
        if path.symlink_metadata().is_ok() {
            return Err(Error::Exists(path).into());
        }
    }
    let staged = Staged::begin(&args.output)?;
    let key = Key::generate(Algorithm::P256)?;
    staged.add(&key_name, key.to_pem().as_bytes(), Readable::Owner)?;
    let issued = way.issue(wish(::pki::request::make(&key, &args.name)?)).await.with_context(what)?;
    let chain = issued.certificate.as_deref().context("the server sent no certificate")?;
    staged.add(&cert_name, chain.as_bytes(), Readable::All)?;
    staged.commit()?;
    output::message(&format!("wrote {key_name} and {cert_name} in {}", args.output.display()));
    if context.json { Ok(output::json(&issued)?) } else { Ok(output::line(&issued.fingerprint_sha256)?) }
}

fn show(context: &Context, issued: &api::Issued) -> Result<()> {
    if context.json {
        return Ok(output::json(issued)?);
    }
    let chain = issued.certificate.as_deref().context("the server sent no certificate")?;
    Ok(output::raw(chain.as_bytes())?)
}

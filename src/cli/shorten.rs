//! `ddrop shorten`: a short link to another address.

use anyhow::{Context as _, Result};

use super::{Context, output};
use crate::units::Ttl;

/// What was said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where it is to lead
    #[arg(value_name = "URL")]
    url: String,
    /// How long it lives: 30m, 2h, 7d, inf
    #[arg(long, value_name = "TTL")]
    ttl: Option<Ttl>,
}

/// Shortens.
pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.connection.client().await?;
    let ttl = args.ttl.map(|ttl| ttl.to_string());
    let working = output::counting(output::WORKING);
    let made = client.shorten(&args.url, ttl.as_deref(), &*working).await;
    let link = made.with_context(|| format!("cannot shorten {}", output::printable(&args.url)))?;
    if context.json { Ok(output::json(&link)?) } else { Ok(output::line(&link.url)?) }
}

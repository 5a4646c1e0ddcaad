//! `ddrop stats`: how much there is and how much there may be.

use anyhow::{Context as _, Result};

use super::{Context, output};
use crate::units::Size;

/// What was said: nothing more.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Shows.
pub(super) async fn run(context: &Context, _: Args) -> Result<()> {
    let client = context.connection.client().await?;
    let stats = client.stats().await.context("cannot read the statistics")?;
    if context.json {
        return Ok(output::json(&stats)?);
    }
    output::line(&format!("links     {}", stats.links))?;
    output::line(&format!("size      {}", Size(stats.link_bytes)))?;
    output::line(&format!("on disk   {}", Size(stats.bytes)))?;
    Ok(output::line(&format!("capacity  {}", Size(stats.capacity)))?)
}

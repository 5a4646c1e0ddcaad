//! `ddrop update`: another lifetime or name for a link.

use anyhow::{Context as _, Result};

use super::expire::own_link;
use super::{Context, output};
use crate::api::Change;
use crate::units::Ttl;

/// What was said.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub(super) struct Args {
    /// The link's id or URL
    #[arg(value_name = "ID")]
    link: String,
    /// How long it lives from now: 30m, 2h, 7d, inf
    #[arg(long, value_name = "TTL", group = "change")]
    ttl: Option<Ttl>,
    /// The name it is offered under
    #[arg(short, long, value_name = "NAME", group = "change")]
    name: Option<String>,
}

/// Changes.
pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.connection.client().await?;
    let id = own_link(&client, &args.link)?;
    let change = Change { ttl: args.ttl.map(|ttl| ttl.to_string()), name: args.name };
    let link = client.change(&id, &change).await.with_context(|| format!("cannot update {id}"))?;
    if context.json {
        return Ok(output::json(&link)?);
    }
    let until = link.expires_at.map_or_else(|| "never".to_owned(), |at| at.to_string());
    let name = output::printable(link.name.as_deref().unwrap_or("-"));
    Ok(output::line(&format!("{} {name} expires {until}", link.id))?)
}

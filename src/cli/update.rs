//! `ddrop update`: other content, another lifetime or name for a link.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::expire::own_link;
use super::upload::again;
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
    /// Other content for it: a file, or - for standard input
    #[arg(value_name = "FILE", group = "change")]
    file: Option<PathBuf>,
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
    let what = || format!("cannot update {id}");
    let mut link = None;
    if let Some(path) = &args.file {
        let (open, progress) = (again(path), output::progress(&path.display().to_string()));
        let working = output::counting(output::WORKING);
        // The name goes with the content, so that no reader sees one without the other.
        let replaced = client.replace(&id, &*open, args.name.as_deref(), progress, &*working).await;
        link = Some(replaced.with_context(what)?);
    }
    let name = args.name.filter(|_| link.is_none());
    if link.is_none() || args.ttl.is_some() {
        let change = Change { ttl: args.ttl.map(|ttl| ttl.to_string()), name };
        link = Some(client.change(&id, &change).await.with_context(what)?);
    }
    let Some(link) = link else { return Ok(()) };
    if context.json {
        return Ok(output::json(&link)?);
    }
    let until = link.expires_at.map_or_else(|| "never".to_owned(), |at| at.to_string());
    let name = output::printable(link.name.as_deref().unwrap_or("-"));
    Ok(output::line(&format!("{} {name} expires {until}", link.id))?)
}

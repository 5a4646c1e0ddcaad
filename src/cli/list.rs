//! `ddrop list`: links and until when they live.

use anyhow::{Context as _, Result};

use super::{Context, output};
use crate::api::{Link, Links};
use crate::client::Client;
use crate::units::Size;

/// What was said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Everybody's links (for admins)
    #[arg(long)]
    all: bool,
    /// Only those with this in their name
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
}

/// Lists.
pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.connection.client().await?;
    let links = pages(&client, args.all, args.search.as_deref()).await.context("cannot list the links")?;
    if context.json {
        return Ok(output::json(&links)?);
    }
    let head = ["ID", "NAME", "SIZE", "EXPIRES", "OWNER"];
    let columns = if args.all { 5 } else { 4 };
    let rows: Vec<_> = links.links.iter().map(|link| row(link, columns)).collect();
    output::table(head.get(..columns).unwrap_or(&head), &rows)?;
    let stats = links.stats;
    output::message(&format!("{} links, {}", stats.links, Size(stats.link_bytes)));
    Ok(())
}

/// All pages as one.
pub(super) async fn pages(client: &Client, all: bool, search: Option<&str>) -> Result<Links> {
    let mut whole = client.list(all, search, None).await?;
    while let Some(after) = whole.next.take() {
        let page = client.list(all, search, Some(&after)).await?;
        // A server that answers the same page for ever must not be believed for ever.
        whole.next = page.next.filter(|next| *next != after && !page.links.is_empty());
        whole.links.extend(page.links);
    }
    Ok(whole)
}

fn row(link: &Link, columns: usize) -> Vec<String> {
    let once = if link.burn { " (once)" } else { "" };
    let cells = [
        link.id.clone(),
        format!("{}{once}", link.name.as_deref().unwrap_or("-")),
        Size(link.size).to_string(),
        link.expires_at.map_or_else(|| "never".to_owned(), |at| at.to_string()),
        link.owner.clone().unwrap_or_else(|| "-".to_owned()),
    ];
    cells.into_iter().take(columns).collect()
}

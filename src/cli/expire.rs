//! `ddrop expire`: the end of links, now.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{Context, exit, output};
use crate::client::transfer::reference::{Place, Reference};
use crate::client::{self, Client};
use crate::link::LinkId;

/// What was said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Ids or URLs of links
    #[arg(required = true, value_name = "ID")]
    links: Vec<String>,
}

/// Ends one after the other; one that fails does not stop the next.
pub(super) async fn run(context: &Context, args: Args) -> Result<ExitCode> {
    let client = context.connection.client().await?;
    let mut results = Vec::new();
    let mut failed = None;
    for named in &args.links {
        match expire(&client, named).await.with_context(|| format!("cannot expire {named}")) {
            Ok(id) if context.json => results.push(json!({ "id": id.as_str(), "expired": true })),
            Ok(id) => output::line(&format!("{id} expired"))?,
            Err(error) => {
                let code = exit::report(&error);
                failed = failed.or(Some(code));
            }
        }
    }
    if context.json {
        match (results.pop(), args.links.len()) {
            (Some(only), 1) => output::json(&only)?,
            (last, 2..) => {
                results.extend(last);
                output::json(&results)?;
            }
            _ => {}
        }
    }
    Ok(failed.unwrap_or(ExitCode::SUCCESS))
}

async fn expire(client: &Client, named: &str) -> Result<LinkId> {
    let id = own_link(client, named)?;
    match client.expire(&id).await {
        // It has ended already, which is what was asked for.
        Err(error) if client::is_gone(&error) => Ok(id),
        other => other.map(|_| id).map_err(Into::into),
    }
}

/// A link on the server in use: no other would let us.
pub(super) fn own_link(client: &Client, named: &str) -> Result<LinkId> {
    match named.parse::<Reference>()?.place(Some(client.server()))? {
        Place::Here(id) => Ok(id),
        Place::Elsewhere(_) => {
            Err(exit::Usage(format!("that link is not on {}: name its server with --server", client.server())).into())
        }
    }
}

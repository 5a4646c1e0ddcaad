//! `ddrop health`: whether a server can do its work, for people and container checks.

use anyhow::{Context as _, Result};
use url::Url;

use super::{Context, connect, output};
use crate::client::Client;
use crate::client::profile::{Source, is_loopback, parse_server};
use crate::client::tls::Anchors;

/// What was said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The server's address [default: the configured one, else this machine's]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// Asks.
pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let profile = context.connection.profile()?;
    let server = match (args.url, &profile.server) {
        (Some(text), _) => parse_server(&text, Source::Flag("--url"))?.value,
        (None, Some(setting)) => setting.value.clone(),
        (None, None) => this_machine()?,
    };
    // Nothing is sent or believed but "healthy", and on this machine nobody can be in between: a container check
    // has neither certificate nor CA.
    let anchors = match is_loopback(&server) && profile.ca_cert.is_none() {
        true => Anchors::Anyone,
        false => profile.anchors()?,
    };
    let client = Client::anonymous(server.clone(), anchors, connect::clock())?;
    let health = client.health().await.with_context(|| format!("{server} is not healthy"))?;
    if context.json {
        return Ok(output::json(&health)?);
    }
    Ok(output::line("healthy")?)
}

fn this_machine() -> Result<Url> {
    let port = std::env::var("DD_PORT").ok().filter(|port| !port.is_empty()).unwrap_or_else(|| "8443".to_owned());
    Ok(parse_server(&format!("https://localhost:{port}"), Source::Variable("DD_PORT"))?.value)
}

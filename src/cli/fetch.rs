//! `ddrop fetch`: what a link leads to, saved whole or not at all.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use url::Url;

use super::password::PasswordFile;
use super::{Context, connect, exit, output};
use crate::client::profile::is_loopback;
use crate::client::tls::Anchors;
use crate::client::transfer::fetch::{Destination, Fetch, Patience};
use crate::client::transfer::reference::{Place, Reference};
use crate::client::{self, Client};
use crate::link::LinkId;
use crate::units::Size;

/// What was said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The link's id or its whole URL
    #[arg(value_name = "ID-or-URL")]
    link: String,
    /// Where to save it; a folder keeps the link's own name, - is standard output
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(short, long)]
    force: bool,
    /// Print the link's metadata as JSON instead
    #[arg(short, long)]
    metadata: bool,
    #[command(flatten)]
    password: PasswordFile,
}

/// How often somebody is asked for a password.
const TRIES: usize = 3;

/// Fetches.
pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let (mut client, url, own) = find(context, &args.link).await?;
    for left in (0..=TRIES).rev() {
        let outcome = once(context, &args, &client, &url, own.as_ref()).await;
        let wrong = outcome.as_ref().err().and_then(|error| client::wants_password(error.downcast_ref()?));
        match wrong {
            // Said only to a server that asks for it. What a file or the environment says does not change.
            Some(false) => match args.password.known() {
                Ok(password) => client = client.with_password(password),
                Err(why) => {
                    output::warning(&format!("{why:#}"));
                    return outcome;
                }
            },
            Some(true) if args.password.is_asked() && left > 0 => {
                output::message("that is not the password");
                client = client.with_password(args.password.known()?);
            }
            _ => return outcome,
        }
    }
    once(context, &args, &client, &url, own.as_ref()).await
}

async fn once(context: &Context, args: &Args, client: &Client, url: &Url, own: Option<&LinkId>) -> Result<()> {
    if args.metadata {
        return metadata(client, url, own).await;
    }
    let progress = output::progress(&args.link);
    let (replace, patience, url) = (args.force, Patience::default(), url.clone());
    let fetch = Fetch { client, url, replace, patience, progress: &*progress };
    let what = || format!("cannot fetch {}", args.link);
    if args.output.as_deref() == Some(Path::new("-")) {
        fetch.run(Destination::Stream(&mut output::stdout())).await.with_context(what)?;
        return Ok(());
    }
    let destination = match &args.output {
        None => Destination::Folder(PathBuf::from(".")),
        Some(path) if path.is_dir() => Destination::Folder(path.clone()),
        Some(path) => Destination::File(path.clone()),
    };
    let fetched = fetch.run(destination).await.with_context(what)?;
    drop(progress);
    let path = fetched.path.unwrap_or_default();
    let path = path.strip_prefix(".").unwrap_or(&path);
    if context.json {
        return Ok(output::json(&serde_json::json!({
            "path": path,
            "size": fetched.size,
            "sha256": fetched.sha256.to_string(),
            "checked": fetched.checked,
        }))?);
    }
    let doubt = if fetched.checked { "" } else { " (the server sent no digest to check it against)" };
    output::message(&format!("{}: {}{doubt}", output::printable(&path.display().to_string()), Size(fetched.size)));
    Ok(())
}

/// Who has the link: our server, which gets our certificate, or another, which gets nothing of us.
async fn find(context: &Context, named: &str) -> Result<(Client, Url, Option<LinkId>)> {
    let reference: Reference = named.parse()?;
    let profile = context.connection.profile()?;
    let server = profile.server.as_ref().map(|setting| &setting.value);
    match reference.place(server)? {
        Place::Here(id) => {
            let client = context.connection.client_of(&profile).await?;
            let url = client.content_url(&id);
            let own = client.is_known().then_some(id);
            Ok((client, url, own))
        }
        Place::Elsewhere(url) => {
            if url.scheme() != "https" && !is_loopback(&url) {
                let why = "a link has to begin with https://; http:// is for loopback addresses only";
                return Err(exit::Usage(why.to_owned()).into());
            }
            let mut origin = url.clone();
            origin.set_path("/");
            origin.set_query(None);
            Ok((Client::anonymous(origin, Anchors::System, connect::clock())?, url, None))
        }
    }
}

/// All there is to know for those the server may tell it to; else what anyone with the link can see.
async fn metadata(client: &Client, url: &Url, own: Option<&LinkId>) -> Result<()> {
    match own {
        Some(id) => output::json(&client.link(id).await.with_context(|| format!("cannot look at {id}"))?)?,
        None => output::json(&client.describe(url).await.with_context(|| format!("cannot look at {url}"))?)?,
    }
    Ok(())
}

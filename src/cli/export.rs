//! `ddrop export`: all links saved to a folder, with an index of what they are.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use super::{Context, exit, list, output};
use crate::client::export::{Entry, Index, Standing};
use crate::client::transfer::fetch::{Destination, Fetch, Patience};
use crate::client::{self, Client, Error};
use crate::link::{Kind, LinkId};
use crate::units::Size;

/// What was said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder to save to; made if it is missing. What it has from an export before is not fetched again
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Everybody's links (for admins)
    #[arg(long)]
    all: bool,
    /// Replace files that are not what the server has
    #[arg(short, long)]
    force: bool,
}

/// Saves one link after the other; one that fails does not stop the next.
pub(super) async fn run(context: &Context, args: Args) -> Result<ExitCode> {
    let client = context.connection.client().await?;
    let folder = &args.folder;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut index = Index::open(folder, client.server())?;
    let links = list::pages(&client, args.all, None).await.context("cannot list the links")?;
    index.plan(folder, links.links)?;
    // Before the first byte: whoever goes on later has to know whose the files are.
    index.save(folder)?;
    let mut tally = Tally::default();
    for entry in &index.links {
        let outcome = save(&client, &args, entry).await;
        tally.count(entry, outcome.with_context(|| format!("cannot save {}", entry.link.id)));
    }
    if context.json {
        output::json(&index)?;
    } else {
        output::line(&tally.text())?;
    }
    Ok(tally.failed.unwrap_or(ExitCode::SUCCESS))
}

enum Outcome {
    Saved,
    There,
    Left,
    Ended,
}

async fn save(client: &Client, args: &Args, entry: &Entry) -> Result<Outcome> {
    let Some(place) = entry.place(&args.folder) else { return Ok(Outcome::Left) };
    match entry.standing(&place)? {
        Standing::Saved => return Ok(Outcome::There),
        Standing::Different if !args.force => return Err(Error::Exists(place).into()),
        Standing::Different | Standing::Missing => {}
    }
    let id: LinkId = entry.link.id.parse()?;
    let progress = output::progress(entry.file.as_deref().unwrap_or_default());
    let url = client.content_url(&id);
    let fetch = Fetch { client, url, replace: args.force, patience: Patience::default(), progress: &*progress };
    match fetch.run(Destination::File(place)).await {
        Ok(_) => Ok(Outcome::Saved),
        Err(error) if client::is_gone(&error) => Ok(Outcome::Ended),
        Err(error) => Err(error.into()),
    }
}

#[derive(Default)]
struct Tally {
    saved: u64,
    bytes: u64,
    there: u64,
    left: u64,
    ended: u64,
    failed: Option<ExitCode>,
}

impl Tally {
    fn count(&mut self, entry: &Entry, outcome: Result<Outcome>) {
        match outcome {
            Ok(Outcome::Saved) => {
                self.saved += 1;
                self.bytes += entry.link.size;
                output::message(&format!("saved {}", output::printable(entry.file.as_deref().unwrap_or_default())));
            }
            Ok(Outcome::There) => self.there += 1,
            Ok(Outcome::Left) => {
                self.left += 1;
                let why = match entry.link.kind {
                    Kind::Url => "where it leads is in the index",
                    _ => "reading it once would end it",
                };
                output::message(&format!("left {}: {why}", output::printable(&entry.link.id)));
            }
            Ok(Outcome::Ended) => self.ended += 1,
            Err(error) => {
                let code = exit::report(&error);
                self.failed = self.failed.or(Some(code));
            }
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{} saved ({}), {} there already", self.saved, Size(self.bytes), self.there);
        for (count, what) in [(self.left, "left"), (self.ended, "ended meanwhile")] {
            if count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        }
        text
    }
}

//! `ddrop upload`, also `stash`: bytes up, a link back.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use super::password::PasswordFile;
use super::{Context, exit, output};
use crate::api::Link;
use crate::client::transfer::upload::{Content, Replay};
use crate::client::{self, Client, Wish};
use crate::units::Ttl;

/// What was said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files to upload; a folder goes as one .tar.gz, - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How long the link lives: 30m, 2h, 7d, inf
    #[arg(long, value_name = "TTL")]
    ttl: Option<Ttl>,
    /// The name it is offered under
    #[arg(short, long, value_name = "NAME")]
    name: Option<String>,
    /// The first reader is the last
    #[arg(short, long)]
    burn: bool,
    /// Encrypt it end to end, so that the server cannot read it
    #[arg(short, long)]
    encrypt: bool,
    /// Ask for a password, without which nobody can fetch it
    #[arg(long)]
    password: bool,
    #[command(flatten)]
    file_of_password: PasswordFile,
}

/// Uploads one file after the other; one that fails does not stop the next.
pub(super) async fn run(context: &Context, args: Args) -> Result<ExitCode> {
    if args.encrypt {
        let why = "this version of ddrop cannot encrypt yet, and nothing was sent: encrypt the file before, such as with age, or leave out -e";
        return Err(exit::Usage(why.to_owned()).into());
    }
    if args.name.is_some() && args.files.len() > 1 {
        return Err(exit::Usage("--name is for one file".to_owned()).into());
    }
    let protect = args.password || args.file_of_password.is_given();
    let wish = Wish {
        name: args.name.clone(),
        ttl: args.ttl.map(|ttl| ttl.to_string()),
        burn: args.burn.then_some(true),
        password: protect.then(|| args.file_of_password.chosen()).transpose()?,
        paste: false,
    };
    let client = context.connection.client().await?;
    let mut links = Vec::new();
    let mut failed = None;
    for path in &args.files {
        let what = What { path, wish: wish.clone(), named: true };
        match upload(&client, what).await.with_context(|| format!("cannot upload {}", path.display())) {
            Ok(link) if context.json => links.push(link),
            Ok(link) => {
                output::lead("Upload complete: ");
                output::line(&link.url)?;
            }
            Err(error) => {
                let code = exit::report(&error);
                failed = failed.or(Some(code));
            }
        }
    }
    match (context.json, links.as_slice()) {
        (true, [link]) if args.files.len() == 1 => output::json(link)?,
        (true, links) if args.files.len() > 1 => output::json(links)?,
        _ => {}
    }
    Ok(failed.unwrap_or(ExitCode::SUCCESS))
}

/// One thing to upload.
pub(super) struct What<'a> {
    /// A file or a folder; - is standard input.
    pub(super) path: &'a Path,
    /// How.
    pub(super) wish: Wish,
    /// Whether it goes under its own name when no other is said.
    pub(super) named: bool,
}

/// What opens a file, a folder or, as -, standard input: as often as it has to be sent.
pub(super) fn again(path: &Path) -> Box<dyn Fn() -> Result<Content, client::Error> + '_> {
    if path == Path::new("-") {
        let stream = Replay::of(std::io::stdin());
        return Box::new(move || stream.content("standard input"));
    }
    Box::new(move || Content::at(path))
}

/// Uploads it, working for it where that is asked.
pub(super) async fn upload(client: &Client, what: What<'_>) -> Result<Link> {
    let What { path, mut wish, named } = what;
    let open = again(path);
    if named {
        wish.name = wish.name.or(open()?.name().map(str::to_owned));
    }
    let progress = output::progress(&path.display().to_string());
    Ok(client.upload_for_work(&*open, &wish, progress, &*output::counting(output::WORKING)).await?)
}

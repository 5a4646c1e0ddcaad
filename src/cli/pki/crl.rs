//! `ddrop pki crl`: the revocation lists, for those who ask no server of ours.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::show;
use super::way::Way;
use crate::cli::{Context, output};

/// What was said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write to this file, which is replaced at once and whole
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only the list of the CA that issues now, in DER
    #[arg(long, requires = "output")]
    der: bool,
    /// Keep the file up to date, until told to stop
    #[arg(long, requires = "output")]
    watch: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 10, requires = "watch",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    every: u64,
    /// A command for the shell after each change, such as one that reloads a proxy
    #[arg(long, value_name = "COMMAND", requires = "watch")]
    exec: Option<String>,
}

pub(super) async fn run(context: &Context, way: &Way, args: &Args) -> Result<()> {
    if let (true, Some(path)) = (args.watch, &args.output) {
        return watch(way, path, args).await;
    }
    let pem = way.lists().await.context("cannot read the revocation lists")?;
    let Some(path) = &args.output else {
        return if context.json { Ok(output::json(&pem)?) } else { Ok(output::raw(pem.as_bytes())?) };
    };
    replace(path, &content(pem, args.der)?).with_context(|| format!("cannot write {}", path.display()))?;
    show::done(context, &format!("wrote {}", path.display()))
}

fn content(pem: String, der: bool) -> Result<Vec<u8>> {
    let first = if der { pki::pem::lists(&pem)?.into_iter().next() } else { None };
    Ok(first.unwrap_or_else(|| pem.into_bytes()))
}

/// The first time has to go well; after that a server that is away for a while is no reason to end.
async fn watch(way: &Way, path: &Path, args: &Args) -> Result<()> {
    let mut pending = look(way, path, args.der).await?;
    loop {
        if pending && let Some(command) = &args.exec {
            // What has failed is tried again: until it works the proxy has the old list.
            pending = !hook(command).await;
        }
        tokio::time::sleep(Duration::from_secs(args.every)).await;
        match look(way, path, args.der).await {
            Ok(changed) => pending |= changed,
            Err(error) => output::warning(&format!("{error:#}; trying again in {} s", args.every)),
        }
    }
}

/// Writes the file if there is something new; answers whether there was.
async fn look(way: &Way, path: &Path, der: bool) -> Result<bool> {
    let pem = way.lists().await.context("cannot read the revocation lists")?;
    let content = content(pem, der)?;
    if std::fs::read(path).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    replace(path, &content).with_context(|| format!("cannot write {}", path.display()))?;
    output::message(&format!("wrote {}", path.display()));
    Ok(true)
}

async fn hook(command: &str) -> bool {
    let mut shell = std::process::Command::new("/bin/sh");
    shell.arg("-c").arg(command).stdin(std::process::Stdio::null());
    let done = tokio::task::spawn_blocking(move || shell.status()).await;
    let why = match done {
        Ok(Ok(status)) if status.success() => return true,
        Ok(Ok(status)) => status.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    output::warning(&format!("'{command}' failed ({why}); trying again"));
    false
}

/// Whoever reads the file meanwhile, such as a proxy that is being reloaded, has the old one or the new one.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    let mut file = builder.prefix(".ddrop-crl-").permissions(Permissions::from_mode(0o644)).tempfile_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_anyone_may_read_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("crl.pem");
        for content in ["old", "new and longer"] {
            replace(&path, content.as_bytes()).expect("written");
            assert_eq!(std::fs::read_to_string(&path).expect("read"), content);
        }
        assert_eq!(path.metadata().expect("facts").permissions().mode() & 0o444, 0o444);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing else is left");
        assert!(replace(&folder.path().join("none/crl.pem"), b"x").is_err());
    }
}

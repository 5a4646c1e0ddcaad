//! `ddrop pki crl`: the revocation lists, for those who ask no server of ours.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

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
}

pub(super) async fn run(context: &Context, way: &Way, args: &Args) -> Result<()> {
    let pem = way.lists().await.context("cannot read the revocation lists")?;
    let Some(path) = &args.output else {
        return if context.json { Ok(output::json(&pem)?) } else { Ok(output::raw(pem.as_bytes())?) };
    };
    let der = if args.der { pki::pem::lists(&pem)?.into_iter().next() } else { None };
    let content = der.as_deref().unwrap_or(pem.as_bytes());
    replace(path, content).with_context(|| format!("cannot write {}", path.display()))?;
    show::done(context, &format!("wrote {}", path.display()))
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

//! `ddrop whoami`: whom the server takes us for, and what that allows.

use anyhow::{Context as _, Result};

use super::{Context, output};
use crate::units::Size;

/// What was said: nothing more.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Shows.
pub(super) async fn run(context: &Context, _: Args) -> Result<()> {
    let client = context.connection.client().await?;
    let me = client.whoami().await.context("cannot ask who we are")?;
    if context.json {
        return Ok(output::json(&me)?);
    }
    let mut lines = vec![("tier", me.tier.to_string())];
    lines.extend(me.name.map(|name| ("name", name)));
    lines.extend(me.role.map(|role| ("role", role)));
    lines.extend(me.fingerprint_sha256.map(|text| ("sha256", text)));
    lines.extend(me.fingerprint_sha1.map(|text| ("sha1", text)));
    lines.extend(me.certificate_expires_at.map(|at| ("certificate expires", at.to_string())));
    lines.extend(me.address.map(|address| ("address", address.to_string())));
    lines.push(("may upload", if me.limits.may_upload { "yes" } else { "no" }.to_owned()));
    lines.push(("largest file", Size(me.limits.max_file_size).to_string()));
    lines.push(("lifetime", format!("{} unless said, {} at most", me.limits.default_ttl, me.limits.max_ttl)));
    for (what, value) in lines {
        output::line(&format!("{what:<20} {}", output::printable(&value)))?;
    }
    Ok(())
}

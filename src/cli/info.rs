//! `ddrop info`: the server, the settings in use, and where each was said.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::{Context, output};
use crate::client::certificate::Facts;
use crate::client::profile::{FILE, Profile};

/// What was said: nothing more.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Shows; what the server says last, since it may not answer.
pub(super) async fn run(context: &Context, _: Args) -> Result<()> {
    let profile = context.connection.profile()?;
    let settings = settings(&profile);
    let certificate = profile.identity()?.and_then(|identity| Facts::of(identity.chain.first()?).ok());
    if !context.json {
        show(&profile, &settings, certificate.as_ref())?;
    }
    let client = context.connection.client_of(&profile).await?;
    let health = client.health().await?;
    let ca = client.pki_status().await.ok();
    if context.json {
        let mut settings = Map::from_iter(
            settings
                .into_iter()
                .map(|(name, value, source)| (name.to_owned(), json!({ "value": value, "source": source }))),
        );
        settings.insert("folder".to_owned(), json!(profile.folder));
        let certificate = certificate.map(|facts| {
            json!({
                "subject": facts.subject,
                "serial": facts.serial,
                "fingerprint_sha256": facts.fingerprint.sha256.to_string(),
                "fingerprint_sha1": facts.fingerprint.sha1.to_string(),
                "not_after": facts.not_after,
                "self_signed": facts.self_signed,
            })
        });
        let whole = json!({ "version": env!("CARGO_PKG_VERSION"), "settings": settings, "certificate": certificate, "health": health, "ca": ca });
        return Ok(output::json(&whole)?);
    }
    output::line(&format!("server health  {}", health.get("status").and_then(Value::as_str).unwrap_or("unknown")))?;
    if let Some(ca) = ca {
        output::line(&format!("server CA      {} {}", output::printable(&ca.common_name), ca.root_fingerprint))?;
        output::line(&format!("CA expires     {}", ca.root_expires_at))?;
    }
    Ok(())
}

fn settings(profile: &Profile) -> Vec<(&'static str, String, String)> {
    let mut all = Vec::new();
    if let Some(one) = &profile.server {
        all.push(("server", one.value.to_string(), one.source.to_string()));
    }
    for (name, setting) in
        [("client_cert", &profile.client_cert), ("client_key", &profile.client_key), ("ca_cert", &profile.ca_cert)]
    {
        all.extend(setting.iter().map(|one| (name, one.value.display().to_string(), one.source.to_string())));
    }
    all.extend(profile.token.iter().map(|one| ("token", "(set)".to_owned(), one.source.to_string())));
    all
}

fn show(profile: &Profile, settings: &[(&'static str, String, String)], certificate: Option<&Facts>) -> Result<()> {
    output::line(&format!("version        {}", env!("CARGO_PKG_VERSION")))?;
    output::line(&format!("configuration  {}", profile.folder.join(FILE).display()))?;
    for (name, value, source) in settings {
        output::line(&format!("{name:<14} {value}  ({source})"))?;
    }
    if let Some(facts) = certificate {
        let kind = if facts.self_signed { ", self-signed" } else { "" };
        output::line(&format!("certificate    {}{kind}", output::printable(&facts.subject)))?;
        output::line(&format!("  expires      {}", facts.not_after))?;
        output::line(&format!("  sha256       {}", facts.fingerprint.sha256))?;
    }
    Ok(())
}

//! The authority's answers, for people and as JSON.

use anyhow::Result;
use serde_json::json;

use crate::api;
use crate::cli::{Context, output};

pub(super) fn status(context: &Context, status: &api::PkiStatus) -> Result<()> {
    if context.json {
        return Ok(output::json(status)?);
    }
    for (what, value) in [
        ("root", output::printable(&status.common_name)),
        ("root sha256", status.root_fingerprint.clone()),
        ("root expires", status.root_expires_at.to_string()),
        ("issuing sha256", status.issuing_fingerprint.clone()),
        ("issuing expires", status.issuing_expires_at.to_string()),
        ("open registration", if status.open_registration { "yes" } else { "no" }.to_owned()),
    ] {
        output::line(&format!("{what:<18} {value}"))?;
    }
    Ok(())
}

pub(super) fn certificates(context: &Context, list: &api::Certificates) -> Result<()> {
    if context.json {
        return Ok(output::json(list)?);
    }
    table(&list.certs)
}

pub(super) fn revoked(context: &Context, done: &api::Revoked) -> Result<()> {
    if context.json {
        return Ok(output::json(done)?);
    }
    table(&done.certs)?;
    output::message(&format!("{} revoked now, {} before", done.changed, done.certs.len().saturating_sub(done.changed)));
    Ok(())
}

fn table(certs: &[api::Certificate]) -> Result<()> {
    let rows: Vec<Vec<String>> = certs
        .iter()
        .map(|cert| {
            let admin = if cert.admin { " (admin)" } else { "" };
            vec![
                cert.serial.clone(),
                format!("{}{admin}", cert.name.as_deref().unwrap_or("-")),
                cert.profile.clone(),
                cert.status.clone(),
                cert.not_after.to_string(),
                cert.fingerprint_sha256.clone(),
            ]
        })
        .collect();
    Ok(output::table(&["SERIAL", "NAME", "PROFILE", "STATUS", "EXPIRES", "SHA-256"], &rows)?)
}

pub(super) fn invites(context: &Context, invites: &[api::Invite]) -> Result<()> {
    if context.json {
        return Ok(output::json(&json!({ "invites": invites }))?);
    }
    let rows: Vec<Vec<String>> = invites
        .iter()
        .map(|invite| {
            let admin = if invite.admin { " (admin)" } else { "" };
            vec![
                invite.id.clone(),
                format!("{}{admin}", invite.name),
                invite.status.clone(),
                invite.expires_at.to_string(),
                invite.created_by.clone(),
            ]
        })
        .collect();
    Ok(output::table(&["ID", "NAME", "STATUS", "EXPIRES", "MADE BY"], &rows)?)
}

pub(super) fn done(context: &Context, text: &str) -> Result<()> {
    if context.json {
        return Ok(output::json(&json!({ "message": text }))?);
    }
    output::message(text);
    Ok(())
}

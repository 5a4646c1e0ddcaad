//! `ddrop pki audit`: what changed who is trusted, and whether the record of it is whole.

use anyhow::{Context as _, Result, bail};

use super::way::Way;
use crate::cli::{Context, output};

/// What was said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Look through the whole record: is every line as it was written, and none missing?
    #[arg(long, conflicts_with = "last")]
    verify: bool,
    /// How many lines, from the end
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    last: u16,
}

pub(super) async fn run(context: &Context, way: &Way, args: &Args) -> Result<()> {
    if args.verify {
        return verify(context, way).await;
    }
    let audit = way.audit(usize::from(args.last)).await.context("cannot read the audit log")?;
    if context.json {
        return Ok(output::json(&audit)?);
    }
    let rows: Vec<Vec<String>> = audit.events.iter().map(row).collect();
    Ok(output::table(&["LINE", "AT", "WHO", "FROM", "WHAT", "DETAILS"], &rows)?)
}

async fn verify(context: &Context, way: &Way) -> Result<()> {
    let verified = way.verify_audit().await.context("cannot read the audit log")?;
    if context.json {
        output::json(&verified)?;
    }
    if !verified.intact {
        bail!("the audit log is broken at line {}: {}", verified.line, verified.why.unwrap_or_default());
    }
    output::message(&format!("the audit log is whole: {} lines; the last has this SHA-256:", verified.line));
    if context.json { Ok(()) } else { Ok(output::line(&verified.head.unwrap_or_default())?) }
}

fn row(event: &serde_json::Value) -> Vec<String> {
    let text = |value: Option<&serde_json::Value>| match value {
        None => "-".to_owned(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let details = event.get("details").and_then(serde_json::Value::as_object);
    let details = details.into_iter().flatten().map(|(name, value)| format!("{name}={}", text(Some(value))));
    let mut row: Vec<String> = ["number", "at", "who", "from", "what"].map(|name| text(event.get(name))).into();
    row.push(details.collect::<Vec<_>>().join(" "));
    row
}

//! `ddrop doctor`: looks an installation over on its own machine and says what to do.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use super::{Context, connect, output};
use crate::config::{self, Said, Serve};

mod content;
mod machine;
mod settings;
mod through;
mod trust;

/// What was said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The server's storage folder [default: that of the settings]
    #[arg(short, long, value_name = "STORAGE")]
    storage: Option<PathBuf>,
    /// The TOML file the server is started with
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read the bytes of every link and compare their digests, which takes its time
    #[arg(long)]
    contents: bool,
    /// Send look-alikes of a proxy's headers through the proxy at this address, and say whether one is believed
    #[arg(long, value_name = "URL", conflicts_with_all = ["storage", "config", "contents"])]
    through: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    /// Worth knowing.
    Note,
    /// It works, and may not for long, or not for everyone.
    Warning,
    /// It does not work, or is open to someone it should not be open to.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    level: Level,
    /// One word: what was looked at.
    check: &'static str,
    /// What was found.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, check, found: found.into(), advice: None }
    }

    fn new(level: Level, check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level, check, found: found.into(), advice: Some(advice.into()) }
    }
}

#[derive(Serialize)]
struct Report {
    healthy: bool,
    findings: Vec<Finding>,
}

/// Looks; the exit code is 1 when there is a problem.
pub(super) async fn run(context: &Context, args: Args) -> Result<ExitCode> {
    let findings = match &args.through {
        Some(url) => Box::pin(through::look(context, url)).await?,
        None => tokio::task::spawn_blocking(move || examine(&args)).await?,
    };
    let healthy = findings.iter().all(|finding| finding.level != Level::Problem);
    if context.json {
        output::json(&Report { healthy, findings })?;
    } else {
        for finding in &findings {
            show(finding)?;
        }
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(finding: &Finding) -> Result<()> {
    let level = match finding.level {
        Level::Ok => "ok",
        Level::Note => "note",
        Level::Warning => "WARNING",
        Level::Problem => "PROBLEM",
    };
    output::line(&format!("{level:<8} {:<12} {}", finding.check, finding.found))?;
    if let Some(advice) = &finding.advice {
        output::line(&format!("{:<21} -> {advice}", ""))?;
    }
    Ok(())
}

fn examine(args: &Args) -> Vec<Finding> {
    let settings = match read(args) {
        Ok(settings) => settings,
        Err(error) => {
            let advice = "put it right; 'ddrop serve --check' prints what is in force and where it was said";
            return vec![Finding::new(Level::Problem, "settings", format!("{error:#}"), advice)];
        }
    };
    let now = connect::clock().now();
    let mut findings = settings::look(&settings);
    findings.extend(machine::look(&settings, now));
    findings.extend(trust::look(&settings, now));
    findings.extend(content::look(&settings.storage_path, args.contents, now));
    findings
}

/// The settings as the server would have them, started from here.
fn read(args: &Args) -> Result<Serve> {
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let (environment, _) = config::read_environment(variables);
    let file = args.config.as_ref().map(|path| config::read_file(path).map(|said| (path.clone(), said))).transpose()?;
    let storage = args.storage.iter().map(|path| ("storage_path", path.to_string_lossy().into_owned()));
    Ok(Serve::from_said(storage.collect::<Said>(), environment, file)?)
}

/// An error with its causes, in one line.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

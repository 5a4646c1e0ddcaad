//! How a benchmark begins and ends: what it was told, a folder of its own, an end at the latest.

use std::borrow::Borrow;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use super::process::Cores;

/// What was asked for.
pub(crate) struct Asked {
    /// Coarser, and sooner done.
    pub(crate) quick: bool,
    /// The parts that were named; all of them if none was.
    pub(crate) parts: Vec<&'static str>,
}

/// Reads what was said and does it. `parts`: those there are.
pub(crate) fn main(usage: &str, parts: &[&'static str], bench: impl FnOnce(Asked) -> Result<()>) -> ExitCode {
    let (mut asked, mut measure) = (Asked { quick: false, parts: Vec::new() }, false);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            // What `cargo bench` passes, and `cargo test --all-targets` does not.
            "--bench" => measure = true,
            "--quick" => asked.quick = true,
            "--help" | "-h" => {
                println!("{usage}");
                return ExitCode::SUCCESS;
            }
            other => match parts.iter().find(|part| **part == other) {
                Some(part) => asked.parts.push(part),
                None => {
                    eprintln!("'{other}' is not known here.\n{usage}");
                    return ExitCode::from(2);
                }
            },
        }
    }
    if !measure {
        eprintln!("nothing measured: this is for `cargo bench`");
        return ExitCode::SUCCESS;
    }
    if asked.parts.is_empty() {
        asked.parts = parts.to_vec();
    }
    match bench(asked) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A folder that goes with the value. To be dropped last, after the servers that write into it.
pub(crate) fn folder() -> Result<TempDir> {
    tempfile::Builder::new().prefix("ddrop-bench-").tempdir().context("could not make a folder")
}

/// Runs it on the load generator's cores, until it is done, the user ends it, or it has taken longer than `end`.
pub(crate) fn to_its_end<T>(cores: &Cores, end: Duration, run: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(cores.load.max(1)).enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            done = tokio::time::timeout(end, run) =>
                done.with_context(|| format!("not done after {} seconds", end.as_secs()))?,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    })
}

/// The value that half of them are not above.
pub(crate) fn median(values: impl IntoIterator<Item = impl Borrow<f64>>) -> f64 {
    quantile(values, 0.5)
}

/// The value that this part of them is not above.
pub(crate) fn quantile(values: impl IntoIterator<Item = impl Borrow<f64>>, part: f64) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().map(|value| *value.borrow()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = (sorted.len() as f64 * part) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

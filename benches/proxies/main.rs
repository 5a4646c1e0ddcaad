//! What each way in costs beside direct TLS, on the same machine in the same run: passthrough, and header mode by
//! HAProxy, nginx and Caddy, each with its file of deploy/.
//!
//! What is measured and how to read it stands in `benches/README.md`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the page is what this program is for")]

mod fronts;
mod load;
#[path = "../rig/mod.rs"]
mod rig;
mod table;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::fronts::{Fronts, Programs};
use crate::load::{Extent, Generator, SMALL_FILE, Workload};
use crate::rig::content::Content;
use crate::rig::process::Cores;
use crate::rig::{ddrop, machine, tls};
use crate::table::{Circumstances, Page, Results};

const USAGE: &str = "usage: cargo bench --bench proxies [-- --quick]

Measures ddrop direct, through HAProxy (passthrough and header mode), nginx and Caddy, and prints one page. Takes some
4 minutes, with --quick under 1 minute. Files go into a folder of their own under $TMPDIR, and are removed at the end.";

const MIB: u64 = 1024 * 1024;
const FULL: Extent = Extent { rounds: 5, bulk: 256 * MIB, span: Duration::from_secs(2) };
const QUICK: Extent = Extent { rounds: 3, bulk: 64 * MIB, span: Duration::from_millis(500) };
/// After this the run has failed.
const END: Duration = Duration::from_secs(900);

fn main() -> ExitCode {
    let (mut extent, mut asked) = (FULL, false);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            // What `cargo bench` passes, and `cargo test --all-targets` does not.
            "--bench" => asked = true,
            "--quick" => extent = QUICK,
            "--help" | "-h" => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            other => {
                eprintln!("'{other}' is not known here.\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    if !asked {
        eprintln!("nothing measured: this is for `cargo bench`");
        return ExitCode::SUCCESS;
    }
    match bench(extent) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(extent: Extent) -> Result<()> {
    let programs = Programs::find()?;
    // Dropped last, after the servers that write into it.
    let dir = tempfile::Builder::new().prefix("ddrop-bench-").tempdir()?;
    machine::ensure_room(dir.path(), 4 * extent.bulk)?;
    let cores = Cores::divide();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(cores.load.max(1)).enable_all().build()?;
    let page = runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            page = tokio::time::timeout(END, run(&programs, &cores, dir.path(), extent)) =>
                page.with_context(|| format!("not done after {} seconds", END.as_secs()))?,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    })?;
    print!("{page}");
    Ok(())
}

async fn run(programs: &Programs, cores: &Cores, dir: &Path, extent: Extent) -> Result<String> {
    let (fronts, enrolled) = Fronts::start(programs, cores, dir).await?;
    let (tls, content) = (Arc::new(tls::client(&enrolled, None)?), Arc::new(Content::random()?));
    let direct = fronts.ways.first().context("there is no way in")?;
    let small = fronts.target(direct)?.upload(&tls, &content, SMALL_FILE).await?;
    let generator = Generator { tls, content, small };
    eprintln!("warming up");
    // Counts for nothing, but then no program is the first to touch the machine's memory.
    let warm_up = Extent { span: Duration::from_millis(100), bulk: extent.bulk / 4, ..extent };
    round(&fronts, &generator, 0, warm_up, &mut Results::default()).await?;
    let mut results = Results::default();
    for number in 0..extent.rounds {
        eprintln!("round {} of {}", number + 1, extent.rounds);
        round(&fronts, &generator, number, extent, &mut results).await?;
    }
    let about = Circumstances {
        machine: machine::describe(),
        versions: format!("{}; {}", ddrop::version()?, programs.versions()),
        cores: cores.describe(),
        disk: machine::file_system(dir),
        extent,
    };
    Ok(Page { about: &about, results: &results, ways: fronts.names() }.to_string())
}

/// Every workload once by each way in, one after another, so that what the machine does meanwhile meets all of them; who
/// begins changes by the round.
async fn round(
    fronts: &Fronts,
    generator: &Generator,
    number: usize,
    extent: Extent,
    results: &mut Results,
) -> Result<()> {
    let count = fronts.ways.len();
    for workload in Workload::ALL {
        let order = fronts.ways.iter().cycle().skip(number % count).take(count);
        for way in order {
            let sample = generator.run(workload, fronts, way, extent).await;
            results.add(workload, way.name, number, sample.with_context(|| format!("{workload} by {}", way.name))?);
        }
    }
    Ok(())
}

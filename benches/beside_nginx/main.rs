//! ddrop beside nginx on the same machine in the same run: transfers, small fetches, handshakes, memory.
//!
//! What is measured and how to read it stands in `benches/README.md`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the page is what this program is for")]

mod load;
mod nginx;
#[path = "../rig/mod.rs"]
mod rig;
mod table;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::load::{Extent, Generator, Workload};
use crate::nginx::Nginx;
use crate::rig::content::Content;
use crate::rig::process::Cores;
use crate::rig::{ddrop, machine, run, tls};
use crate::table::{Circumstances, Page, Results};

const USAGE: &str = "usage: cargo bench --bench beside_nginx [-- --quick]

Measures ddrop beside nginx and prints one page. Takes under 4 minutes, with --quick under 40 seconds.
Files go into a folder of their own under $TMPDIR, which needs 3 GiB of room, and are removed at the end.";

const MIB: u64 = 1024 * 1024;
const FULL: Budget = Budget {
    extent: Extent { rounds: 5, bulk: 1024 * MIB, span: Duration::from_secs(2) },
    last_start: Duration::from_secs(170),
    end: Duration::from_secs(235),
};
const QUICK: Budget = Budget {
    extent: Extent { rounds: 3, bulk: 256 * MIB, span: Duration::from_millis(600) },
    last_start: Duration::from_secs(25),
    end: Duration::from_secs(39),
};

/// How much is done, and how long it may take.
#[derive(Clone, Copy)]
struct Budget {
    extent: Extent,
    /// After this no round is begun.
    last_start: Duration,
    /// After this the run has failed.
    end: Duration,
}

fn main() -> ExitCode {
    run::main(USAGE, &[], |asked| bench(if asked.quick { QUICK } else { FULL }))
}

fn bench(budget: Budget) -> Result<()> {
    let nginx = Nginx::find()?;
    let dir = run::folder()?;
    machine::ensure_room(dir.path(), 3 * budget.extent.bulk)?;
    let cores = Cores::divide();
    let page = run::to_its_end(&cores, budget.end, measure(&nginx, &cores, dir.path(), budget))?;
    print!("{page}");
    Ok(())
}

async fn measure(nginx: &Nginx, cores: &Cores, dir: &Path, budget: Budget) -> Result<String> {
    let begun = Instant::now();
    let (our_dir, their_dir) = (dir.join("ddrop"), dir.join("nginx"));
    std::fs::create_dir(&our_dir)?;
    std::fs::create_dir(&their_dir)?;
    let (target, enrolled) =
        ddrop::start(cores, &our_dir, &["--max-file-size-mb", "2048", "--max-storage-mb", "8192"]).await?;
    let (peer, peer_root) = nginx.start(cores, &their_dir, &enrolled.file("ca.crt")).await?;
    let tls = Arc::new(tls::client(&enrolled, Some(peer_root))?);
    let content = Arc::new(Content::random()?);
    let mut ours = Generator::new(target, Arc::clone(&tls), Arc::clone(&content)).await.context("ddrop")?;
    let mut theirs = Generator::new(peer, tls, content).await.context("nginx")?;
    eprintln!("warming up");
    let (mut results, mut rounds) = (Results::default(), 0);
    // Counts for nothing, but then no server is the first to touch the machine's memory.
    let warm_up = Extent { span: Duration::from_millis(100), ..budget.extent };
    round(&mut theirs, &mut ours, false, warm_up, &mut Results::default()).await?;
    while rounds < budget.extent.rounds && begun.elapsed() < budget.last_start {
        eprintln!("round {} of {}", rounds + 1, budget.extent.rounds);
        round(&mut theirs, &mut ours, rounds % 2 == 1, budget.extent, &mut results).await?;
        rounds += 1;
    }
    let about = Circumstances {
        machine: machine::describe(),
        versions: format!("{}; {}; TLS 1.3, AES-128-GCM, same client certificate", nginx.version, ddrop::version()?),
        cores: cores.describe(),
        disk: machine::file_system(dir),
        extent: Extent { rounds, ..budget.extent },
    };
    Ok(Page(&about, &results).to_string())
}

/// Every workload once on each, so that what the machine does meanwhile meets both; who begins changes by the round.
async fn round(
    theirs: &mut Generator,
    ours: &mut Generator,
    ours_first: bool,
    extent: Extent,
    results: &mut Results,
) -> Result<()> {
    for workload in Workload::ALL {
        let (nginx, ddrop) = if ours_first {
            let ddrop = ours.run(workload, extent).await?;
            (theirs.run(workload, extent).await?, ddrop)
        } else {
            let nginx = theirs.run(workload, extent).await?;
            (nginx, ours.run(workload, extent).await?)
        };
        results.add(workload, nginx, ddrop);
    }
    theirs.tidy().await?;
    ours.tidy().await
}

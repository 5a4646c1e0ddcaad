//! What revoked certificates cost: handshakes beside a server that has none, the list of all of them, memory.
//!
//! What is measured and how to read it stands in `benches/README.md`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the page is what this program is for")]

mod list;
// The load is the other benchmark's; not all of it is for this one.
#[allow(dead_code)]
#[path = "../beside_nginx/load.rs"]
mod load;
#[path = "../rig/mod.rs"]
mod rig;
mod rows;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::list::Asker;
use crate::load::{Extent, Generator, Sample, Workload};
use crate::rig::content::Content;
use crate::rig::process::Cores;
use crate::rig::run::{self, median};
use crate::rig::{ddrop, machine, tls};

const USAGE: &str = "usage: cargo bench --bench revoked [-- --quick]

Measures what 100,000 revoked certificates cost and prints one page. Takes under 3 minutes, with --quick under 1.";

/// Revoked certificates.
const REVOKED: usize = 100_000;

/// After this the run has failed.
const END: Duration = Duration::from_secs(300);

/// How much is done.
#[derive(Clone, Copy)]
struct Plan {
    rounds: usize,
    span: Duration,
    lists: usize,
}

const FULL: Plan = Plan { rounds: 15, span: Duration::from_millis(2500), lists: 9 };
const QUICK: Plan = Plan { rounds: 5, span: Duration::from_millis(1000), lists: 3 };

fn main() -> ExitCode {
    run::main(USAGE, &[], |asked| bench(if asked.quick { QUICK } else { FULL }))
}

fn bench(plan: Plan) -> Result<()> {
    let dir = run::folder()?;
    let cores = Cores::divide();
    run::to_its_end(&cores, END, measure(&cores, dir.path(), plan))
}

/// A server, whoever loads it, and whoever asks it for lists.
struct Side {
    generator: Generator,
    asker: Asker,
}

impl Side {
    async fn start(cores: &Cores, dir: &Path, revoked: usize, content: &Arc<Content>) -> Result<Self> {
        std::fs::create_dir(dir)?;
        let (target, enrolled) = ddrop::start(cores, dir, &[]).await?;
        rows::revoke(&dir.join("storage"), revoked).await.context("could not revoke so many")?;
        let root = tls::certificates(&enrolled.file("ca.crt"))?.into_iter().next().context("no root")?;
        let tls = Arc::new(tls::client(&enrolled, Some(root))?);
        let asker = Asker::new(target.address, &tls)?;
        Ok(Self { generator: Generator::new(target, tls, Arc::clone(content)).await?, asker })
    }

    async fn handshakes(&mut self, span: Duration) -> Result<Sample> {
        self.generator.run(Workload::FullHandshake, Extent { rounds: 1, bulk: 0, span }).await
    }
}

async fn measure(cores: &Cores, dir: &Path, plan: Plan) -> Result<()> {
    println!("{}\n{}; {}\n", ddrop::version()?, machine::describe(), cores.describe());
    let content = Arc::new(Content::random()?);
    let mut none = Side::start(cores, &dir.join("none"), 0, &content).await?;
    let begun = Instant::now();
    let mut many = Side::start(cores, &dir.join("many"), REVOKED, &content).await?;
    eprintln!("{REVOKED} certificates revoked in {:.1} s", begun.elapsed().as_secs_f64());
    none.handshakes(plan.span / 4).await?;
    many.handshakes(plan.span / 4).await?;
    let mut pairs = Vec::new();
    for round in 0..plan.rounds {
        eprintln!("round {} of {}", round + 1, plan.rounds);
        // What the machine does meanwhile meets both; who begins changes by the round.
        let (first, second) = if round % 2 == 0 { (&mut none, &mut many) } else { (&mut many, &mut none) };
        let (first, second) = (first.handshakes(plan.span).await?, second.handshakes(plan.span).await?);
        pairs.push(if round % 2 == 0 { (first, second) } else { (second, first) });
    }
    handshakes(&pairs);
    for (name, side) in [("none", &none), ("100,000", &many)] {
        println!("memory before any list, {name} revoked: {:.1} MiB", side.generator.target.process.peak()?);
    }
    println!();
    list::measure(&many.asker, &many.generator.target.process, plan.lists).await
}

fn handshakes(pairs: &[(Sample, Sample)]) {
    println!("full mTLS handshake and one 1 KiB fetch, 100,000 revoked beside none, {} paired rounds", pairs.len());
    let line = |name: &str, unit: &str, value: fn(&Sample) -> f64| {
        let none = median(pairs.iter().map(|pair| value(&pair.0)));
        let many = median(pairs.iter().map(|pair| value(&pair.1)));
        let mut ratios: Vec<f64> = pairs.iter().map(|pair| value(&pair.1) / value(&pair.0)).collect();
        ratios.sort_by(f64::total_cmp);
        let (lowest, highest) = (ratios.first().copied().unwrap_or(0.0), ratios.last().copied().unwrap_or(0.0));
        println!(
            "  {name:<16} none {none:>9.1} {unit:<3} many {many:>9.1} {unit:<3} ratio {:.3} ({lowest:.3} to {highest:.3})",
            median(&ratios)
        );
    };
    line("a second", "", |sample| sample.rate);
    line("server CPU", "µs", |sample| sample.cpu * 1e6);
}

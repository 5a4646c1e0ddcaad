//! What requests cost with many links, beside what they cost with a thousand.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::Extent;
use crate::fill::{Filled, Kind};
use crate::probe::{Ask, Probe};
use crate::rig::ddrop;
use crate::rig::process::Cores;
use crate::rig::run::median;
use crate::rig::target::Target;

/// Links of the small database.
const FEW: u64 = 1000;

/// Nothing is swept while it is measured.
const SETTINGS: [&str; 4] = ["--max-storage-mb", "65536", "--cleanup-interval-seconds", "86400"];

/// A server and what there is to ask it.
struct Side {
    target: Target,
    filled: Filled,
    ids: Vec<String>,
    probes: Vec<Probe>,
}

impl Side {
    async fn start(cores: &Cores, dir: &Path, links: u64) -> Result<Self> {
        std::fs::create_dir(dir)?;
        let mut filled = Filled::begin(cores, dir, &SETTINGS).await?;
        let ids = filled.add(links, Kind::Living)?;
        let target = ddrop::start_again(cores, dir, &SETTINGS).await?;
        target.process.idle().await?;
        Ok(Self { target, filled, ids, probes: Vec::new() })
    }

    async fn open(&mut self) -> Result<()> {
        for ask in Ask::ALL {
            self.probes.push(Probe::open(&self.target, &self.filled.tls, ask, &self.ids).await?);
        }
        Ok(())
    }
}

/// One turn: the median time of a request in milliseconds, and the server's CPU time for one in microseconds.
async fn turn(target: &Target, probe: &mut Probe, batch: usize) -> Result<(f64, f64)> {
    let (cpu, mut times) = (target.process.cpu()?, Vec::with_capacity(batch));
    for _ in 0..batch {
        times.push(probe.once().await?.as_secs_f64() * 1e3);
    }
    Ok((median(&times), (target.process.cpu()? - cpu) / batch as f64 * 1e6))
}

/// What one kind of request showed.
#[derive(Default)]
struct Shown {
    few: Vec<f64>,
    many: Vec<f64>,
    ratio: Vec<f64>,
    cpu_few: f64,
    cpu_many: f64,
}

pub(crate) async fn measure(cores: &Cores, dir: &Path, extent: Extent) -> Result<String> {
    let mut few = Side::start(cores, &dir.join("few"), FEW).await?;
    let mut many = Side::start(cores, &dir.join("many"), extent.many).await?;
    few.open().await?;
    many.open().await?;
    let mut all: Vec<Shown> = Ask::ALL.iter().map(|_| Shown::default()).collect();
    // The first round counts for nothing.
    for round in 0..=extent.rounds {
        let asked = all.iter_mut().zip(few.probes.iter_mut().zip(many.probes.iter_mut()));
        for (shown, (small, large)) in asked {
            let (a, b) = if round % 2 == 0 {
                let a = turn(&few.target, small, extent.batch).await?;
                (a, turn(&many.target, large, extent.batch).await?)
            } else {
                let b = turn(&many.target, large, extent.batch).await?;
                (turn(&few.target, small, extent.batch).await?, b)
            };
            if round > 0 {
                shown.few.push(a.0);
                shown.many.push(b.0);
                shown.ratio.push(b.0 / a.0);
                shown.cpu_few += a.1 / extent.rounds as f64;
                shown.cpu_many += b.1 / extent.rounds as f64;
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
    let mut page = format!(
        "growth    {FEW} and {} links, {} rounds of {} requests each, in turns\n\n",
        extent.many, extent.rounds, extent.batch
    );
    writeln!(
        page,
        "{:18}  {:>9}  {:>9}  {:>7}  {:>13}  {:>19}",
        "", "few", "many", "ratio", "lowest-highest", "CPU of one"
    )?;
    for (ask, shown) in Ask::ALL.iter().zip(&all) {
        let low = shown.ratio.iter().copied().fold(f64::INFINITY, f64::min);
        let high = shown.ratio.iter().copied().fold(0.0, f64::max);
        writeln!(
            page,
            "{ask:18}  {:6.3} ms  {:6.3} ms  {:7.2}  {:6.2} - {:4.2}  {:6.0} and {:5.0} us",
            median(&shown.few),
            median(&shown.many),
            median(&shown.ratio),
            low,
            high,
            shown.cpu_few,
            shown.cpu_many,
        )?;
    }
    Ok(page)
}

//! Whom a large sweep holds up, and for how long at most.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::Extent;
use crate::fill::{Filled, Kind};
use crate::probe::{Ask, Probe};
use crate::rig::ddrop;
use crate::rig::process::Cores;
use crate::rig::run::quantile;
use crate::rig::target::Target;

/// Links that live on.
const LIVING: u64 = 10_000;
/// Between two requests of a probe, so that the probes are no load of their own.
const PAUSE: Duration = Duration::from_millis(2);
/// The only sweep is the one at the start.
const SETTINGS: [&str; 4] = ["--max-storage-mb", "65536", "--cleanup-interval-seconds", "86400"];

/// Milliseconds that each request took, by what was asked; and each write of our own to the same disk.
struct Times {
    asked: Vec<(Ask, Vec<f64>)>,
    disk: Vec<f64>,
}

/// What asks until it is told to stop, all kinds at once.
struct Probes {
    asking: JoinSet<Result<(Ask, Vec<f64>)>>,
    disk: JoinHandle<Result<Vec<f64>>>,
    stop: Arc<AtomicBool>,
}

impl Probes {
    async fn start(target: &Target, filled: &Filled, ids: &[String], dir: &Path) -> Result<Self> {
        let (mut asking, stop) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
        for ask in Ask::ALL {
            let mut probe = Probe::open(target, &filled.tls, ask, ids).await?;
            let stop = Arc::clone(&stop);
            asking.spawn(async move {
                let mut times = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    times.push(probe.once().await?.as_secs_f64() * 1e3);
                    sleep(PAUSE).await;
                }
                Ok((ask, times))
            });
        }
        let (path, end) = (dir.join("written-by-the-benchmark"), Arc::clone(&stop));
        let disk = tokio::task::spawn_blocking(move || write_and_wait(&path, &end));
        Ok(Self { asking, disk, stop })
    }

    async fn finish(self) -> Result<Times> {
        self.stop.store(true, Ordering::Relaxed);
        let mut asked = self.asking.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
        asked.sort_by_key(|(ask, _)| Ask::ALL.iter().position(|other| other == ask));
        Ok(Times { asked, disk: self.disk.await?? })
    }
}

/// What this disk does to anybody: 4 KiB, durable, in a file that has had that length all along.
fn write_and_wait(path: &Path, stop: &AtomicBool) -> Result<Vec<f64>> {
    let file = File::create(path)?;
    file.write_all_at(&[0; 4096], 0)?;
    file.sync_all()?;
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        file.write_all_at(&[1; 4096], 0)?;
        file.sync_data()?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(PAUSE);
    }
    Ok(times)
}

/// What one sweep showed, and the same time without.
struct Round {
    took: Duration,
    swept: Times,
    quiet: Times,
}

async fn round(cores: &Cores, dir: &Path, filled: &mut Filled, ids: &[String], extent: Extent) -> Result<Round> {
    filled.add(extent.expired, Kind::Over)?;
    let target = ddrop::start_again(cores, dir, &SETTINGS).await?;
    let begun = Instant::now();
    let probes = Probes::start(&target, filled, ids, dir).await?;
    while !filled.is_swept()? {
        sleep(Duration::from_millis(100)).await;
    }
    let took = begun.elapsed();
    let swept = probes.finish().await?;
    target.process.idle().await?;
    let probes = Probes::start(&target, filled, ids, dir).await?;
    sleep(took).await;
    Ok(Round { took, swept, quiet: probes.finish().await? })
}

pub(crate) async fn measure(cores: &Cores, dir: &Path, extent: Extent) -> Result<String> {
    let mut filled = Filled::begin(cores, dir, &SETTINGS).await?;
    let ids = filled.add(LIVING, Kind::Living)?;
    let mut page = format!("sweep     of {} links that are over, beside {LIVING} that live\n\n", extent.expired);
    writeln!(page, "{:18}  {:>28}  {:>28}  {:>12}", "", "while it sweeps (ms)", "without (ms)", "longest,")?;
    writeln!(
        page,
        "{:18}  {:>8} {:>9} {:>9}  {:>8} {:>9} {:>9}  {:>12}",
        "", "median", "99.9 %", "longest", "median", "99.9 %", "longest", "difference"
    )?;
    let mut worst = f64::NEG_INFINITY;
    for _ in 0..extent.sweeps {
        let round = round(cores, dir, &mut filled, &ids, extent).await?;
        writeln!(page, "swept in {:.1} s", round.took.as_secs_f64())?;
        eprintln!("swept in {:.1} s", round.took.as_secs_f64());
        let row = |times: &[f64]| {
            format!("{:8.2} {:9.2} {:9.2}", quantile(times, 0.5), quantile(times, 0.999), quantile(times, 1.0))
        };
        for ((ask, swept), (_, quiet)) in round.swept.asked.iter().zip(&round.quiet.asked) {
            let more = quantile(swept, 1.0) - quantile(quiet, 1.0);
            worst = worst.max(more);
            eprintln!("  {ask}: {more:+.1} ms");
            writeln!(page, "{ask:18}  {}  {}  {more:+12.1}  ({} requests)", row(swept), row(quiet), swept.len())?;
        }
        let Times { disk, .. } = &round.swept;
        writeln!(page, "{:18}  {}  {}", "4 KiB to the disk", row(disk), row(&round.quiet.disk))?;
    }
    writeln!(page, "longest hold-up beyond what there is without a sweep: {worst:.1} ms")?;
    Ok(page)
}

//! ddrop with many links: what a million of them cost a request, whom a large sweep holds up, what a crowd does to memory.
//!
//! What is measured and how to read it stands in `benches/README.md`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the page is what this program is for")]

mod crowd;
mod fill;
mod growth;
mod probe;
#[path = "../rig/mod.rs"]
mod rig;
mod sweep;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::rig::process::Cores;
use crate::rig::{ddrop, machine, run};

const USAGE: &str = "usage: cargo bench --bench scale [-- [--quick] [growth] [sweep] [crowd]]

Measures ddrop with many links and prints one page; all three parts unless some are named. Takes some 12 minutes,
with --quick some 2. Files go into a folder of their own under $TMPDIR, which needs 17 GiB of room (--quick: 2 GiB;
without crowd: 3 GiB), and are removed at the end.";

const FULL: Extent = Extent {
    many: 1_000_000,
    rounds: 7,
    batch: 200,
    expired: 100_000,
    sweeps: 2,
    crowd: 64,
    body: 256 << 20,
    end: Duration::from_secs(1800),
};
const QUICK: Extent = Extent {
    many: 100_000,
    rounds: 3,
    batch: 100,
    expired: 20_000,
    sweeps: 1,
    crowd: 64,
    body: 32 << 20,
    end: Duration::from_secs(600),
};

/// How much is done.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    /// Links of the large database.
    many: u64,
    /// Times that small and large take turns.
    rounds: usize,
    /// Requests of one kind in a turn.
    batch: usize,
    /// Links that are over when a sweep begins.
    expired: u64,
    /// How many sweeps.
    sweeps: usize,
    /// Uploads, and downloads, at once.
    crowd: usize,
    /// Bytes of each of them.
    body: u64,
    /// After this the run has failed.
    end: Duration,
}

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Growth,
    Sweep,
    Crowd,
}

/// By their names.
const PARTS: [(&str, Part); 3] = [("growth", Part::Growth), ("sweep", Part::Sweep), ("crowd", Part::Crowd)];

impl Part {
    /// Bytes that must be free.
    fn room(self, extent: Extent) -> u64 {
        match self {
            // A row, a file of one block and its place in a folder.
            Self::Growth => extent.many * 3 * 1024,
            Self::Sweep => extent.expired * 8 * 1024,
            Self::Crowd => (extent.crowd as u64 + 2) * extent.body,
        }
    }
}

fn main() -> ExitCode {
    run::main(USAGE, &PARTS.map(|(name, _)| name), |asked| {
        let parts: Vec<Part> =
            PARTS.iter().filter(|(name, _)| asked.parts.contains(name)).map(|(_, part)| *part).collect();
        bench(if asked.quick { QUICK } else { FULL }, &parts)
    })
}

fn bench(extent: Extent, parts: &[Part]) -> Result<()> {
    let dir = run::folder()?;
    for part in parts {
        machine::ensure_room(dir.path(), part.room(extent))?;
    }
    let cores = Cores::divide();
    run::to_its_end(&cores, extent.end, measure(&cores, dir.path(), extent, parts))
}

async fn measure(cores: &Cores, dir: &Path, extent: Extent, parts: &[Part]) -> Result<()> {
    println!("machine   {}; {}", machine::describe(), machine::file_system(dir));
    println!("server    {}", ddrop::version()?);
    println!("cores     {}", cores.describe());
    for part in parts {
        eprintln!("{part:?}");
        let place = dir.join(format!("{part:?}"));
        std::fs::create_dir(&place)?;
        let page = match part {
            Part::Growth => growth::measure(cores, &place, extent).await.context("growth")?,
            Part::Sweep => sweep::measure(cores, &place, extent).await.context("sweep")?,
            Part::Crowd => crowd::measure(cores, &place, extent).await.context("crowd")?,
        };
        println!("\n{page}");
        std::fs::remove_dir_all(&place)?;
    }
    Ok(())
}

//! What those who mean no good cost those who do: a flood of hostile requests, and one of wrong passwords.
//!
//! What is measured and how to read it stands in `benches/README.md`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the page is what this program is for")]

mod hostile;
#[path = "../rig/mod.rs"]
mod rig;
mod trusted;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::hostile::{Flood, Mix};
use crate::rig::content::Content;
use crate::rig::process::Cores;
use crate::rig::run::{median, quantile};
use crate::rig::target::Target;
use crate::rig::{ddrop, machine, run, tls};
use crate::trusted::{Ask, Times};

const USAGE: &str = "usage: cargo bench --bench flood [-- [--quick] [requests] [passwords]]

Measures what a trusted client waits for while others flood the server: 10,000 hostile requests a second, or 1,000 wrong
passwords a second; both unless one is named. Prints one page. Takes under 5 minutes, with --quick under 1.";

const FULL: Plan = Plan { rounds: 10, span: Duration::from_secs(5), end: Duration::from_secs(600) };
const QUICK: Plan = Plan { rounds: 3, span: Duration::from_secs(3), end: Duration::from_secs(150) };

/// How much is done.
#[derive(Clone, Copy)]
struct Plan {
    /// Times that quiet and flood take turns.
    rounds: usize,
    /// How long each of them is.
    span: Duration,
    /// After this the run has failed.
    end: Duration,
}

/// Of a flood that begins nothing is counted for so long.
const BEGINNING: Duration = Duration::from_secs(1);
/// The server may have to do so long with what came before.
const DRAIN: Duration = Duration::from_secs(15);
/// Less than this part of what was meant to come is no flood to speak of.
const ENOUGH: f64 = 0.95;
/// A server that answers less than this part of it has not looked at it.
const ANSWERED: f64 = 0.5;
/// As installed, but that strangers may make links at all, for work, and one client may make any number.
const SETTINGS: [&str; 5] = ["--allow-anon", "--rate-limit-trusted", "100000", "--max-storage-mb", "8192"];

fn main() -> ExitCode {
    run::main(USAGE, &["requests", "passwords"], |asked| bench(if asked.quick { QUICK } else { FULL }, &asked.parts))
}

fn bench(plan: Plan, parts: &[&'static str]) -> Result<()> {
    let dir = run::folder()?;
    let cores = Cores::divide();
    hostile::raise_file_limit()?;
    run::to_its_end(&cores, plan.end, async {
        println!("machine   {}; {}", machine::describe(), machine::file_system(dir.path()));
        println!("server    {}", ddrop::version()?);
        println!("cores     {}", cores.describe());
        for part in parts {
            let place = dir.path().join(part);
            std::fs::create_dir(&place)?;
            println!("\n{}", measure(&cores, &place, plan, *part == "passwords").await.context(*part)?);
        }
        Ok(())
    })
}

/// What one turn showed.
struct Turn {
    times: Times,
    /// Part of a core the server was busy.
    busy: f64,
}

async fn turn(target: &Target, client: &trusted::Client, span: Duration) -> Result<Turn> {
    let (cpu, begun) = (target.process.cpu()?, Instant::now());
    let times = client.ask(span).await?;
    Ok(Turn { times, busy: (target.process.cpu()? - cpu) / begun.elapsed().as_secs_f64() })
}

async fn measure(cores: &Cores, dir: &Path, plan: Plan, passwords: bool) -> Result<String> {
    let (target, enrolled) = ddrop::start_limited(cores, dir, &SETTINGS).await?;
    let (tls, stranger) = (Arc::new(tls::client(&enrolled, None)?), Arc::new(tls::stranger(&enrolled)?));
    let content = Arc::new(Content::random()?);
    let mix = match passwords {
        true => Mix::passwords(&target, &trusted::lock(&target, &tls, &content).await?),
        false => Mix::requests(&target)?,
    };
    let client = trusted::Client::start(&target, &tls, &content).await?;
    let flood = Flood::start(target.address, stranger, mix)?;
    // Counts for nothing, but then everything has been done once.
    flood.run();
    client.ask(BEGINNING * 2).await?;
    let (mut quiet, mut flooded, mut sent, mut answered, mut for_long) = (Vec::new(), Vec::new(), 0, 0, 0.0);
    for round in 0..plan.rounds {
        eprintln!("round {} of {}", round + 1, plan.rounds);
        for with in [round % 2 == 0, round % 2 == 1] {
            if with {
                flood.run();
                tokio::time::sleep(BEGINNING).await;
                let (before, begun) = ((flood.sent(), flood.answered()), Instant::now());
                flooded.push(turn(&target, &client, plan.span).await?);
                sent += flood.sent() - before.0;
                answered += flood.answered() - before.1;
                for_long += begun.elapsed().as_secs_f64();
            } else {
                flood.pause();
                // What was begun goes on for a while: passwords wait for their turn.
                let _ = tokio::time::timeout(DRAIN, target.process.idle()).await;
                quiet.push(turn(&target, &client, plan.span).await?);
            }
        }
    }
    flood.pause();
    let (rate, answered) = (sent as f64 / for_long, answered as f64 / for_long);
    let meant = flood.mix.a_second();
    let mut page = format!(
        "{}: {rate:.0} a second, {answered:.0} requests answered, from {} addresses, for {} s at a time; {} rounds, with and \
         without in turn\n\n",
        if passwords { "wrong passwords" } else { "hostile requests" },
        flood.mix.addresses,
        plan.span.as_secs(),
        plan.rounds,
    );
    writeln!(page, "{:24}  {:>17}  {:>17}", "a trusted client", "quiet (ms)", "in the flood (ms)")?;
    writeln!(
        page,
        "{:24}  {:>8} {:>8}  {:>8} {:>8}  {:>30}",
        "", "median", "99 %", "median", "99 %", "99 %, ratio (lowest, highest)"
    )?;
    for ask in Ask::ALL {
        let of = |turns: &[Turn], part: f64| -> Vec<f64> {
            turns.iter().map(|turn| quantile(turn.times.of(ask), part)).collect()
        };
        let (calm, rough) = (of(&quiet, 0.99), of(&flooded, 0.99));
        let ratios: Vec<f64> = rough.iter().zip(&calm).map(|(rough, calm)| rough / calm).collect();
        writeln!(
            page,
            "{ask:24}  {:8.2} {:8.2}  {:8.2} {:8.2}  {:>12.2} ({:.2} to {:.2})",
            median(of(&quiet, 0.5)),
            median(&calm),
            median(of(&flooded, 0.5)),
            median(&rough),
            median(&ratios),
            quantile(&ratios, 0.0),
            quantile(&ratios, 1.0),
        )?;
    }
    let busy = |turns: &[Turn]| median(turns.iter().map(|turn| turn.busy)) * 100.0;
    writeln!(page, "server busy {:.0} % of a core, in the flood {:.0} %", busy(&quiet), busy(&flooded))?;
    let asked: usize = quiet.iter().chain(&flooded).map(|turn| turn.times.count()).sum();
    writeln!(page, "{asked} requests of the trusted client, none of which failed")?;
    writeln!(page, "\nwhat the flood was answered (99 %: of each kind, ms)\n{}", flood.answers())?;
    ensure!(rate >= ENOUGH * meant, "only {rate:.0} a second of {meant:.0} were sent; this is what was seen:\n{page}");
    ensure!(answered >= ANSWERED * meant, "only {answered:.0} a second were answered; this is what was seen:\n{page}");
    Ok(page)
}

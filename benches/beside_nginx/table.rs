//! What is printed: the circumstances, then for each workload nginx, ddrop and their ratio.

use std::fmt::{self, Write as _};

use crate::load::{DIALLERS, Extent, KEPT_ALIVE, Sample, Workload};

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
const MIB: f64 = 1024.0 * 1024.0;
/// From this part of a core on, it was the server that set the pace.
const SATURATED: f64 = 0.9;

/// Under what circumstances it was measured.
pub(crate) struct Circumstances {
    pub(crate) machine: String,
    pub(crate) versions: String,
    pub(crate) cores: String,
    pub(crate) disk: String,
    pub(crate) extent: Extent,
}

/// Everything that was measured.
#[derive(Default)]
pub(crate) struct Results(Vec<(Workload, Sample, Sample)>);

impl Results {
    /// Keeps what one round showed of one workload.
    pub(crate) fn add(&mut self, workload: Workload, nginx: Sample, ddrop: Sample) {
        self.0.push((workload, nginx, ddrop));
    }

    fn pairs(&self, workload: Workload) -> Vec<(Sample, Sample)> {
        self.0.iter().filter(|(of, ..)| *of == workload).map(|(_, nginx, ddrop)| (*nginx, *ddrop)).collect()
    }
}

/// One number of a sample, and how it is shown.
struct Row {
    label: String,
    value: fn(&Sample) -> f64,
    scale: f64,
    decimals: usize,
}

/// The page.
pub(crate) struct Page<'a>(pub(crate) &'a Circumstances, pub(crate) &'a Results);

impl fmt::Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(about, results) = self;
        writeln!(f, "ddrop beside nginx, both with client certificates required, in one run, taking turns")?;
        writeln!(f)?;
        for (label, text) in [
            ("machine", &about.machine),
            ("versions", &about.versions),
            ("cores", &about.cores),
            ("files on", &about.disk),
            ("values", &values(about.extent)),
        ] {
            writeln!(f, "{label:>10}  {text}")?;
        }
        writeln!(f)?;
        writeln!(f, "{:34}{:>12}{:>12}   ddrop / nginx", "", "nginx", "ddrop")?;
        for workload in Workload::ALL {
            let pairs = results.pairs(workload);
            if pairs.is_empty() {
                continue;
            }
            writeln!(f, "{}", title(workload, about.extent))?;
            for row in rows(workload) {
                row.write(f, &pairs)?;
            }
        }
        writeln!(f)?;
        f.write_str(&notes(results))
    }
}

fn values(extent: Extent) -> String {
    format!("medians of {} rounds, also of their ratios; in parentheses the lowest and highest ratio", extent.rounds)
}

fn title(workload: Workload, extent: Extent) -> String {
    let bulk = extent.bulk as f64 / MIB;
    match workload {
        Workload::Upload => format!("upload of {bulk:.0} MiB on one connection"),
        Workload::Download => format!("download of {bulk:.0} MiB on one connection"),
        Workload::SmallFetch => format!("fetches of 1 KiB on {KEPT_ALIVE} kept-alive connections"),
        Workload::FullHandshake => format!("new connections, full mTLS handshake, one 1 KiB fetch, {DIALLERS} at once"),
        Workload::ResumedHandshake => format!("new connections, resumed session, one 1 KiB fetch, {DIALLERS} at once"),
    }
}

fn rows(workload: Workload) -> [Row; 4] {
    let row = |label: &str, value, scale, decimals| Row { label: label.to_owned(), value, scale, decimals };
    let (rate, cpu) = match workload {
        Workload::Upload | Workload::Download => {
            (row("MiB a second", |s| s.rate, 1.0 / MIB, 0), row("server CPU, seconds a GiB", |s| s.cpu, GIB, 2))
        }
        _ => (row("a second", |s| s.rate, 1.0, 0), row("server CPU, microseconds each", |s| s.cpu, 1e6, 1)),
    };
    [
        rate,
        cpu,
        row("server busy, % of a core", |s| s.busy, 100.0, 0),
        row("peak resident memory, MiB", |s| s.peak_memory, 1.0, 1),
    ]
}

impl Row {
    fn write(&self, f: &mut fmt::Formatter<'_>, pairs: &[(Sample, Sample)]) -> fmt::Result {
        let decimals = self.decimals;
        let nginx = median(pairs.iter().map(|(nginx, _)| (self.value)(nginx) * self.scale));
        let ddrop = median(pairs.iter().map(|(_, ddrop)| (self.value)(ddrop) * self.scale));
        write!(f, "  {:32}{nginx:>12.decimals$}{ddrop:>12.decimals$}", self.label)?;
        let ratios = || pairs.iter().map(|(nginx, ddrop)| (self.value)(ddrop) / (self.value)(nginx));
        let (low, high) = ratios().fold((f64::INFINITY, 0.0_f64), |(low, high), r| (low.min(r), high.max(r)));
        writeln!(f, "   {:>6.2}  ({low:.2} to {high:.2})", median(ratios()))
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    if sorted.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle.saturating_sub(1)), at(middle)) }
}

fn notes(results: &Results) -> String {
    let mut text = String::from(
        "Rates: a ratio above 1 is ddrop's gain. CPU and memory: a ratio below 1 is.\n\
         Server CPU (user and kernel) is the fairest figure: it hardly depends on the load generator.\n\
         A rate is the server's own only where it was busy; else the load generator or the disk was the limit.\n\
         ddrop's upload does what nginx's does not: SHA-256 of the content, and syncing it to disk first.\n",
    );
    for workload in Workload::ALL {
        let (nginx, ddrop): (Vec<_>, Vec<_>) = results.pairs(workload).into_iter().unzip();
        for (name, samples) in [("nginx", nginx), ("ddrop", ddrop)] {
            note(&mut text, workload, name, &samples);
        }
    }
    text
}

/// What the rows of one workload do not tell about one server.
fn note(text: &mut String, workload: Workload, name: &str, samples: &[Sample]) {
    let busy = median(samples.iter().map(|sample| sample.busy));
    let resumed = samples.iter().map(|sample| sample.resumed).fold(1.0, f64::min);
    // Writing to a string does not fail.
    if busy < SATURATED {
        let _ = writeln!(text, "* {workload}: {name} was busy for only {:.0} % of the time.", busy * 100.0);
    }
    if workload == Workload::ResumedHandshake && resumed < 0.99 {
        let _ = writeln!(text, "! {workload}: {name} resumed only {:.0} % of the sessions.", resumed * 100.0);
    }
}

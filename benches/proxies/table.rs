//! What is printed: the circumstances, then for each workload every way in beside direct TLS.

use std::fmt;

use crate::load::{DIALLERS, Extent, KEPT_ALIVE, Sample, Workload};

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
const MIB: f64 = 1024.0 * 1024.0;

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
pub(crate) struct Results(Vec<One>);

struct One {
    workload: Workload,
    way: &'static str,
    round: usize,
    sample: Sample,
}

impl Results {
    /// Keeps what one round showed of one workload by one way.
    pub(crate) fn add(&mut self, workload: Workload, way: &'static str, round: usize, sample: Sample) {
        self.0.push(One { workload, way, round, sample });
    }

    /// What was measured by one way, by rounds.
    fn of(&self, workload: Workload, way: &str) -> Vec<(usize, Sample)> {
        let found = self.0.iter().filter(|one| one.workload == workload && one.way == way);
        found.map(|one| (one.round, one.sample)).collect()
    }
}

/// The page; the first of the ways is what the others are held against.
pub(crate) struct Page<'a> {
    pub(crate) about: &'a Circumstances,
    pub(crate) results: &'a Results,
    pub(crate) ways: Vec<&'static str>,
}

impl fmt::Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Circumstances { machine, versions, cores, disk, extent } = self.about;
        writeln!(f, "what each way in costs beside direct TLS, with a client certificate, in one run, taking turns")?;
        writeln!(f)?;
        let values = format!(
            "medians of {} rounds; ratios are those of one round, in parentheses the lowest and highest",
            extent.rounds
        );
        for (label, text) in
            [("machine", machine), ("versions", versions), ("cores", cores), ("files on", disk), ("values", &values)]
        {
            writeln!(f, "{label:>10}  {text}")?;
        }
        for workload in Workload::ALL {
            self.block(f, workload)?;
        }
        writeln!(
            f,
            "\nCPU is user and kernel time of ddrop, of the proxy, and of both over that of ddrop alone (direct TLS): the\n\
             fairest figure. Server, proxy and their kernel work share one core, so the rate falls as the CPU rises."
        )
    }
}

impl Page<'_> {
    fn block(&self, f: &mut fmt::Formatter<'_>, workload: Workload) -> fmt::Result {
        let bulk = self.about.extent.bulk as f64 / MIB;
        let (title, rate, rate_scale, cpu, cpu_scale, decimals) = match workload {
            Workload::SmallFetch => (
                format!("fetches of 1 KiB on {KEPT_ALIVE} kept-alive connections"),
                "a second",
                1.0,
                "microseconds each",
                1e6,
                1,
            ),
            Workload::NewConnection => (
                format!("new connections, full mTLS handshake, one 1 KiB fetch, {DIALLERS} at once"),
                "a second",
                1.0,
                "microseconds each",
                1e6,
                0,
            ),
            Workload::Upload => {
                (format!("upload of {bulk:.0} MiB on one connection"), "MiB/s", 1.0 / MIB, "seconds a GiB", GIB, 2)
            }
            Workload::Download => {
                (format!("download of {bulk:.0} MiB on one connection"), "MiB/s", 1.0 / MIB, "seconds a GiB", GIB, 2)
            }
        };
        writeln!(f, "\n{title}; CPU in {cpu}")?;
        writeln!(f, "  {:22}{rate:>10}{:>12}{:>12}   both / direct", "", "ddrop CPU", "proxy CPU")?;
        let direct = self.results.of(workload, self.ways.first().copied().unwrap_or_default());
        for way in &self.ways {
            let all = self.results.of(workload, way);
            let value = |of: fn(&Sample) -> f64, scale: f64| median(all.iter().map(|(_, sample)| of(sample) * scale));
            let ratios: Vec<f64> = all.iter().filter_map(|(round, sample)| ratio(&direct, *round, sample)).collect();
            let (low, high) =
                ratios.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), r| (low.min(*r), high.max(*r)));
            writeln!(
                f,
                "  {way:22}{:>10.0}{:>12.decimals$}{:>12.decimals$}   {:>6.2}  ({low:.2} to {high:.2})",
                value(|sample| sample.rate, rate_scale),
                value(|sample| sample.server, cpu_scale),
                value(|sample| sample.proxy, cpu_scale),
                median(ratios.into_iter()),
            )?;
        }
        if workload.is_bulk() && direct.iter().any(|(_, sample)| sample.server <= 0.0) {
            writeln!(f, "  too short to count CPU time in steps of 10 ms")?;
        }
        Ok(())
    }
}

/// CPU time of both over that of the server alone, in the same round.
fn ratio(direct: &[(usize, Sample)], round: usize, sample: &Sample) -> Option<f64> {
    let (_, alone) = direct.iter().find(|(number, _)| *number == round)?;
    Some((sample.server + sample.proxy) / alone.server)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    if sorted.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle.saturating_sub(1)), at(middle)) }
}

//! A server as the system sees it: one process, its CPU time and its memory, ended when dropped.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::time::sleep;

/// Ticks a second in `/proc/PID/stat`: 100 on every Linux that Rust knows.
const TICKS: f64 = 100.0;

/// A running server; killed when dropped.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        Ok(Self(command.spawn().with_context(|| format!("could not start {program}"))?))
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// How it ended, waiting for `limit` at most.
    pub(crate) async fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            ensure!(begun.elapsed() < limit, "was not done after {} seconds", limit.as_secs());
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn file(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.0.id())
    }

    /// CPU seconds used so far, in user and kernel mode, by all threads.
    pub(crate) fn cpu(&self) -> Result<f64> {
        let stat = fs::read_to_string(self.file("stat")).context("the server is gone")?;
        // The name in parentheses may itself hold spaces and parentheses.
        let (_, fields) = stat.rsplit_once(')').context("an unknown form of /proc/PID/stat")?;
        let ticks: Option<u64> =
            fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().ok()).sum();
        Ok(ticks.context("an unknown form of /proc/PID/stat")? as f64 / TICKS)
    }

    /// Waits until it has nothing to do by itself any more.
    pub(crate) async fn idle(&self) -> Result<()> {
        let mut quiet = 0;
        while quiet < 5 {
            let before = self.cpu()?;
            sleep(Duration::from_millis(200)).await;
            quiet = if self.cpu()? - before > 0.0 { 0 } else { quiet + 1 };
        }
        Ok(())
    }

    /// The most memory that was resident since the last [`Self::forget_peak`], in MiB.
    pub(crate) fn peak(&self) -> Result<f64> {
        let status = fs::read_to_string(self.file("status")).context("the server is gone")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        Ok(kib.context("no VmHWM in /proc/PID/status")? / 1024.0)
    }

    /// Makes what is resident now the peak.
    pub(crate) fn forget_peak(&self) -> Result<()> {
        fs::write(self.file("clear_refs"), "5").context("could not reset the peak of resident memory")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, and there is nobody to tell.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Who runs where: each server on one core, the load generator on the others.
#[derive(Clone, Debug)]
pub(crate) struct Cores {
    server: Option<String>,
    pub(crate) load: usize,
}

impl Cores {
    /// Moves this process off the servers' core. Must be called before threads are started.
    pub(crate) fn divide() -> Self {
        let allowed = allowed();
        let Some((first, others)) = allowed.split_first().filter(|(_, others)| !others.is_empty()) else {
            return Self { server: None, load: allowed.len() };
        };
        let list: Vec<String> = others.iter().map(u32::to_string).collect();
        let mut taskset = Command::new("taskset");
        taskset.args(["-a", "-p", "-c", &list.join(","), &std::process::id().to_string()]);
        let moved = taskset.output().is_ok_and(|output| output.status.success());
        Self { server: moved.then(|| first.to_string()), load: if moved { list.len() } else { allowed.len() } }
    }

    /// Who runs where, for people.
    pub(crate) fn describe(&self) -> String {
        match &self.server {
            Some(core) => format!("each server alone on core {core}; the load generator on {} other(s)", self.load),
            None => "not divided (one core, or no taskset): servers and load generator share them".to_owned(),
        }
    }

    /// A command that runs `program` on the servers' core.
    pub(crate) fn server(&self, program: &Path) -> Command {
        let Some(core) = &self.server else { return Command::new(program) };
        // taskset becomes the program, so the process id stays.
        let mut command = Command::new("taskset");
        command.args(["-c", core]).arg(program);
        command
    }
}

/// The cores this process may use.
fn allowed() -> Vec<u32> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    list.trim().split(',').filter_map(range).flatten().collect()
}

fn range(text: &str) -> Option<std::ops::RangeInclusive<u32>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

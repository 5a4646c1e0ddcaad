//! The machine it runs on, in a few words.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// Processor, cores, memory and kernel.
pub(crate) fn describe() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = field(&cpu, "model name").unwrap_or("unknown processor");
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = field(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok()).unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores, {model}, {} GiB, Linux {}", kib.div_ceil(1024 * 1024), kernel.trim())
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim()).next()
}

/// The kind of file system that `dir` is on.
pub(crate) fn file_system(dir: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
    });
    let holding = mounts.filter(|(point, _)| dir.starts_with(point)).max_by_key(|(point, _)| point.len());
    holding.map_or_else(|| "an unknown file system".to_owned(), |(_, kind)| kind)
}

/// # Errors
/// When fewer than `bytes` are free where `dir` is.
pub(crate) fn ensure_room(dir: &Path, bytes: u64) -> Result<()> {
    let disk = rustix::fs::statvfs(dir).context("could not ask how much room there is")?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let folder = std::env::temp_dir();
    ensure!(
        free >= bytes,
        "{} MiB are needed in {}: set TMPDIR to a folder with more room",
        bytes >> 20,
        folder.display()
    );
    Ok(())
}

//! What the server stands on: the folder and who may look into it, the clock, room, files that may be open.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::statvfs;
use rustix::process::{Resource, getrlimit};

use super::{Finding, Level, words};
use crate::config::Serve;
use crate::store::folder::{Snapshot, is_in_use};
use crate::units::{MIB, Size, Timestamp};

/// How far a clock may be off before certificates and links notice.
const SKEW_SECONDS: u64 = 60;

/// Room a server needs to go on at all: the database's journal, a probe, a log.
const LEAST_ROOM: u64 = 64 * MIB;

pub(super) fn look(settings: &Serve, now: Timestamp) -> Vec<Finding> {
    let storage = &settings.storage_path;
    if !storage.is_dir() {
        let found = format!("there is no storage folder {}", storage.display());
        let advice = "say where it is with -s, or start the server, which makes it";
        return vec![Finding::new(Level::Problem, "storage", found, advice)];
    }
    let mut findings = vec![process(storage)];
    findings.extend(permissions(storage));
    findings.extend(clock(storage, now));
    findings.extend(room(settings));
    findings.push(open_files(settings));
    findings.extend(leftovers(storage));
    findings
}

fn process(storage: &Path) -> Finding {
    match is_in_use(storage) {
        Ok(true) => Finding::ok("server", "one has the folder open"),
        Ok(false) => Finding::new(
            Level::Note,
            "server",
            "none has the folder open",
            "start it: ddrop serve, or systemctl start ddrop",
        ),
        Err(error) => {
            Finding::new(Level::Problem, "server", words(&error), "run this as the server's user, or as root")
        }
    }
}

/// The folder, and in it what tells who may do what. Content has random names in a folder nobody else can enter.
fn permissions(storage: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let owner = fs::metadata(storage).map(|facts| facts.uid()).ok();
    for path in [storage.to_owned(), storage.join("pki"), storage.join("files")] {
        findings.extend(private(&path, owner));
    }
    for folder in [storage.to_owned(), storage.join("pki")] {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let public = name.to_string_lossy().ends_with(".crt") || name == "listening" || name == "lost+found";
            if entry.file_type().is_ok_and(|kind| kind.is_file()) && !public {
                findings.extend(private(&entry.path(), owner));
            }
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok("permissions", "only the owner can read keys, rows and content"));
    }
    findings
}

fn private(path: &Path, owner: Option<u32>) -> Option<Finding> {
    let shown = path.display();
    let problem = |found: String, advice: String| Some(Finding::new(Level::Problem, "permissions", found, advice));
    let facts: Metadata = match fs::symlink_metadata(path) {
        Ok(facts) => facts,
        Err(error) => {
            return problem(format!("cannot look at {shown}: {error}"), format!("restore {shown} from a backup"));
        }
    };
    if facts.is_symlink() {
        return problem(format!("{shown} is a symbolic link"), "put what it leads to in its place".to_owned());
    }
    if facts.permissions().mode() & 0o077 != 0 {
        return problem(format!("others can get at {shown}"), format!("chmod go= {shown}"));
    }
    let other = owner.filter(|owner| *owner != facts.uid())?;
    let found = format!("{shown} belongs to user {}, the folder to {other}: the server cannot use it", facts.uid());
    problem(found, format!("chown --recursive --reference=$(dirname {shown}) {shown}"))
}

/// What was made cannot be later than now, and the disk has to agree.
fn clock(storage: &Path, now: Timestamp) -> Vec<Finding> {
    let newest = Snapshot::look(storage).and_then(|rows| rows.facts(now)).ok().and_then(|facts| facts.newest);
    let mut findings = Vec::new();
    let advice = "set the clock, and keep it right: timedatectl set-ntp true, or chrony";
    if let Some(newest) = newest.filter(|newest| newest.since(now).as_secs() > SKEW_SECONDS) {
        let found = format!("it is {now} here, and something was made at {newest}");
        findings.push(Finding::new(Level::Problem, "clock", found, advice));
    }
    if let Ok(probe) = tempfile::NamedTempFile::new_in(storage)
        && let Ok(facts) = probe.as_file().metadata()
    {
        let there = Timestamp::from_secs(facts.mtime());
        if there.since(now).max(now.since(there)).as_secs() > SKEW_SECONDS {
            let found = format!("it is {now} here and {there} on the disk of {}", storage.display());
            findings.push(Finding::new(Level::Problem, "clock", found, advice));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok("clock", format!("{now}, and nothing was made later")));
    }
    findings
}

fn room(settings: &Serve) -> Vec<Finding> {
    let storage = &settings.storage_path;
    let Ok(disk) = statvfs(storage) else {
        let found = format!("nobody knows how much room {} has", storage.display());
        return vec![Finding::new(Level::Warning, "room", found, "look with df")];
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let used = bytes_below(&storage.join("files"));
    let promised = settings.max_storage.saturating_sub(used);
    let mut findings = Vec::new();
    if free < LEAST_ROOM {
        let found = format!("the disk has {} left", Size(free));
        findings.push(Finding::new(Level::Problem, "room", found, "make room: end links, or a larger disk"));
    } else if free < promised {
        let found = format!("the disk has {} left, and DD_MAX_STORAGE_MB promises {}", Size(free), Size(promised));
        let advice = format!("lower DD_MAX_STORAGE_MB to {} or less, or make room", used.saturating_add(free) / MIB);
        findings.push(Finding::new(Level::Warning, "room", found, advice));
    }
    if disk.f_files > 0 && disk.f_favail < disk.f_files / 50 {
        let found = format!("the disk takes only {} files more", disk.f_favail);
        findings.push(Finding::new(Level::Warning, "room", found, "end links, or a file system with more inodes"));
    }
    if findings.is_empty() {
        let found = format!("{} used, {} may follow, the disk has {}", Size(used), Size(promised), Size(free));
        findings.push(Finding::ok("room", found));
    }
    findings
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes_below(&entry.path()),
        _ => entry.metadata().map_or(0, |facts| facts.len()),
    };
    entries.map(size).sum()
}

/// A connection and what it reads or writes are a descriptor each; the server raises its own soft limit.
fn open_files(settings: &Serve) -> Finding {
    let wanted = u64::try_from(settings.limits.connections).unwrap_or(u64::MAX).saturating_mul(2).saturating_add(128);
    match getrlimit(Resource::Nofile).maximum {
        Some(most) if most < wanted => {
            let found = format!("{most} files may be open at once, and DD_MAX_CONNECTIONS may take {wanted}");
            let advice =
                format!("ulimit -Hn {wanted} before the start, LimitNOFILE={wanted} in a unit, or fewer connections");
            Finding::new(Level::Warning, "files", found, advice)
        }
        Some(most) => Finding::ok("files", format!("{most} may be open at once, started from here")),
        None => Finding::ok("files", "any number may be open at once, started from here"),
    }
}

/// What a crash or a restore left.
fn leftovers(storage: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let running = is_in_use(storage).unwrap_or(true);
    let locks = fs::read_dir(storage.join("writers")).into_iter().flatten().flatten();
    let stale = locks.filter(|entry| fs::File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok())).count();
    if stale > 0 {
        let advice =
            if running { "nothing: the next sweep deletes them" } else { "nothing: the next start deletes them" };
        let found = format!("{stale} locks are left of processes that did not end by themselves");
        findings.push(Finding::new(Level::Note, "leftovers", found, advice));
    }
    for entry in fs::read_dir(storage).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        if name == ".restoring" {
            let found = "a restore was broken off, or is under way";
            findings.push(Finding::new(Level::Warning, "leftovers", found, "restore again, or delete .restoring"));
        } else if name.starts_with("replaced-") {
            let found = format!("{} is what a restore replaced, {}", path.display(), Size(bytes_below(&path)));
            findings.push(Finding::new(Level::Note, "leftovers", found, "delete it when it is not missed"));
        }
    }
    findings
}

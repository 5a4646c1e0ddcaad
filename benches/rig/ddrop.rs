//! ddrop as its users start it: `serve` on an empty folder, then `cert --configure` with the invite it prints.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;

use super::process::{Cores, Process};
use super::target::{Dialect, START, Target};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ddrop");

/// Where enrolment put the client's identity.
pub(crate) struct Enrolled {
    dir: PathBuf,
}

impl Enrolled {
    /// A file of the client's configuration.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// What the program says of its version.
pub(crate) fn version() -> Result<String> {
    let output = Command::new(PROGRAM).arg("--version").output().context("could not run ddrop")?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or("ddrop").trim().to_owned())
}

/// Starts a server on an empty folder in `dir` and enrols its first client.
pub(crate) async fn start(cores: &Cores, dir: &Path, settings: &[&str]) -> Result<(Target, Enrolled)> {
    start_limited(cores, dir, &[&UNLIMITED, settings].concat()).await
}

/// The same with the limits that are there by default.
pub(crate) async fn start_limited(cores: &Cores, dir: &Path, settings: &[&str]) -> Result<(Target, Enrolled)> {
    let (target, invite) = serve(cores, dir, settings).await?;
    let enrolled = enrol(dir, &invite.context("ddrop printed no invite")?).await?;
    Ok((target, enrolled))
}

/// Starts a server again on the folder of one that has ended.
pub(crate) async fn start_again(cores: &Cores, dir: &Path, settings: &[&str]) -> Result<Target> {
    Ok(serve(cores, dir, &[&UNLIMITED, settings].concat()).await?.0)
}

/// The load comes from one client and is the same content again and again: limits on that are not what is measured.
const UNLIMITED: [&str; 6] = ["--rate-limit", "0", "--dedup-max", "0", "--max-links", "0"];

async fn serve(cores: &Cores, dir: &Path, settings: &[&str]) -> Result<(Target, Option<String>)> {
    let mut command = cores.server(Path::new(PROGRAM));
    command.args(["serve", "-p", "0", "-h", "127.0.0.1"]).args(settings).arg("-s").arg(storage(dir));
    alone(&mut command, dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = Process::start(&mut command)?;
    let stderr = process.child().stderr.take().context("ddrop has no stderr")?;
    let (address, invite) = announced(stderr).await.context("ddrop did not start")?;
    let address = address.parse().with_context(|| format!("ddrop listens on '{address}', which is no address"))?;
    Ok((Target { dialect: Dialect::Ddrop, address, process }, invite))
}

/// Where a server in `dir` keeps everything.
pub(crate) fn storage(dir: &Path) -> PathBuf {
    dir.join("storage")
}

/// Takes from a command what this user's own configuration of ddrop would change.
fn alone<'a>(command: &'a mut Command, dir: &Path) -> &'a mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("DD_") {
            command.env_remove(name);
        }
    }
    command.current_dir(dir).env("HOME", dir).env("XDG_CONFIG_HOME", dir.join("config"))
}

async fn enrol(dir: &Path, invite: &str) -> Result<Enrolled> {
    let told = dir.join("enrolment.log");
    let mut command = Command::new(PROGRAM);
    alone(&mut command, dir).args(["cert", "--configure", invite]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&told)?);
    let status = Process::start(&mut command)?.ended(START).await.context("the enrolment")?;
    let told = fs::read_to_string(told).unwrap_or_default().replace(invite, "INVITE");
    ensure!(status.success(), "the enrolment failed ({status}):\n{told}");
    let enrolled = Enrolled { dir: dir.join("config/ddrop") };
    for name in ["client.key", "client.crt", "ca.crt"] {
        ensure!(enrolled.file(name).is_file(), "the enrolment left no {name}:\n{told}");
    }
    Ok(enrolled)
}

/// The `HOST:PORT` that a starting server prints, and the invite it prints before that on its very first start.
async fn announced(stderr: ChildStderr) -> Result<(String, Option<String>)> {
    let (lines, mut received) = channel(64);
    // Reads on until the server ends, so that a server that logs never waits for a full pipe.
    thread::spawn(move || forward(stderr, &lines));
    let mut other = String::new();
    let found = timeout(START, address(&mut received, &mut other)).await;
    match found {
        Ok(Some(found)) => Ok(found),
        Ok(None) => bail!("it ended:\n{other}"),
        Err(_) => bail!("it printed no address in time:\n{other}"),
    }
}

fn forward(stderr: ChildStderr, lines: &Sender<String>) {
    for line in BufReader::with_capacity(64 * 1024, stderr).lines().map_while(Result::ok) {
        // Nothing here should make it fail; where it does, the cause is in its log alone.
        if line.contains("\"ERROR\"") {
            eprintln!("ddrop: {line}");
        }
        // Once nobody listens any more, lines are only read away.
        let _ = lines.blocking_send(line);
    }
}

/// Reads until the address was printed; keeps the `other` lines. `None` when the lines end before.
async fn address(lines: &mut Receiver<String>, other: &mut String) -> Option<(String, Option<String>)> {
    let mut invite = None;
    loop {
        let line = lines.recv().await?;
        if let Some(found) = word_after(&line, "ddrop cert --configure ") {
            invite = Some(found);
        } else if let Some(found) = word_after(&line, "listening on https://") {
            return Some((found.trim_end_matches('/').to_owned(), invite));
        } else {
            other.push_str(&line);
            other.push('\n');
        }
    }
}

fn word_after(line: &str, mark: &str) -> Option<String> {
    let (_, rest) = line.split_once(mark)?;
    rest.split_whitespace().next().map(|word| word.trim_matches(['"', '\'', '`']).to_owned())
}

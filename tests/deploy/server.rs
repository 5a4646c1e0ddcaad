//! The program, started as a service manager would, and someone who uses it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use tempfile::TempDir;

pub const DDROP: &str = env!("CARGO_BIN_EXE_ddrop");

/// A socket that outlives the servers behind it.
pub fn socket() -> (TcpListener, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("an address"));
    (listener, url)
}

/// `ddrop serve` with the socket as descriptor 3, as `sd_listen_fds(3)` says it is handed over.
pub fn handed(socket: &TcpListener, storage: &Path) -> Command {
    let mut command = Command::new("sh");
    let script = r#"exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" serve "$@""#;
    let socket: OwnedFd = socket.try_clone().expect("a socket").into();
    command.args(["-c", script, DDROP, "-s"]).arg(storage).stdin(socket);
    // Nobody reads what it logs while it runs.
    command.env("DD_LOG", "warn");
    command
}

/// A server that is killed when it is dropped.
pub struct Server {
    pub child: Child,
    errors: BufReader<ChildStderr>,
    pub said: String,
    pub url: String,
}

impl Server {
    pub fn spawn(command: Command) -> Self {
        Self::try_spawn(command).expect("started")
    }

    pub fn try_spawn(mut command: Command) -> std::io::Result<Self> {
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let mut errors = BufReader::new(child.stderr.take().expect("a pipe"));
        let (mut said, mut line) = (String::new(), String::new());
        let url = loop {
            line.clear();
            assert!(errors.read_line(&mut line).expect("readable") > 0, "it ended without listening:\n{said}");
            if let Some(url) = line.strip_prefix("listening on ") {
                break url.trim().to_owned();
            }
            said.push_str(&line);
        };
        Ok(Self { child, errors, said, url })
    }

    /// The invite it printed.
    pub fn invite(&self) -> &str {
        let (_, rest) = self.said.split_once("--configure ").expect("an invite");
        rest.lines().next().expect("a line").trim()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Tells it to stop; answers what it logged.
    pub fn stop(self) -> String {
        self.signal("TERM");
        self.ended()
    }

    /// Waits until it has stopped by itself; answers what it logged.
    pub fn ended(mut self) -> String {
        let mut rest = String::new();
        self.errors.read_to_string(&mut rest).expect("readable");
        assert!(self.child.wait().expect("ended").success(), "{rest}");
        rest
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Someone with a home of their own.
pub struct User {
    home: TempDir,
}

impl User {
    pub fn enrolled(invite: &str) -> Self {
        let user = Self { home: tempfile::tempdir().expect("a folder") };
        let done = user.run(&["cert", "--configure", invite]);
        assert!(done.status.success(), "{}", words(&done));
        user
    }

    /// Someone who has no certificate.
    pub fn nobody() -> Self {
        Self { home: tempfile::tempdir().expect("a folder") }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(DDROP);
        command.args(arguments).env("XDG_CONFIG_HOME", self.home.path()).stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("ddrop runs")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }
}

pub fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

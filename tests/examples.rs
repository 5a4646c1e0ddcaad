//! Runs every program in `examples/` as its header says, with the program under test on the PATH.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;

mod planted;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

fn program_folder() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ddrop")).parent().expect("a folder")
}

/// The program under test comes first on the PATH, and nothing that is set outside reaches it.
fn prepared(mut command: Command, home: &Path) -> Command {
    let folder = program_folder();
    let path = std::env::var("PATH").expect("a PATH");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DD_")) {
        command.env_remove(name);
    }
    command.env("PATH", format!("{}:{path}", folder.display())).env("XDG_CONFIG_HOME", home).env("TMPDIR", home);
    command.stdin(Stdio::null());
    command
}

/// What the examples need is part of what is tested: a machine without it is no machine to test on.
fn needs(programs: &[&str]) {
    let has = |name: &&str| {
        let version = if *name == "openssl" { "version" } else { "--version" };
        Command::new(name).arg(version).output().is_ok_and(|output| output.status.success())
    };
    let missing: Vec<_> = programs.iter().filter(|name| !has(name)).collect();
    assert!(missing.is_empty(), "{missing:?} missing; install with: apt-get install curl openssl python3");
}

fn run(name: &str, arguments: &[&Path], home: &Path, variables: &[(&str, &str)]) -> Output {
    let listener = Listener::new();
    let mut command = prepared(Command::new(example(name)), home);
    let path = std::env::var("PATH").expect("a PATH");
    let path = format!("{}:{}:{path}", listener.folder.path().display(), program_folder().display());
    command.args(arguments).envs(variables.iter().copied()).env("PATH", path);
    let output = command.output().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
    listener.check(name, &output);
    output
}

/// A `ddrop` before the real one on the PATH: the servers that an example starts log everything, and what they log is
/// kept.
struct Listener {
    folder: tempfile::TempDir,
}

impl Listener {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let (log, program) = (folder.path().join("log"), folder.path().join("ddrop"));
        let (log, real) = (log.display(), env!("CARGO_BIN_EXE_ddrop"));
        let script = format!(
            "#!/usr/bin/env bash\n[[ $1 == serve ]] || exec '{real}' \"$@\"\n\
             exec '{real}' \"$@\" --log={} 2> >(exec flock '{log}' tee -a '{log}' >&2)\n",
            planted::EVERYTHING
        );
        std::fs::write(&program, script).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).expect("made a program");
        std::fs::write(folder.path().join("log"), "").expect("written");
        Self { folder }
    }

    fn check(&self, name: &str, output: &Output) {
        let log = self.folder.path().join("log");
        // Until whoever writes it has come to its end.
        let waited = Command::new("flock").arg(&log).arg("true").status().expect("flock runs");
        assert!(waited.success());
        let log = std::fs::read_to_string(log).expect("a log");
        assert!(log.contains("answered") || !name.contains("tour"), "{name}: nothing was logged");
        for text in [&*String::from_utf8_lossy(&output.stdout), &*String::from_utf8_lossy(&output.stderr), &*log] {
            planted::plant_invites(text);
        }
        planted::plant_links(&String::from_utf8_lossy(&output.stdout));
        planted::check(log.as_bytes());
    }
}

/// What an example said that ended well.
fn said(name: &str, output: &Output) -> String {
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} ended with {}\n{said}\n--- stderr\n{complained}", output.status);
    said.into_owned()
}

/// The first of these words that a text does not have after those before it.
fn missing<'a>(text: &str, words: &[&'a str]) -> Option<&'a str> {
    let mut left = text;
    for word in words {
        let Some(at) = left.find(word) else { return Some(word) };
        left = &left[at + word.len()..];
    }
    None
}

/// A running server and the home of a client enrolled with it.
struct Enrolled {
    server: Child,
    log: Option<JoinHandle<String>>,
    url: String,
    home: tempfile::TempDir,
}

impl Enrolled {
    fn start() -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let mut serve = prepared(Command::new(env!("CARGO_BIN_EXE_ddrop")), home.path());
        serve.args(["serve", "-h", "127.0.0.1", "-p", "0", "-s"]).arg(home.path().join("storage"));
        serve.env("DD_LOG", planted::EVERYTHING);
        let mut server = serve.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the server starts");
        let mut lines = BufReader::new(server.stderr.take().expect("stderr")).lines();
        let (mut invite, mut url, mut said) = (None, None, String::new());
        for line in lines.by_ref().map(|line| line.expect("UTF-8")) {
            if let Some((_, found)) = line.split_once("ddrop cert --configure ") {
                invite = Some(found.to_owned());
            } else if let Some((_, found)) = line.split_once("listening on ") {
                url = Some(found.to_owned());
                break;
            }
            said = format!("{said}{line}\n");
        }
        // A pipe nobody reads would stop the server once it is full.
        let log = std::thread::spawn(move || lines.map_while(Result::ok).map(|line| line + "\n").collect());
        // Made before anything else can fail, so that the server is ended in any case.
        let enrolled = Self { server, log: Some(log), url: url.unwrap_or_default(), home };
        let invite = invite.unwrap_or_else(|| panic!("the server printed no invite:\n{said}"));
        let mut enrol = prepared(Command::new(env!("CARGO_BIN_EXE_ddrop")), enrolled.home.path());
        let output = enrol.args(["cert", "--configure", &invite]).output().expect("ddrop runs");
        assert!(output.status.success(), "enrolling failed: {}", String::from_utf8_lossy(&output.stderr));
        enrolled
    }

    /// A file of random bytes, so that it has every value a byte can have.
    fn file(&self, name: &str, bytes: u64) -> PathBuf {
        let path = self.home.path().join(name);
        let mut random = std::fs::File::open("/dev/urandom").expect("random bytes").take(bytes);
        let mut file = std::fs::File::create(&path).expect("a file");
        std::io::copy(&mut random, &mut file).expect("written");
        path
    }

    fn run(&self, name: &str, file: &Path) -> Output {
        run(name, &[file], self.home.path(), &[("DD_API_URL", &self.url)])
    }
}

impl Drop for Enrolled {
    fn drop(&mut self) {
        // Either may fail only because the server has ended already, which the test has noticed by then.
        let _ = self.server.kill();
        let _ = self.server.wait();
        let log = self.log.take().expect("read once").join().expect("read to its end");
        if !std::thread::panicking() {
            planted::plant_keys(&self.home.path().join("ddrop"));
            planted::plant_storage(&self.home.path().join("storage"));
            planted::check(log.as_bytes());
        }
    }
}

#[test]
fn quickstart() {
    let home = tempfile::tempdir().expect("a folder");
    let output = run("quickstart.sh", &[], home.path(), &[]);
    let said = said("quickstart.sh", &output);
    assert_eq!(
        missing(&said, &["listening on https://", "https://", "the same bytes", "bob was refused", "gone", "== done"]),
        None,
        "in\n{said}"
    );
    assert_eq!(std::fs::read_dir(home.path()).expect("readable").count(), 0, "it left something behind");
}

#[test]
fn curl_tour() {
    needs(&["curl", "openssl"]);
    let home = tempfile::tempdir().expect("a folder");
    let output = run("curl-tour.sh", &[], home.path(), &[]);
    let said = said("curl-tour.sh", &output);
    assert_eq!(
        missing(
            &said,
            &[
                "client.crt: OK",
                "\"tier\":\"admin\"",
                "unauthenticated",
                "all the same bytes",
                "certificate_revoked",
                "== done",
            ]
        ),
        None,
        "in\n{said}"
    );
    assert_eq!(std::fs::read_dir(home.path()).expect("readable").count(), 0, "it left something behind");
}

#[test]
fn est_enroll() {
    needs(&["curl", "openssl"]);
    let home = tempfile::tempdir().expect("a folder");
    let output = run("est-enroll.sh", &[], home.path(), &[]);
    let said = said("est-enroll.sh", &output);
    assert_eq!(
        missing(
            &said,
            &[
                "the root is the one that was expected",
                "prime256v1",
                "device.pem: OK",
                "sensor-7",
                "401 invite_used",
                "next.pem: OK",
                "reading.txt",
                "== done",
            ]
        ),
        None,
        "in\n{said}"
    );
    assert_eq!(std::fs::read_dir(home.path()).expect("readable").count(), 0, "it left something behind");
}

#[test]
fn flaskpaste_tour() {
    needs(&["curl", "openssl", "python3"]);
    let home = tempfile::tempdir().expect("a folder");
    let output = run("flaskpaste-tour.sh", &[], home.path(), &[]);
    let said = said("flaskpaste-tour.sh", &output);
    assert_eq!(
        missing(
            &said,
            &[
                "\"status\":\"healthy\"",
                "x-client-sha256: ",
                "x-is-admin: 1",
                "\"mime_type\":\"text/plain",
                "Paste too small",
                "\"display_name\":\"data.bin\"",
                "\"expiry_clamped\":true",
                "content-type: application/json",
                "content-disposition: inline",
                "Proof-of-work required",
                "\"difficulty\":10",
                "Proof-of-work failed",
                "1.0",
                "7.0",
                "30.0",
                "\"mime_type\":\"text/markdown\"",
                "\"password_protected\":true",
                "planted-for-few",
                "\"burn_after_read\":true",
                "\"total\":1",
                "\"limit\":1",
                "\"target_url\":",
                "https://xn--bcher-kva.example/",
                "location: https://example.org/a/long/way?to=go",
                "== DELETE /ID",
                "\"message\"",
                "BEGIN CERTIFICATE",
                "== done"
            ]
        ),
        None,
        "in\n{said}"
    );
    assert_eq!(std::fs::read_dir(home.path()).expect("readable").count(), 0, "it left something behind");
}

#[test]
fn openssl_client() {
    needs(&["openssl"]);
    let enrolled = Enrolled::start();
    // An empty file, a small one, and one of many TLS records.
    for (name, bytes) in [("empty.bin", 0), ("small.bin", 11), ("large.bin", 1 << 20)] {
        let output = enrolled.run("openssl-client.sh", &enrolled.file(name, bytes));
        let said = said(name, &output);
        assert_eq!(missing(&said, &["uploaded: https://", "fetched: the same bytes"]), None, "in\n{said}");
    }
}

#[test]
fn python_client() {
    needs(&["python3"]);
    let enrolled = Enrolled::start();
    let output = enrolled.run("python_client.py", &enrolled.file("n\u{e4}me with space.bin", 1 << 20));
    let said = said("python_client.py", &output);
    assert_eq!(
        missing(&said, &["uploaded: https://", "fetched: the same bytes", "of ours", "expired: 410 gone"]),
        None,
        "in\n{said}"
    );
}

#[test]
fn a_client_that_is_not_enrolled_is_told_so() {
    needs(&["python3"]);
    let enrolled = Enrolled::start();
    let file = enrolled.file("x.bin", 5);
    let elsewhere = tempfile::tempdir().expect("a folder");
    for name in ["python_client.py", "openssl-client.sh"] {
        let output = run(name, &[&file], elsewhere.path(), &[("DD_API_URL", &enrolled.url)]);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("uploaded"), "{name}");
        assert!(!output.stderr.is_empty(), "{name} says nothing");
    }
}

#[test]
fn every_example_is_run_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "curl-tour.sh",
            "est-enroll.sh",
            "flaskpaste-tour.sh",
            "openssl-client.sh",
            "python_client.py",
            "quickstart.sh"
        ]
    );
}

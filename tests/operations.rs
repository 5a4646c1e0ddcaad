//! The program as a process: signals, a crash, a full disk, and how much memory it takes.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use tempfile::TempDir;

use planted::{plant_content, plant_invites, plant_keys, plant_storage};

#[path = "operations/browser.rs"]
mod browser;
#[path = "operations/chromium.rs"]
mod chromium;
#[path = "operations/deployed.rs"]
mod deployed;
#[path = "operations/downloaded.rs"]
mod downloaded;
mod planted;
mod ports;
#[path = "operations/proxies.rs"]
mod proxies;
#[path = "operations/spoofs.rs"]
mod spoofs;
#[path = "operations/strangers.rs"]
mod strangers;

const DDROP: &str = env!("CARGO_BIN_EXE_ddrop");

/// A server of a test's own, killed when it is dropped; then no secret may be in its log.
struct Server {
    child: Child,
    storage: Option<PathBuf>,
    lines: Mutex<Receiver<String>>,
    log: Option<JoinHandle<String>>,
    url: String,
    invite: Option<String>,
}

impl Server {
    fn start(storage: &Path, flags: &[&str]) -> Self {
        let mut command = Command::new(DDROP);
        command.args(["serve", "-h", "127.0.0.1", "-p", "0", "-s"]).arg(storage).args(flags);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let storage = command.get_args().skip_while(|arg| *arg != "-s").nth(1).map(PathBuf::from);
        let command = command.env("DD_LOG", planted::EVERYTHING).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("started");
        let mut errors = BufReader::new(child.stderr.take().expect("a pipe"));
        let (said, lines) = channel();
        // Read to the end whether anybody looks or not: a server whose log nobody takes would stand still.
        let log = std::thread::spawn(move || {
            let (mut log, mut line) = (String::new(), String::new());
            while errors.read_line(&mut line).expect("readable") > 0 {
                log.push_str(&line);
                // Whoever waited may have found what it was for.
                let _ = said.send(std::mem::take(&mut line));
            }
            log
        });
        let mut server =
            Self { child, storage, lines: Mutex::new(lines), log: Some(log), url: String::new(), invite: None };
        let mut said = String::new();
        while server.url.is_empty() {
            let Some(line) = server.line() else { panic!("it ended without listening:\n{said}") };
            if let Some((_, invite)) = line.split_once("ddrop cert --configure ") {
                plant_invites(invite);
                server.invite = Some(invite.trim().to_owned());
            }
            server.url = line.strip_prefix("listening on ").unwrap_or_default().trim().to_owned();
            said.push_str(&line);
        }
        server
    }

    /// What it says next; `None` once it has ended.
    fn line(&self) -> Option<String> {
        self.lines.lock().expect("whole").recv().ok()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Reads the log until a line has these words.
    fn until_logged(&mut self, words: &str) {
        while !self.line().unwrap_or_else(|| panic!("it never logged '{words}'")).contains(words) {}
    }

    /// Peak resident memory in KiB.
    fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("readable");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    fn stop(mut self) {
        self.signal("TERM");
        let ended = self.child.wait().expect("ended");
        assert!(ended.success(), "{}", std::iter::from_fn(|| self.line()).collect::<String>());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log.take().expect("read once").join().expect("read to its end");
        if !std::thread::panicking() {
            self.storage.iter().for_each(|storage| plant_storage(storage));
            planted::check(log.as_bytes());
        }
    }
}

/// Someone with a home of their own.
struct User {
    home: TempDir,
}

impl User {
    fn enrolled(server: &Server) -> Self {
        let user = Self { home: tempfile::tempdir().expect("a folder") };
        let done = user.run(&["cert", "--configure", server.invite.as_deref().expect("an invite")]);
        assert!(done.status.success(), "{}", words(&done));
        user
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(DDROP);
        command.args(arguments).env("XDG_CONFIG_HOME", self.home.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().expect("ddrop runs");
        plant_keys(&self.home.path().join("ddrop"));
        if arguments.first() == Some(&"upload") {
            for file in arguments.iter().filter_map(|path| std::fs::File::open(path).ok()) {
                let mut begin = Vec::new();
                file.take(64).read_to_end(&mut begin).expect("readable");
                plant_content(&begin);
            }
        }
        output
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join("ddrop").join(name)
    }
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.flatten().map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

#[test]
fn a_token_file_is_read_again_on_sighup() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "planted-first\n").expect("written");
    let flag = format!("--api-token-file={}", token.display());
    let mut server = Server::start(&folder.path().join("storage"), &[&flag]);
    let user = User::enrolled(&server);
    let ca = user.file("ca.crt");
    let with = |token: &str| {
        let mut command = user.command(&["stats", "--server", &server.url, "--ca-cert"]);
        command.arg(&ca).env("DD_API_TOKEN", token).env("XDG_CONFIG_HOME", "/nonexistent");
        command.output().expect("ddrop runs").status.code()
    };
    assert_eq!((with("planted-first"), with("planted-second")), (Some(0), Some(4)));
    std::fs::write(&token, "planted-second\n").expect("written");
    server.signal("HUP");
    server.until_logged("server certificate loaded again");
    let with = |token: &str| {
        let mut command = user.command(&["stats", "--server", &server.url, "--ca-cert"]);
        command.arg(&ca).env("DD_API_TOKEN", token).env("XDG_CONFIG_HOME", "/nonexistent");
        command.output().expect("ddrop runs").status.code()
    };
    assert_eq!((with("planted-first"), with("planted-second")), (Some(4), Some(0)));
    std::fs::write(&token, "").expect("written");
    server.signal("HUP");
    server.until_logged("the token cannot be read again");
    server.stop();
}

/// Makes a certificate for localhost with openssl.
fn certificate(folder: &Path, name: &str) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args([
            "-subj",
            &format!("/CN={name}"),
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            "tls.key",
            "-out",
            "tls.crt",
        ])
        .current_dir(folder)
        .output()
        .expect("openssl is installed (apt-get install openssl)");
    assert!(made.status.success(), "{}", words(&made));
}

fn shown(server: &Server) -> String {
    let address = server.url.trim_start_matches("https://");
    let script = format!("openssl s_client -connect {address} </dev/null 2>/dev/null | openssl x509 -noout -subject");
    words(&Command::new("sh").args(["-c", &script]).output().expect("openssl runs")).trim().to_owned()
}

#[test]
fn a_certificate_from_elsewhere_is_reloaded_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    certificate(folder.path(), "first");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let flags = [format!("--tls-cert={}", path("tls.crt")), format!("--tls-key={}", path("tls.key"))];
    let mut server = Server::start(&folder.path().join("storage"), &[&flags[0], &flags[1]]);
    assert_eq!(shown(&server), "subject=CN = first");
    certificate(folder.path(), "second");
    server.signal("HUP");
    server.until_logged("server certificate loaded again");
    assert_eq!(shown(&server), "subject=CN = second");
    std::fs::write(path("tls.crt"), "broken").expect("written");
    server.signal("HUP");
    server.until_logged("the old one stays in use");
    assert_eq!(shown(&server), "subject=CN = second");
    server.stop();
}

#[test]
fn a_killed_server_loses_nothing_it_confirmed_and_keeps_nothing_it_did_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = folder.path().join("storage");
    let mut server = Server::start(&storage, &[]);
    let user = User::enrolled(&server);
    let kept = user.home.path().join("kept.txt");
    std::fs::write(&kept, "kept").expect("written");
    let done = user.run(&["upload", &kept.display().to_string(), "--json"]);
    assert!(done.status.success(), "{}", words(&done));
    let link: serde_json::Value = serde_json::from_slice(&done.stdout).expect("JSON");
    let id = link["id"].as_str().expect("an id").to_owned();
    let mut half = user.command(&["upload", "-"]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("started");
    let mut pipe = half.stdin.take().expect("a pipe");
    while files(&storage.join("files")) < 2 {
        pipe.write_all(&[7; 64 * 1024]).expect("taken");
    }
    server.child.kill().expect("killed");
    server.child.wait().expect("ended");
    drop(pipe);
    assert!(!half.wait().expect("ended").success(), "the client says that it failed");
    assert_eq!(files(&storage.join("files")), 2, "half an upload lies around");
    let mut server = Server::start(&storage, &[]);
    server.until_logged("swept");
    assert_eq!(files(&storage.join("files")), 1);
    let fetched = user.run(&["fetch", &id, "-o", "-", "--server", &server.url]);
    assert_eq!(fetched.stdout, b"kept", "{}", words(&fetched));
    server.stop();
}

#[test]
fn memory_does_not_grow_with_the_file() {
    const MIB: u64 = 256;
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("storage"), &["--max-file-size-mb=300"]);
    let user = User::enrolled(&server);
    let big = user.home.path().join("big");
    std::fs::File::create(&big).and_then(|file| file.set_len(MIB * 1024 * 1024)).expect("made");
    let up = user.run(&["upload", &big.display().to_string()]);
    assert!(up.status.success(), "{}", words(&up));
    let url = String::from_utf8_lossy(&up.stdout).trim().to_owned();
    let back = user.home.path().join("back");
    let down = user.run(&["fetch", &url, "-o", &back.display().to_string()]);
    assert!(down.status.success(), "{}", words(&down));
    assert_eq!(std::fs::metadata(&back).expect("fetched").len(), MIB * 1024 * 1024);
    let peak = server.peak_memory();
    assert!(peak < 64 * 1024, "{peak} KiB for a file of {MIB} MiB");
    server.stop();
}

#[test]
fn memory_does_not_grow_with_a_crowd_of_transfers() {
    const MIB: u64 = 32;
    const EACH: usize = 16;
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("storage"), &[]);
    let user = User::enrolled(&server);
    let big = user.home.path().join("big");
    std::fs::File::create(&big).and_then(|file| file.set_len(MIB * 1024 * 1024)).expect("made");
    let up = user.run(&["upload", &big.display().to_string()]);
    assert!(up.status.success(), "{}", words(&up));
    let url = String::from_utf8_lossy(&up.stdout).trim().to_owned();
    let curl = |arguments: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail-with-body", "--cacert"]).arg(user.file("ca.crt")).args(arguments);
        curl.arg("--cert").arg(user.file("client.crt")).arg("--key").arg(user.file("client.key"));
        curl.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("curl runs")
    };
    let (file, to) = (big.display().to_string(), format!("{}/", server.url));
    let all: Vec<Child> = (0..EACH)
        .flat_map(|_| [curl(&["-T", &file, &to]), curl(&["-o", "/dev/null", "-w", "%{size_download}", &url])])
        .collect();
    for (n, one) in all.into_iter().enumerate() {
        let output = one.wait_with_output().expect("ended");
        assert!(output.status.success(), "{}", words(&output));
        if n % 2 == 1 {
            assert_eq!(output.stdout, (MIB * 1024 * 1024).to_string().as_bytes());
        }
    }
    let peak = server.peak_memory();
    assert!(peak < 128 * 1024, "{peak} KiB for {EACH} uploads and {EACH} downloads of {MIB} MiB");
    server.stop();
}

/// A shell command in a mount namespace of its own, with a small file system at `$DISK`.
fn on_small_disk(disk: &Path, options: &str, then: &str) -> Command {
    std::fs::create_dir_all(disk).expect("made");
    let script = format!("mount -t tmpfs -o {options} none \"$DISK\" && {then}");
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &script]).env("DISK", disk);
    command
}

#[test]
fn a_full_disk_is_told_and_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let then = format!("exec {DDROP} serve -h 127.0.0.1 -p 0 -s \"$DISK/storage\"");
    let server = Server::spawn(on_small_disk(&folder.path().join("disk"), "size=8m", &then));
    let user = User::enrolled(&server);
    let (small, large) = (user.home.path().join("small"), user.home.path().join("large"));
    std::fs::write(&small, "small").expect("written");
    std::fs::write(&large, vec![1; 20 * 1024 * 1024]).expect("written");
    let upload = |path: &Path| user.run(&["upload", &path.display().to_string()]);
    let first = upload(&small);
    assert!(first.status.success(), "{}", words(&first));
    let refused = upload(&large);
    assert_eq!(refused.status.code(), Some(1));
    assert!(words(&refused).contains("disk is full"), "{}", words(&refused));
    // What was refused is deleted after the answer.
    let begun = std::time::Instant::now();
    let mut again = upload(&small);
    while !again.status.success() && begun.elapsed() < std::time::Duration::from_secs(30) {
        again = upload(&small);
    }
    assert!(again.status.success(), "there is room again: {}", words(&again));
    let url = String::from_utf8_lossy(&first.stdout).trim().to_owned();
    assert_eq!(user.run(&["fetch", &url, "-o", "-"]).stdout, b"small");
    server.stop();
}

#[test]
fn on_a_full_disk_nobody_is_made_and_everybody_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = "--open-registration --register-pow-difficulty 0";
    let then = format!("exec {DDROP} serve -h 127.0.0.1 -p 0 -s \"$DISK/storage\" {open}");
    let disk = folder.path().join("disk");
    let server = Server::spawn(on_small_disk(&disk, "size=8m", &then));
    let user = User::enrolled(&server);
    let home = user.home.path();
    let made = Command::new("openssl")
        .args(["req", "-new", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=x"])
        .args(["-keyout", "key", "-out", "csr"])
        .current_dir(home)
        .output();
    assert!(made.expect("openssl runs").status.success());
    let post = |path: &str, more: &[&str]| {
        let ask = ["-sS", "-o", "answer", "-w", "%{http_code}", "--cacert"];
        let mut curl = Command::new("curl");
        curl.args(ask).arg(user.file("ca.crt")).args(more).arg(format!("{}{path}", server.url)).current_dir(home);
        let output = curl.output().expect("curl runs");
        assert!(output.status.success(), "{}", words(&output));
        let answer = std::fs::read_to_string(home.join("answer")).unwrap_or_default();
        (String::from_utf8_lossy(&output.stdout).into_owned(), answer)
    };
    let invited = user.run(&["pki", "invite", "bob", "--json"]);
    let invited: serde_json::Value = serde_json::from_slice(&invited.stdout).expect("JSON");
    let invite = format!("Authorization: Invite {}", invited["secret"].as_str().expect("a secret"));
    let clients = || {
        let listed = user.run(&["pki", "list", "--json"]);
        let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
        listed["certs"].as_array().expect("a list").len()
    };
    let before = clients();
    // The server's own mount: nobody else sees it.
    let inside = PathBuf::from(format!("/proc/{}/root{}", server.child.id(), disk.display())).join("fill");
    let mut fill = std::fs::File::create(&inside).expect("made");
    for size in [64 * 1024, 4096, 1] {
        while fill.write_all(&vec![0; size]).is_ok() {}
    }
    let mut made = 0;
    // What has begun a page has room in it for a few more.
    for (path, more) in [("/register", &["-d", ""][..]), ("/csr", &["--data-binary", "@csr"])] {
        let mut last = String::new();
        for _ in 0..200 {
            let (status, answer) = post(path, more);
            last = status;
            if last != "200" {
                assert!(answer.contains("\"code\":\"storage_full\"") && answer.contains("disk is full"), "{answer}");
                break;
            }
            made += 1;
        }
        assert_eq!(last, "507", "{path}");
        assert_eq!(clients(), before + made, "{path}");
    }
    let enroll = ["-H", &invite, "--data-binary", "@csr"];
    let (status, answer) = post("/pki/enroll", &enroll);
    assert_eq!(status, "507", "{answer}");
    drop(fill);
    std::fs::remove_file(&inside).expect("room again");
    assert_eq!(post("/pki/enroll", &enroll).0, "200", "the invite was not used up");
    assert_eq!(clients(), before + made + 1);
    let verified = user.run(&["pki", "audit", "--verify"]);
    assert!(verified.status.success(), "{}", words(&verified));
    server.stop();
}

#[test]
fn a_full_disk_leaves_neither_half_a_backup_nor_half_a_storage() {
    let folder = tempfile::tempdir().expect("a folder");
    let (storage, file) = (folder.path().join("storage"), folder.path().join("all.tar"));
    let server = Server::start(&storage, &[]);
    let user = User::enrolled(&server);
    let large = user.home.path().join("large");
    std::fs::write(&large, vec![1; 20 * 1024 * 1024]).expect("written");
    assert!(user.run(&["upload", &large.display().to_string()]).status.success());
    let run = |arguments: &str| {
        let then = format!("{DDROP} {arguments}; echo \"code $?\"; ls -A \"$DISK\"");
        let mut command = on_small_disk(&folder.path().join("disk"), "size=8m", &then);
        words(&command.env("STORAGE", &storage).env("FILE", &file).output().expect("unshare runs"))
    };
    let said = run("backup \"$DISK/all.tar\" -s \"$STORAGE\"");
    assert!(said.contains("code 1\n") && said.contains("No space left") && !said.contains("all.tar\n"), "{said}");
    let done = user.command(&["backup", "-s"]).arg(&storage).arg(&file).output().expect("ddrop runs");
    assert!(done.status.success(), "{}", words(&done));
    let said = run("restore \"$FILE\" -s \"$DISK\"");
    assert!(said.contains("code 1\n") && said.contains("No space left"), "{said}");
    assert!(said.lines().all(|line| !line.starts_with("links.db") && !line.starts_with(".restoring")), "{said}");
    server.stop();
}

#[test]
fn storage_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let then = format!("exec {DDROP} serve -h 127.0.0.1 -p 0 -s \"$DISK/storage\"");
    let refused = on_small_disk(&folder.path().join("disk"), "ro", &then).output().expect("unshare runs");
    assert_eq!(refused.status.code(), Some(1));
    let said = words(&refused);
    assert!(said.contains("disk/storage") && said.contains("Read-only"), "{said}");
}

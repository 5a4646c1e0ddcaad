//! nginx and HAProxy that let in whom our CA vouches for, by what it publishes: `chain.crt` and the lists.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{DDROP, Server, User, words};

/// How long a proxy may take to start, or to take its files again.
const PATIENCE: Duration = Duration::from_secs(20);

/// A proxy that answers `in` to those it lets in, on a Unix socket, so that no port has to be found.
struct Proxy {
    child: Child,
    socket: PathBuf,
    /// What makes it read its files again.
    reload: &'static str,
}

impl Proxy {
    fn start(mut command: Command, folder: &Path, name: &str, reload: &'static str) -> Self {
        let log = std::fs::File::create(folder.join(format!("{name}.log"))).expect("made");
        let errors = log.try_clone().expect("a handle");
        command.current_dir(folder).stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("{name} cannot be started: {error}; it is installed by: apt-get install -y nginx-light haproxy")
        });
        let mut proxy = Self { child, socket: folder.join(format!("{name}.sock")), reload };
        let begun = Instant::now();
        while std::os::unix::net::UnixStream::connect(&proxy.socket).is_err() {
            let log = || std::fs::read_to_string(folder.join(format!("{name}.log"))).unwrap_or_default();
            let ended = proxy.child.try_wait().expect("known").is_some();
            assert!(!ended && begun.elapsed() < PATIENCE, "{name} does not listen:\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        proxy
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Whether this user is let in; `None` has no certificate. TLS 1.2 tells a client in the handshake why not, where
    /// with TLS 1.3 it may only find a closed connection.
    fn lets_in(&self, ca: &Path, user: Option<&User>) -> bool {
        let said = self.ask(ca, user, "1.2");
        let refused = [
            "SSL certificate error",
            "No required SSL certificate was sent",
            "alert certificate revoked",
            "alert unknown ca",
            "alert handshake failure",
        ];
        let refused = refused.iter().any(|words| said.contains(words));
        assert!(refused || said == "in", "neither let in nor refused for the certificate: {said}");
        assert_eq!(self.ask(ca, user, "1.3") == "in", !refused, "TLS 1.3 differs from 1.2: {said}");
        !refused
    }

    fn ask(&self, ca: &Path, user: Option<&User>, version: &str) -> String {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "20", "https://localhost/", "--tls-max", version, "--unix-socket"]);
        curl.arg(&self.socket).arg("--cacert").arg(ca);
        if let Some(user) = user {
            curl.arg("--cert").arg(user.file("client.crt")).arg("--key").arg(user.file("client.key"));
        }
        words(&curl.output().expect("curl is installed (apt-get install curl)"))
    }

    /// Reads its files again; done when none of the processes that have the old ones is there any more.
    fn take_files_again(&self) {
        let before = self.workers();
        self.signal(self.reload);
        let begun = Instant::now();
        let mut now = self.workers();
        while now.is_empty() || now.iter().any(|worker| before.contains(worker)) {
            assert!(begun.elapsed() < PATIENCE, "the old processes are still there");
            std::thread::sleep(Duration::from_millis(20));
            now = self.workers();
        }
    }

    fn workers(&self) -> Vec<String> {
        let output = Command::new("pgrep").args(["-P", &self.child.id().to_string()]).output().expect("pgrep runs");
        words(&output).split_whitespace().map(str::to_owned).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Its workers end with it, which they would not if it were killed.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal("TERM");
            let _ = self.child.wait();
        }
    }
}

fn nginx(folder: &Path) -> Proxy {
    let configuration = "
        daemon off;
        pid nginx.pid;
        events {}
        http {
            access_log off;
            client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi; scgi_temp_path scgi;
            server {
                listen unix:nginx.sock ssl;
                ssl_certificate server.pem;
                ssl_certificate_key server.key;
                ssl_client_certificate chain.crt;
                ssl_crl crl.pem;
                ssl_verify_client on;
                ssl_verify_depth 3;
                location / { return 200 in; }
            }
        }";
    let configuration = configuration.replace("unix:nginx.sock", &format!("unix:{}/nginx.sock", folder.display()));
    std::fs::write(folder.join("nginx.conf"), configuration).expect("written");
    // Debian has it where not everybody's search path leads.
    let path = ["/usr/sbin/nginx", "/usr/bin/nginx"].into_iter().find(|path| Path::new(path).exists());
    let mut command = Command::new(path.unwrap_or("nginx"));
    command.arg("-p").arg(folder).args(["-c", "nginx.conf", "-e", "stderr"]);
    Proxy::start(command, folder, "nginx", "HUP")
}

fn haproxy(folder: &Path) -> Proxy {
    let configuration = format!(
        "
        global
            log stderr format raw local0 notice
        defaults
            mode http
            timeout connect 5s
            timeout client 30s
            timeout server 30s
        frontend mtls
            bind unix@{0}/haproxy.sock ssl crt {0}/both.pem verify required ca-file {0}/chain.crt crl-file {0}/crl.pem
            http-request return status 200 content-type text/plain string in\n",
        folder.display()
    );
    std::fs::write(folder.join("haproxy.cfg"), configuration).expect("written");
    let path = ["/usr/sbin/haproxy", "/usr/bin/haproxy"].into_iter().find(|path| Path::new(path).exists());
    let mut command = Command::new(path.unwrap_or("haproxy"));
    command.args(["-W", "-f", "haproxy.cfg"]);
    Proxy::start(command, folder, "haproxy", "USR2")
}

/// How the files for a proxy are made: what an operator would put into a cron job.
#[derive(Clone, Copy, Debug)]
enum Refresh {
    /// Fetched by anyone.
    Curl,
    /// Written by the operator.
    Ddrop,
}

fn publish(refresh: Refresh, server: &Server, storage: &Path, folder: &Path) {
    let (chain, lists) = (folder.join("chain.crt"), folder.join("crl.pem"));
    let curl = |path: &str, to: &Path| {
        let mut curl = Command::new("curl");
        curl.args(["-sSf", "-o"]).arg(to).arg("--cacert").arg(storage.join("pki/root.crt"));
        let done = curl.arg(format!("{}{path}", server.url)).output().expect("curl runs");
        assert!(done.status.success(), "{}", words(&done));
    };
    match refresh {
        Refresh::Curl => {
            curl("/pki/chain.crt", &chain);
            curl("/pki/crl.pem", &lists);
        }
        Refresh::Ddrop => {
            std::fs::write(chain, operator(storage, &["ca", "--chain"])).expect("written");
            operator(storage, &["crl", "-o", &lists.display().to_string()]);
        }
    }
}

pub(super) fn operator(storage: &Path, arguments: &[&str]) -> String {
    let done = Command::new(DDROP).arg("pki").args(arguments).arg("-s").arg(storage).output().expect("ddrop runs");
    assert!(done.status.success(), "{}", words(&done));
    String::from_utf8(done.stdout).expect("text").trim().to_owned()
}

fn invited(storage: &Path, name: &str) -> User {
    let user = User { home: tempfile::tempdir().expect("a folder") };
    let done = user.run(&["cert", "--configure", &operator(storage, &["invite", name])]);
    assert!(done.status.success(), "{}", words(&done));
    user
}

/// Someone with a certificate of their own that nobody vouches for.
pub(super) fn stranger() -> User {
    let user = User { home: tempfile::tempdir().expect("a folder") };
    std::fs::create_dir(user.home.path().join("ddrop")).expect("made");
    let made = user.run(&["cert", "-n", "stranger", "-o", &user.home.path().join("ddrop").display().to_string()]);
    assert!(made.status.success(), "{}", words(&made));
    for ending in ["crt", "key"] {
        let there = std::fs::read_dir(user.home.path().join("ddrop")).expect("a folder").flatten();
        let file = there.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|own| own == ending));
        std::fs::rename(file.expect("made"), user.file(&format!("client.{ending}"))).expect("renamed");
    }
    user
}

/// Who is let in, of all there are, at each step of what an operator does.
type Steps = Vec<(&'static str, Vec<&'static str>)>;

/// The steps, and who may be let in after each.
fn expected() -> Steps {
    vec![
        ("three are enrolled", vec!["alice", "bob", "carol"]),
        ("bob is revoked, and the proxy has the list from before", vec!["alice", "bob", "carol"]),
        ("the proxy has the list", vec!["alice", "carol"]),
        // What the issuing CA before signed stays good, and its list goes on.
        ("there is a new issuing CA; dave is enrolled, carol is revoked", vec!["alice", "dave"]),
    ]
}

fn who_is_let_in(refresh: Refresh, flags: &[&str], start: fn(&Path) -> Proxy) -> Steps {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = folder.path().join("storage");
    let server = Server::start(&storage, flags);
    let mut all = vec![("nobody", None), ("stranger", Some(stranger()))];
    all.extend(["alice", "bob", "carol"].map(|name| (name, Some(invited(&storage, name)))));
    let pki = |name: &str| std::fs::read_to_string(storage.join("pki").join(name)).expect("read");
    let write = |name: &str, content: String| std::fs::write(folder.path().join(name), content).expect("written");
    write("server.pem", pki("server.crt") + &pki("issuing.crt"));
    write("server.key", pki("server.key"));
    write("both.pem", pki("server.crt") + &pki("issuing.crt") + &pki("server.key"));
    publish(refresh, &server, &storage, folder.path());
    let (proxy, ca) = (start(folder.path()), storage.join("pki/root.crt"));
    let mut steps = expected().into_iter().map(|(step, _)| step);
    let mut seen = Steps::new();
    let mut look = |all: &[(&'static str, Option<User>)]| {
        let let_in = all.iter().filter(|(_, user)| proxy.lets_in(&ca, user.as_ref())).map(|(name, _)| *name);
        seen.push((steps.next().expect("a step"), let_in.collect()));
    };
    look(&all);
    operator(&storage, &["revoke", "bob", "--reason", "keyCompromise"]);
    look(&all);
    publish(refresh, &server, &storage, folder.path());
    proxy.take_files_again();
    look(&all);
    operator(&storage, &["ca", "--rotate"]);
    all.push(("dave", Some(invited(&storage, "dave"))));
    operator(&storage, &["revoke", "carol"]);
    publish(refresh, &server, &storage, folder.path());
    proxy.take_files_again();
    look(&all);
    drop(proxy);
    server.stop();
    seen
}

/// With a public URL, which then stands in certificates and lists, and without one, when it must not.
const WAYS: [(Refresh, &[&str]); 2] =
    [(Refresh::Curl, &[]), (Refresh::Ddrop, &["--public-url=https://drop.example.org"])];

#[test]
fn nginx_lets_in_who_is_enrolled_and_not_who_is_revoked() {
    for (refresh, flags) in WAYS {
        assert_eq!(who_is_let_in(refresh, flags, nginx), expected(), "{refresh:?}, {flags:?}");
    }
}

#[test]
fn haproxy_lets_in_who_is_enrolled_and_not_who_is_revoked() {
    for (refresh, flags) in WAYS {
        assert_eq!(who_is_let_in(refresh, flags, haproxy), expected(), "{refresh:?}, {flags:?}");
    }
}

//! F22, F42: the files of deploy/ as they are, run by the real programs, with nothing changed but places; and what a
//! client can say to them to be taken for somebody else: nothing.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::ports::Port;
use super::proxies::operator;
use super::{DDROP, Server, User, words};

/// How long a proxy may take to start, or to take its files again.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const SECRET: &str = "planted-0123456789abcdef01234567";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Passthrough,
    Header,
    Nginx,
    Caddy,
}

/// A server of ours, a proxy in front of it, and the admin.
pub(super) struct Deployed {
    kind: Kind,
    folder: tempfile::TempDir,
    pub(super) port: u16,
    server: Server,
    proxy: Proxy,
    _ports: [Port; 2],
    pub(super) admin: User,
}

/// A file of deploy/ in which each of these words stands, with others in their place.
fn adapted(path: &str, places: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path);
    let mut text = std::fs::read_to_string(&path).expect("there");
    for (from, to) in places {
        assert!(text.contains(from), "{} has no '{from}'", path.display());
        text = text.replace(from, to);
    }
    text
}

fn program(name: &str) -> PathBuf {
    // Debian has some where not everybody's search path leads.
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/bin"].map(|folder| Path::new(folder).join(name));
    places.into_iter().find(|path| path.exists()).unwrap_or_else(|| {
        panic!("{name} is not there; it is installed by: apt-get install -y haproxy nginx-light caddy")
    })
}

/// What is to be otherwise than the files of deploy/ have it.
#[derive(Clone, Copy, Default)]
pub(super) struct Wish<'a> {
    /// Words of the proxy's file, and those in their place.
    pub(super) places: &'a [(&'a str, &'a str)],
    /// What the server is told besides.
    pub(super) flags: &'a [&'a str],
    /// Called with the storage folder before the server starts.
    pub(super) past: Option<&'a dyn Fn(&Path)>,
}

/// Whether we may become somebody else, as these programs do when they are started in earnest.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whom a proxy becomes.
fn account(kind: Kind) -> &'static str {
    match kind {
        Kind::Passthrough | Kind::Header => "haproxy",
        Kind::Nginx => "www-data",
        Kind::Caddy => "caddy",
    }
}

/// The number of a user or of a group, which Debian's packages have made by the same name.
fn number(database: &str, name: &str) -> u32 {
    let found = Command::new("getent").args([database, name]).output().expect("getent runs");
    let text = String::from_utf8(found.stdout).expect("text");
    let third = text.split(':').nth(2).and_then(|number| number.trim().parse().ok());
    third.unwrap_or_else(|| panic!("there is no {name} in {database}: apt-get install -y haproxy nginx-light caddy"))
}

impl Deployed {
    pub(super) fn start(kind: Kind) -> Self {
        Self::start_with(kind, Wish::default())
    }

    pub(super) fn start_with(kind: Kind, wish: Wish<'_>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // Proxies give up root's rights, and have to get to the socket all the same.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).expect("changed");
        let at = |name: &str| folder.path().join(name);
        let ports = [Port::keep(), Port::keep()];
        let [port, inner] = [&ports[0], &ports[1]].map(|port| port.number);
        if let Some(past) = wish.past {
            past(&at("storage"));
        }
        let mut command = Command::new(DDROP);
        command.args(["serve", "-s"]).arg(at("storage")).args(wish.flags);
        command.arg(format!("--public-url=https://localhost:{port}"));
        std::fs::write(at("secret"), format!("{SECRET}\n")).expect("written");
        if kind == Kind::Passthrough {
            command.args(["-h", "127.0.0.1", "-p", &inner.to_string()]);
            command.args(["--proxy-protocol", "--trusted-proxies=127.0.0.1,::1"]);
        } else {
            command.arg("--behind-proxy").arg("-h").arg(format!("unix:{}", at("http.sock").display()));
            command.arg("--proxy-secret-file").arg(at("secret"));
        }
        let server = Server::spawn(command);
        let pki = |name: &str| std::fs::read_to_string(at("storage/pki").join(name)).expect("read");
        let write = |name: &str, content: &str| std::fs::write(at(name), content).expect("written");
        let (shown, key) = (pki("server.crt") + &pki("issuing.crt"), pki("server.key"));
        write("server.crt", &shown);
        write("root.crt", &pki("root.crt"));
        write("chain.crt", &operator(&at("storage"), &["ca", "--chain"]));
        operator(&at("storage"), &["crl", "-o", &at("crl.pem").display().to_string()]);
        for (name, content) in [("server.key", &key), ("server.pem", &(shown + &key))] {
            write(name, content);
            std::fs::set_permissions(at(name), Permissions::from_mode(0o600)).expect("changed");
        }
        if is_root() && kind != Kind::Passthrough {
            chown(at("http.sock"), None, Some(number("group", account(kind)))).expect("changed");
        }
        if is_root() && kind == Kind::Caddy {
            // It is never root, so what it reads is its own.
            std::fs::create_dir(at("caddy")).expect("made");
            for name in ["caddy", "server.key"] {
                chown(at(name), Some(number("passwd", "caddy")), None).expect("changed");
            }
        }
        let proxy = Proxy(proxy(kind, folder.path(), (port, inner), wish.places));
        let admin = User { home: tempfile::tempdir().expect("a folder") };
        let mut deployed = Self { kind, folder, port, server, proxy, _ports: ports, admin };
        deployed.until_it_answers();
        let invite = deployed.server.invite.clone().unwrap_or_else(|| deployed.invite("chief", &["--admin"]));
        let done = deployed.admin.run(&["cert", "--configure", &invite]);
        assert!(done.status.success(), "{kind:?}: {}", words(&done));
        deployed
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.at("proxy.log")).unwrap_or_default()
    }

    fn until_it_answers(&mut self) {
        let begun = Instant::now();
        while self.status("/health/ready") != "200" {
            let ended = self.proxy.0.try_wait().expect("known").is_some();
            assert!(!ended && begun.elapsed() < PATIENCE, "{:?} does not answer:\n{}", self.kind, self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(super) fn curl(&self, arguments: &[&str]) -> Output {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "30", "--cacert"]).arg(self.at("root.crt")).args(arguments);
        curl.output().expect("curl is installed (apt-get install curl)")
    }

    /// The status that is answered there; "000" for none.
    fn status(&self, path: &str) -> String {
        let answer = self.curl(&["-o", "/dev/null", "-w", "%{http_code}", &self.url(path)]);
        String::from_utf8_lossy(&answer.stdout).into_owned()
    }

    /// As someone with a certificate.
    pub(super) fn curl_as(&self, user: &User, arguments: &[&str]) -> String {
        let (certificate, key) = (user.file("client.crt").display().to_string(), user.file("client.key"));
        let key = key.display().to_string();
        words(&self.curl(&[&["--cert", certificate.as_str(), "--key", &key], arguments].concat()))
    }

    fn invite(&self, name: &str, flags: &[&str]) -> String {
        let url = self.url("");
        let mut invite = Command::new(DDROP);
        invite.args(["pki", "invite", name, "--url", &url]).args(flags).arg("-s").arg(self.at("storage"));
        if self.kind != Kind::Passthrough {
            invite.env("DD_BEHIND_PROXY", "true");
        }
        let invite = invite.output().expect("ddrop runs");
        assert!(invite.status.success(), "{}", words(&invite));
        String::from_utf8_lossy(&invite.stdout).trim().to_owned()
    }

    pub(super) fn invited(&self, name: &str) -> User {
        let user = User { home: tempfile::tempdir().expect("a folder") };
        let done = user.run(&["cert", "--configure", &self.invite(name, &[])]);
        assert!(done.status.success(), "{:?}: {}", self.kind, words(&done));
        user
    }

    pub(super) fn stop(self) {
        drop(self.proxy);
        self.server.stop();
    }
}

/// A proxy that ends when it is dropped.
struct Proxy(Child);

impl Proxy {
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.0.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }
}

/// A file of deploy/ for a place of its own, with what is to be otherwise.
fn configuration(kind: Kind, folder: &Path, (port, inner): (u16, u16), wishes: &[(&str, &str)]) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    let (socket, files) = (at("http.sock"), folder.display().to_string());
    let path = match kind {
        Kind::Passthrough => "haproxy/passthrough.cfg",
        Kind::Header => "haproxy/header.cfg",
        Kind::Nginx => "nginx/ddrop.conf",
        Kind::Caddy => "caddy/Caddyfile",
    };
    let mut places = match kind {
        Kind::Passthrough => vec![
            ("bind :443", format!("bind 127.0.0.1:{port}")),
            ("127.0.0.1:8443 send", format!("127.0.0.1:{inner} send")),
            ("/etc/ddrop/proxy", files),
        ],
        Kind::Header => vec![
            ("bind :443", format!("bind 127.0.0.1:{port}")),
            ("/etc/ddrop/proxy/", format!("{files}/")),
            ("/run/ddrop/http.sock", socket),
            // The group of the socket, which is not made for a test.
            ("group ddrop", "group haproxy".to_owned()),
        ],
        Kind::Nginx => vec![
            ("listen 443", format!("listen 127.0.0.1:{port}")),
            ("server_name drop.example.org", "server_name localhost".to_owned()),
            ("/etc/ddrop/proxy/", format!("{files}/")),
            ("unix:/run/ddrop/http.sock", format!("unix:{socket}")),
        ],
        Kind::Caddy => vec![
            ("https://drop.example.org {", format!("https://localhost:{port} {{\n\tbind 127.0.0.1")),
            ("/etc/ddrop/proxy/server", format!("{files}/server")),
            ("/etc/ddrop/proxy/root.crt\n\t\t}", format!("{files}/root.crt\n\t\t}}")),
            ("unix//run/ddrop/http.sock", format!("unix/{socket}")),
            // It would open port 80 to lead people over; the certificate is there.
            ("\tadmin off\n", "\tadmin off\n\tauto_https disable_redirects\n".to_owned()),
        ],
    };
    if !is_root() && matches!(kind, Kind::Passthrough | Kind::Header) {
        places.push(("    user haproxy\n", String::new()));
        places.push(("    group ", "    #".to_owned()));
    }
    if !is_root() && kind == Kind::Passthrough {
        places.push(("    chroot ", "    #".to_owned()));
    }
    // What is wished for is in the words of the file, so it comes first.
    let places = places.iter().map(|(from, to)| (*from, to.as_str()));
    adapted(path, &wishes.iter().copied().chain(places).collect::<Vec<_>>())
}

fn proxy(kind: Kind, folder: &Path, ports: (u16, u16), wishes: &[(&str, &str)]) -> Child {
    let at = |name: &str| folder.join(name).display().to_string();
    let text = configuration(kind, folder, ports, wishes);
    let mut command = match kind {
        Kind::Passthrough | Kind::Header => {
            std::fs::write(at("proxy.conf"), text).expect("written");
            let mut command = Command::new(program("haproxy"));
            command.args(["-W", "-f", "proxy.conf"]);
            command
        }
        Kind::Nginx => {
            std::fs::write(at("secret.conf"), format!("proxy_set_header X-Proxy-Secret \"{SECRET}\";\n"))
                .expect("written");
            std::fs::write(at("ddrop.conf"), text).expect("written");
            // What stands around it in Debian's nginx.conf.
            let user = if is_root() { "user www-data; " } else { "" };
            let around = format!(
                "{user}daemon off; pid nginx.pid; error_log stderr notice; events {{}}\n\
                http {{ access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; \
                uwsgi_temp_path uwsgi; scgi_temp_path scgi; include ddrop.conf; }}\n"
            );
            std::fs::write(at("proxy.conf"), around).expect("written");
            let mut command = Command::new(program("nginx"));
            command.arg("-p").arg(folder).args(["-c", "proxy.conf", "-e", "stderr"]);
            command
        }
        Kind::Caddy => {
            std::fs::write(at("proxy.conf"), text).expect("written");
            let mut command = Command::new(if is_root() { program("setpriv") } else { program("caddy") });
            if is_root() {
                // As its unit does.
                command.args(["--reuid=caddy", "--regid=caddy", "--clear-groups", "--no-new-privs"]);
                command.args(["--bounding-set=-all", "--inh-caps=-all"]).arg(program("caddy"));
            }
            command.args(["run", "--adapter", "caddyfile", "--config", "proxy.conf"]);
            command
        }
    };
    let log = std::fs::File::create(at("proxy.log")).expect("made");
    let errors = log.try_clone().expect("a handle");
    let home = if kind == Kind::Caddy && is_root() { folder.join("caddy") } else { folder.to_owned() };
    command.env("DDROP_PROXY_SECRET", SECRET).env("HOME", &home).env("XDG_DATA_HOME", &home);
    command.env("XDG_CONFIG_HOME", &home);
    command.current_dir(folder).stdin(Stdio::null()).stdout(log).stderr(errors).spawn().expect("started")
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Its workers end with it, which they would not if it were killed.
        if matches!(self.0.try_wait(), Ok(None)) {
            self.signal("TERM");
            let _ = self.0.wait();
        }
    }
}

pub(super) const ALL: [Kind; 4] = [Kind::Passthrough, Kind::Header, Kind::Nginx, Kind::Caddy];

#[test]
fn enrolling_uploading_listing_expiring_and_being_revoked_work_through_each_proxy() {
    for kind in ALL {
        let deployed = Deployed::start(kind);
        let admin = &deployed.admin;
        let me = words(&admin.run(&["whoami", "--json"]));
        let proof =
            if kind == Kind::Passthrough { "\"proof\":\"certificate\"" } else { "\"proof\":\"proxy-certificate\"" };
        let compact: String = me.chars().filter(|c| !c.is_whitespace()).collect();
        assert!(compact.contains("\"tier\":\"admin\"") && compact.contains(proof), "{kind:?}: {me}");
        assert!(compact.contains("\"address\":\"127.0.0.1\""), "{kind:?}: {me}");

        let file = deployed.at("build.bin");
        std::fs::write(&file, vec![42; 3 * 1024 * 1024]).expect("written");
        let file = file.display().to_string();
        let done = admin.run(&["upload", &file]);
        let url = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        assert!(done.status.success() && url.starts_with(&deployed.url("/")), "{kind:?}: {}", words(&done));
        let got = deployed.curl(&[&url]).stdout;
        assert!(got == vec![42; 3 * 1024 * 1024], "{kind:?}: nobody may read it, whole");
        let id = url.rsplit('/').next().expect("an id");
        assert!(words(&admin.run(&["list"])).contains(id), "{kind:?}");
        let headers = words(&deployed.curl(&["-I", &url]));
        assert!(headers.to_lowercase().contains("strict-transport-security"), "{kind:?}: {headers}");
        assert_eq!(admin.run(&["expire", id]).status.code(), Some(0), "{kind:?}");
        assert_eq!(admin.run(&["fetch", &url, "-o", "-"]).status.code(), Some(3), "{kind:?}");

        let bob = deployed.invited("bob");
        assert_eq!(bob.run(&["list"]).status.code(), Some(0), "{kind:?}");
        assert_eq!(bob.run(&["cert", "--renew"]).status.code(), Some(0), "{kind:?}");
        assert_eq!(admin.run(&["pki", "revoke", "bob"]).status.code(), Some(0), "{kind:?}");
        // The proxy does not know yet; ddrop does.
        let refused = bob.run(&["list"]);
        assert_eq!(refused.status.code(), Some(4), "{kind:?}: {}", words(&refused));
        // What HAProxy and nginx know of revocations is kept up to date by a watch that reloads them.
        let watch = matches!(kind, Kind::Header | Kind::Nginx).then(|| {
            let reload = if kind == Kind::Nginx { "HUP" } else { "USR2" };
            let mut watch = Command::new(DDROP);
            watch.args(["pki", "crl", "--watch", "--every", "1", "-s"]).arg(deployed.at("storage"));
            watch.arg("-o").arg(deployed.at("crl.pem")).stderr(Stdio::null());
            watch.arg("--exec").arg(format!("kill -{reload} {}", deployed.proxy.0.id()));
            Proxy(watch.spawn().expect("started"))
        });
        if matches!(kind, Kind::Header | Kind::Nginx) {
            let begun = Instant::now();
            let told = || {
                let url = deployed.url("/api/whoami");
                deployed.curl_as(&bob, &["--tls-max", "1.2", &url])
            };
            while !["revoked", "SSL certificate error"].iter().any(|word| told().contains(word)) {
                assert!(begun.elapsed() < PATIENCE, "{kind:?}: the proxy still lets bob in: {}", told());
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        drop(watch);
        deployed.stop();
    }
}

/// How a certificate is named in headers, in each way there is.
pub(super) fn names(user: &User) -> Vec<(&'static str, String)> {
    let certificate = user.file("client.crt").display().to_string();
    let openssl = |arguments: &[&str]| {
        let done = Command::new("openssl").args(["x509", "-in", &certificate]).args(arguments).output();
        done.expect("openssl runs").stdout
    };
    let print = |kind: &str| {
        let text = String::from_utf8(openssl(&["-noout", "-fingerprint", kind])).expect("text");
        text.rsplit('=').next().expect("a fingerprint").trim().replace(':', "").to_lowercase()
    };
    let pem = String::from_utf8(openssl(&["-outform", "PEM"])).expect("text");
    let base64: String = pem.lines().filter(|line| !line.starts_with("---")).collect();
    let escaped = percent_encoding::utf8_percent_encode(&pem, percent_encoding::NON_ALPHANUMERIC).to_string();
    vec![
        ("Client-Cert", format!(":{base64}:")),
        ("X-SSL-Client-Cert", escaped),
        ("X-SSL-Client-SHA256", print("-sha256")),
        ("X-SSL-Client-SHA1", print("-sha1")),
    ]
}

/// The processes of a proxy that speak with clients.
fn workers(deployed: &Deployed) -> Vec<String> {
    let proxy = deployed.proxy.0.id().to_string();
    if deployed.kind == Kind::Caddy {
        return vec![proxy];
    }
    let children = Command::new("pgrep").args(["-P", &proxy]).output().expect("pgrep runs");
    words(&children).split_whitespace().map(str::to_owned).collect()
}

#[test]
fn no_proxy_keeps_rights_it_does_not_need() {
    assert!(is_root(), "run this as root: it shows that root's rights are given up");
    for kind in ALL {
        let deployed = Deployed::start(kind);
        let (user, group) = (number("passwd", account(kind)), number("group", account(kind)));
        let workers = workers(&deployed);
        assert!(!workers.is_empty(), "{kind:?}");
        for worker in workers {
            let status = std::fs::read_to_string(format!("/proc/{worker}/status")).expect("readable");
            let line = |name: &str| {
                let found = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                found.unwrap_or_default().split_whitespace().collect::<Vec<_>>()
            };
            assert_eq!(line("Uid"), vec![user.to_string(); 4], "{kind:?}: {status}");
            assert_eq!(line("Gid"), vec![group.to_string(); 4], "{kind:?}: {status}");
            assert!(line("Groups").iter().all(|other| *other == group.to_string()), "{kind:?}: {status}");
            for capabilities in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
                assert_eq!(line(capabilities), ["0000000000000000"], "{kind:?}: {status}");
            }
            let root = std::fs::read_link(format!("/proc/{worker}/root")).expect("readable");
            let expected = if kind == Kind::Passthrough { "/var/lib/haproxy" } else { "/" };
            assert_eq!(root, Path::new(expected), "{kind:?}");
        }
        // And so it works: the key it shows is not its to read any more, and the socket is its group's.
        let key = std::fs::metadata(deployed.at("server.key")).expect("there");
        assert_eq!(key.mode() & 0o7777, 0o600);
        assert!(kind == Kind::Caddy || key.uid() != user, "{kind:?}");
        if kind != Kind::Passthrough {
            let socket = std::fs::metadata(deployed.at("http.sock")).expect("there");
            assert_eq!((socket.mode() & 0o7777, socket.uid() == user, socket.gid()), (0o660, false, group));
        }
        assert!(words(&deployed.admin.run(&["whoami"])).contains("admin"), "{kind:?}");
        deployed.stop();
    }
}

#[test]
fn a_server_that_cannot_work_is_taken_out_until_it_can() {
    // nginx asks nobody by itself: it hands on what a server says.
    for kind in [Kind::Passthrough, Kind::Header, Kind::Caddy] {
        let deployed = Deployed::start(kind);
        let status = || words(&deployed.curl(&["-o", "/dev/null", "-w", "%{http_code}", &deployed.url("/health")]));
        let until = |works: bool| {
            let begun = Instant::now();
            while (status() == "200") != works {
                assert!(begun.elapsed() < PATIENCE, "{kind:?}: works: {works}: {}", deployed.log());
                std::thread::sleep(Duration::from_millis(100));
            }
        };
        until(true);
        std::fs::rename(deployed.at("storage/files"), deployed.at("storage/away")).expect("moved");
        until(false);
        std::fs::rename(deployed.at("storage/away"), deployed.at("storage/files")).expect("moved");
        until(true);
        assert!(words(&deployed.admin.run(&["whoami"])).contains("admin"), "{kind:?}");
        deployed.stop();
    }
}

#[test]
fn the_doctor_finds_what_a_careless_proxy_lets_through() {
    // The same file of nginx without the lines that leave out what a client says.
    for (line, name) in [
        ("proxy_set_header Client-Cert \"\";", "Client-Cert"),
        ("proxy_set_header X-SSL-Client-SHA1 \"\";", "X-SSL-Client-SHA1"),
        ("proxy_set_header X-Forwarded-For $remote_addr;", "X-Forwarded-For"),
    ] {
        let deployed = Deployed::start_with(Kind::Nginx, Wish { places: &[(line, "")], ..Wish::default() });
        let doctor = deployed.admin.run(&["doctor", "--through", &deployed.url("")]);
        let said = words(&doctor);
        let found = said.lines().any(|line| line.starts_with("PROBLEM") && line.contains(name));
        assert!(doctor.status.code() == Some(1) && found, "{name}: {said}");
        deployed.stop();
    }
}

#[test]
fn d19_nginx_turns_away_a_crowd() {
    let deployed = Deployed::start(Kind::Nginx);
    let urls = vec![deployed.url("/health"); 300];
    // Side by side: those that come slowly are no crowd.
    let mut arguments = vec!["--parallel", "--parallel-max", "20", "-o", "/dev/null", "-w", "%{http_code}\n"];
    for url in &urls[1..] {
        arguments.extend([url.as_str(), "-o", "/dev/null"]);
    }
    let codes = words(&deployed.curl(&arguments));
    assert!(["200", "429"].iter().all(|code| codes.lines().any(|line| line == *code)), "{codes}");
    deployed.stop();
}

#[test]
fn a_reload_of_haproxy_and_the_end_of_the_server_cut_nothing_off() {
    for kind in [Kind::Passthrough, Kind::Header] {
        let deployed = Deployed::start(kind);
        let bytes = deployed.at("large");
        std::fs::write(&bytes, vec![7; 20 * 1024 * 1024]).expect("written");
        let done = deployed.admin.run(&["upload", &bytes.display().to_string()]);
        let url = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        let slowly = |to: &str| {
            let mut curl = Command::new("curl");
            curl.args(["-sSf", "--max-time", "60", "--limit-rate", "8M", "-o"]).arg(deployed.at(to));
            curl.arg("--cacert").arg(deployed.at("root.crt")).arg(&url).spawn().expect("curl runs")
        };
        let begun = |to: &str| {
            let since = Instant::now();
            while std::fs::metadata(deployed.at(to)).map_or(0, |facts| facts.len()) == 0 {
                assert!(since.elapsed() < PATIENCE, "{kind:?}: the download does not begin");
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        let mut first = slowly("first");
        begun("first");
        for _ in 0..3 {
            deployed.proxy.signal("USR2");
            for _ in 0..15 {
                assert_eq!(deployed.status("/health"), "200", "{kind:?}: {}", deployed.log());
            }
        }
        assert!(first.wait().expect("ended").success(), "{kind:?}: cut off by a reload");
        let mut second = slowly("second");
        begun("second");
        deployed.server.signal("TERM");
        assert!(second.wait().expect("ended").success(), "{kind:?}: cut off by the server's end");
        for file in ["first", "second"] {
            assert_eq!(std::fs::metadata(deployed.at(file)).expect("there").len(), 20 * 1024 * 1024, "{kind:?}");
        }
        deployed.stop();
    }
}

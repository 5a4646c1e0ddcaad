//! F22, F42: the files of deploy/ as they are, run by the real programs, with nothing changed but places; and what a
//! client can say to them to be taken for somebody else: nothing.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::proxies::operator;
use super::{DDROP, Server, User, words};

/// How long a proxy may take to start, or to take its files again.
const PATIENCE: Duration = Duration::from_secs(30);
const SECRET: &str = "planted-0123456789abcdef01234567";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Passthrough,
    Header,
    Nginx,
    Caddy,
}

/// A server of ours, a proxy in front of it, and the admin.
struct Deployed {
    kind: Kind,
    folder: tempfile::TempDir,
    port: u16,
    server: Server,
    proxy: Proxy,
    admin: User,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port()
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

impl Deployed {
    fn start(kind: Kind) -> Self {
        Self::start_with(kind, "")
    }

    /// nginx, whose file lacks this line.
    fn start_careless(line: &str) -> Self {
        Self::start_with(Kind::Nginx, line)
    }

    fn start_with(kind: Kind, without: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let (port, inner) = (free_port(), free_port());
        let mut command = Command::new(DDROP);
        command.args(["serve", "-s"]).arg(at("storage"));
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
        write("server.key", &key);
        write("server.pem", &(shown + &key));
        write("root.crt", &pki("root.crt"));
        write("chain.crt", &operator(&at("storage"), &["ca", "--chain"]));
        operator(&at("storage"), &["crl", "-o", &at("crl.pem").display().to_string()]);
        let proxy = Proxy(proxy(kind, folder.path(), (port, inner), without));
        let mut deployed =
            Self { kind, folder, port, server, proxy, admin: User { home: tempfile::tempdir().expect("a folder") } };
        deployed.until_it_answers();
        let invite = deployed.server.invite.clone().expect("an invite");
        let done = deployed.admin.run(&["cert", "--configure", &invite]);
        assert!(done.status.success(), "{kind:?}: {}", words(&done));
        deployed
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.at("proxy.log")).unwrap_or_default()
    }

    fn until_it_answers(&mut self) {
        let begun = Instant::now();
        while !words(&self.curl(&["-o", "/dev/null", "-w", "%{http_code}", &self.url("/health/ready")])).contains("200")
        {
            let ended = self.proxy.0.try_wait().expect("known").is_some();
            assert!(!ended && begun.elapsed() < PATIENCE, "{:?} does not answer:\n{}", self.kind, self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn curl(&self, arguments: &[&str]) -> Output {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "30", "--cacert"]).arg(self.at("root.crt")).args(arguments);
        curl.output().expect("curl is installed (apt-get install curl)")
    }

    /// As someone with a certificate.
    fn curl_as(&self, user: &User, arguments: &[&str]) -> String {
        let (certificate, key) = (user.file("client.crt").display().to_string(), user.file("client.key"));
        let key = key.display().to_string();
        words(&self.curl(&[&["--cert", certificate.as_str(), "--key", &key], arguments].concat()))
    }

    fn invited(&self, name: &str) -> User {
        let user = User { home: tempfile::tempdir().expect("a folder") };
        let url = self.url("");
        let mut invite = Command::new(DDROP);
        invite.args(["pki", "invite", name, "--url", &url, "-s"]).arg(self.at("storage"));
        if self.kind != Kind::Passthrough {
            invite.env("DD_BEHIND_PROXY", "true");
        }
        let invite = words(&invite.output().expect("ddrop runs"));
        let done = user.run(&["cert", "--configure", invite.trim()]);
        assert!(done.status.success(), "{:?}: {}", self.kind, words(&done));
        user
    }

    /// Bytes of the test's own over TLS, without a client certificate; everything that comes back until it ends.
    fn raw(&self, bytes: &[u8]) -> String {
        use std::io::Write as _;
        let mut client = Command::new("timeout");
        client.args(["5", "openssl", "s_client", "-quiet", "-verify_quiet", "-alpn", "http/1.1", "-servername"]);
        client.args(["localhost", "-connect", &format!("127.0.0.1:{}", self.port), "-CAfile"]).arg(self.at("root.crt"));
        let mut child = client
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed (apt-get install openssl)");
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(bytes).expect("written");
        let output = child.wait_with_output().expect("ended");
        drop(input);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn stop(self) {
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

fn proxy(kind: Kind, folder: &Path, (port, inner): (u16, u16), without: &str) -> Child {
    let at = |name: &str| folder.join(name).display().to_string();
    let (own, socket, files) = (format!("127.0.0.1:{port}"), at("http.sock"), folder.display().to_string());
    // The user that the package makes could not read what a test has made for itself.
    let haproxy = [("    user haproxy\n    group haproxy\n", ""), ("bind :443", &format!("bind {own}"))];
    let mut command = match kind {
        Kind::Passthrough => {
            let inner = format!("127.0.0.1:{inner}");
            let places =
                [&haproxy[..], &[("127.0.0.1:8443 send", &format!("{inner} send")), ("/etc/ddrop/proxy", &files)]];
            std::fs::write(at("proxy.conf"), adapted("haproxy/passthrough.cfg", &places.concat())).expect("written");
            Command::new(program("haproxy"))
        }
        Kind::Header => {
            let places =
                [&haproxy[..], &[("/etc/ddrop/proxy/", &format!("{files}/")), ("/run/ddrop/http.sock", &socket)]];
            std::fs::write(at("proxy.conf"), adapted("haproxy/header.cfg", &places.concat())).expect("written");
            Command::new(program("haproxy"))
        }
        Kind::Nginx => {
            std::fs::write(at("secret.conf"), format!("proxy_set_header X-Proxy-Secret \"{SECRET}\";\n"))
                .expect("written");
            let places = [
                ("listen 443", format!("listen {own}")),
                ("server_name drop.example.org", "server_name localhost".to_owned()),
                ("/etc/ddrop/proxy/", format!("{files}/")),
                ("unix:/run/ddrop/http.sock", format!("unix:{socket}")),
            ];
            let mut places: Vec<_> = places.iter().map(|(from, to)| (*from, to.as_str())).collect();
            if !without.is_empty() {
                places.push((without, ""));
            }
            std::fs::write(at("ddrop.conf"), adapted("nginx/ddrop.conf", &places)).expect("written");
            let around = "user root; daemon off; pid nginx.pid; error_log stderr notice; events {}\n\
                http { access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; \
                uwsgi_temp_path uwsgi; scgi_temp_path scgi; include ddrop.conf; }\n";
            std::fs::write(at("proxy.conf"), around).expect("written");
            Command::new(program("nginx"))
        }
        Kind::Caddy => {
            let places = [
                ("https://drop.example.org {", format!("https://localhost:{port} {{\n\tbind 127.0.0.1")),
                ("/etc/ddrop/proxy/server", format!("{files}/server")),
                ("/etc/ddrop/proxy/root.crt\n\t\t}", format!("{files}/root.crt\n\t\t}}")),
                ("unix//run/ddrop/http.sock", format!("unix/{socket}")),
                // It would open port 80 to lead people over; the certificate is there.
                ("\tadmin off\n", "\tadmin off\n\tauto_https disable_redirects\n".to_owned()),
            ];
            let places: Vec<_> = places.iter().map(|(from, to)| (*from, to.as_str())).collect();
            std::fs::write(at("proxy.conf"), adapted("caddy/Caddyfile", &places)).expect("written");
            Command::new(program("caddy"))
        }
    };
    match kind {
        Kind::Passthrough | Kind::Header => command.args(["-W", "-f", "proxy.conf"]),
        Kind::Nginx => command.arg("-p").arg(folder).args(["-c", "proxy.conf", "-e", "stderr"]),
        Kind::Caddy => command.args(["run", "--adapter", "caddyfile", "--config", "proxy.conf"]),
    };
    let log = std::fs::File::create(at("proxy.log")).expect("made");
    let errors = log.try_clone().expect("a handle");
    command.env("DDROP_PROXY_SECRET", SECRET).env("HOME", folder).env("XDG_DATA_HOME", folder);
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

const ALL: [Kind; 4] = [Kind::Passthrough, Kind::Header, Kind::Nginx, Kind::Caddy];

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
fn names(user: &User) -> Vec<(&'static str, String)> {
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

/// Requests by which someone might be taken for the admin; each with what makes it end.
fn look_alikes(admin: &User) -> Vec<String> {
    let mut all = Vec::new();
    for (name, value) in names(admin) {
        let lower = name.to_lowercase();
        for header in [
            format!("{name}: {value}\r\n"),
            format!("{name}: {value}\r\n{name}: {value}\r\n"),
            format!("{name}: {value}, {value}\r\n"),
            format!("{lower}: {value}\r\n"),
            format!("{}: {value}\r\n", name.to_uppercase()),
            format!("{}: {value}\r\n", name.replace('-', "_")),
            format!("{}: {value}\r\n", name.replacen('-', "_", 1)),
            format!("{name} : {value}\r\n"),
            format!(" {name}: {value}\r\n"),
            format!("X-Other: a\r\n {name}: {value}\r\n"),
            format!("X-Other: a\n{name}: {value}\r\n"),
            format!("X-Other: a\r{name}: {value}\r\n"),
            format!("{name}\0: {value}\r\n"),
            format!("{name}: {value}{}\r\n", "A".repeat(30_000)),
            format!("Connection: close, X-Proxy-Secret, {name}\r\n{name}: {value}\r\n"),
            format!("Connection: close, X-Forwarded-For, Client-Cert, X-SSL-Client-Cert\r\n{name}: {value}\r\n"),
            format!(
                "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings, close\r\n{name}: {value}\r\n"
            ),
        ] {
            let guess = if all.len() % 2 == 0 { "" } else { "X-Proxy-Secret: guess\r\n" };
            all.push(format!(
                "GET /api/whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{guess}{header}\r\n"
            ));
        }
        all.push(format!(
            "POST /pki/revoke HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
             Trailer: {name}\r\n\r\n2\r\n{{}}\r\n0\r\n{name}: {value}\r\n\r\n"
        ));
        // One program's body is another one's next request (CL.TE, TE.CL, and those that try to hide one of the two).
        let smuggled = format!("GET /api/links HTTP/1.1\r\nHost: localhost\r\n{name}: {value}\r\nX-Left: ");
        let chunk = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
        for (lengths, body) in [
            (
                format!("Content-Length: {}\r\nTransfer-Encoding: chunked", smuggled.len() + 5),
                format!("0\r\n\r\n{smuggled}"),
            ),
            ("Content-Length: 4\r\nTransfer-Encoding: chunked".to_owned(), chunk.clone()),
            ("Transfer-Encoding: xchunked\r\nContent-Length: 4".to_owned(), chunk.clone()),
            ("Transfer-Encoding : chunked\r\nContent-Length: 4".to_owned(), chunk.clone()),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: 4".to_owned(),
                chunk.clone(),
            ),
            ("Content-Length: 0\r\nContent-Length: 50".to_owned(), smuggled.clone()),
        ] {
            all.push(format!("POST /api/upload HTTP/1.1\r\nHost: localhost\r\n{lengths}\r\n\r\n{body}\r\n\r\nGET /api/whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        }
    }
    all
}

#[test]
fn nobody_gets_through_a_proxy_as_somebody_else() {
    for kind in ALL {
        // As the proxy is left out of it, its rates are not what is asked about.
        let deployed = Deployed::start(kind);
        let bob = deployed.invited("bob");
        let names = names(&deployed.admin);
        // In groups, so that those that wait for their end do so together.
        for group in look_alikes(&deployed.admin).chunks(12) {
            std::thread::scope(|scope| {
                for request in group {
                    let deployed = &deployed;
                    scope.spawn(move || {
                        let answer = deployed.raw(request.as_bytes());
                        let in_it = ["\"admin\"", "\"proxy-", "\"links\"", "HTTP/1.1 201"];
                        assert!(in_it.iter().all(|words| !answer.contains(words)), "{kind:?}: {request:?}: {answer}");
                    });
                }
            });
            // What is left on the connections between proxy and server is nobody else's.
            for _ in 0..3 {
                let me = words(&deployed.curl(&[&deployed.url("/api/whoami")]));
                assert!(me.contains("\"anonymous\"") && me.contains("\"proof\":\"none\""), "{kind:?}: {me}");
            }
        }
        // Who has a certificate stays who that says, over either HTTP.
        for (name, value) in &names {
            for version in ["--http1.1", "--http2"] {
                let (header, url) = (format!("{name}: {value}"), deployed.url("/api/whoami"));
                let arguments = [
                    version,
                    "-H",
                    &header,
                    "-H",
                    "X-Forwarded-For: 192.0.2.9",
                    "-H",
                    "Forwarded: for=192.0.2.9",
                    &url,
                ];
                let me = deployed.curl_as(&bob, &arguments);
                assert!(me.contains("\"bob\"") && me.contains("\"address\":\"127.0.0.1\""), "{kind:?} {name}: {me}");
                let me = words(&deployed.curl(&arguments));
                assert!(me.contains("\"anonymous\"") && !me.contains("192.0.2.9"), "{kind:?} {name}: {me}");
            }
        }
        if kind != Kind::Passthrough {
            // Who reaches the socket without the secret is nobody too.
            let socket = deployed.at("http.sock").display().to_string();
            for (name, value) in &names {
                let header = format!("{name}: {value}");
                let me =
                    words(&deployed.curl(&["--unix-socket", &socket, "-H", &header, "http://localhost/api/whoami"]));
                assert!(me.contains("\"anonymous\"") && me.contains("\"proof\":\"none\""), "{kind:?} {name}: {me}");
                let right = format!("X-Proxy-Secret: {SECRET}");
                let arguments = ["--unix-socket", &socket, "-H", &header, "-H", &right, "http://localhost/api/whoami"];
                assert!(words(&deployed.curl(&arguments)).contains("\"admin\""), "the test would notice: {name}");
            }
        }
        let doctor = deployed.admin.run(&["doctor", "--through", &deployed.url("")]);
        assert!(doctor.status.success() && words(&doctor).contains("not believed"), "{kind:?}: {}", words(&doctor));
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
        let deployed = Deployed::start_careless(line);
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
    let mut arguments = vec!["-o", "/dev/null", "-w", "%{http_code}\n"];
    for url in &urls[1..] {
        arguments.extend([url.as_str(), "-o", "/dev/null"]);
    }
    let codes = words(&deployed.curl(&arguments));
    assert!(codes.contains("200") && codes.contains("429"), "{codes}");
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
                let code = words(&deployed.curl(&["-o", "/dev/null", "-w", "%{http_code}", &deployed.url("/health")]));
                assert_eq!(code, "200", "{kind:?}: {}", deployed.log());
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

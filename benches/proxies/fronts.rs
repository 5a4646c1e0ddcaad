//! The ways in: ddrop itself, and each proxy with its file of deploy/, started here.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::rig::ddrop::{self, Enrolled};
use crate::rig::process::{Cores, Process};
use crate::rig::target::{Dialect, Target};

const SECRET: &str = "of the benchmark and its proxies";
/// How long a proxy may take to listen.
const START: Duration = Duration::from_secs(20);
/// How long a proxy may take to find out that the server behind it works.
const CHECKED: Duration = Duration::from_secs(15);
const SETTINGS: [&str; 6] = ["--max-file-size-mb", "2048", "--max-storage-mb", "8192", "--rate-limit-requests", "0"];

/// The proxies' programs.
pub(crate) struct Programs {
    haproxy: PathBuf,
    nginx: PathBuf,
    caddy: PathBuf,
}

impl Programs {
    pub(crate) fn find() -> Result<Self> {
        let find = |name: &str| {
            // Debian has some where not everybody's search path leads.
            let places = ["/usr/sbin", "/usr/bin", "/usr/local/bin"].map(|folder| Path::new(folder).join(name));
            places.into_iter().find(|path| path.exists()).with_context(|| {
                format!("{name} is not there: apt-get install -y --no-install-recommends haproxy nginx-light caddy")
            })
        };
        Ok(Self { haproxy: find("haproxy")?, nginx: find("nginx")?, caddy: find("caddy")? })
    }

    /// What they say of themselves.
    pub(crate) fn versions(&self) -> String {
        let first_line = |program: &Path, argument: &str| {
            let output = Command::new(program).arg(argument).output();
            let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            text.lines().next().unwrap_or("unknown").split(" - ").next().unwrap_or_default().trim().to_owned()
        };
        let nginx = first_line(&self.nginx, "-v").replace("nginx version: ", "");
        format!("{}; {nginx}; Caddy {}", first_line(&self.haproxy, "-v"), first_line(&self.caddy, "version"))
    }
}

/// A way in.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    /// Which server is behind it.
    server: usize,
    /// The proxy; `None`: clients come by themselves.
    proxy: Option<Target>,
}

/// All ways in. Both servers have one storage folder, so that whatever way it is, it leads to the same links.
pub(crate) struct Fronts {
    pub(crate) ways: Vec<Way>,
    /// With TLS, and plain HTTP for proxies beside it; and with the PROXY protocol.
    servers: [Target; 2],
}

impl Fronts {
    pub(crate) async fn start(programs: &Programs, cores: &Cores, dir: &Path) -> Result<(Self, Enrolled)> {
        let at = |name: &str| dir.join(name).display().to_string();
        let beside = [format!("--proxy-listen=unix:{}", at("http.sock")), format!("--proxy-secret={SECRET}")];
        let settings: Vec<&str> = SETTINGS.into_iter().chain(beside.iter().map(String::as_str)).collect();
        let (direct, enrolled) = ddrop::start(cores, dir, &settings).await?;
        let forwarded = ["--proxy-protocol", "--trusted-proxies=127.0.0.1"];
        let settings: Vec<&str> = SETTINGS.into_iter().chain(forwarded).collect();
        let behind = ddrop::start_again(cores, dir, &settings).await?;
        shown(dir)?;
        let mut ways = vec![Way { name: "direct TLS", server: 0, proxy: None }];
        for (name, server, start) in [
            ("HAProxy, passthrough", 1, passthrough as fn(&Start<'_>) -> Result<Command>),
            ("HAProxy, header mode", 0, header),
            ("nginx, header mode", 0, nginx),
            ("Caddy, header mode", 0, caddy),
        ] {
            let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
            let what = Start { programs, cores, dir, own: address, behind: behind.address };
            let proxy = started(start(&what)?, dir, address).await.with_context(|| format!("{name} did not start"))?;
            ways.push(Way { name, server, proxy: Some(proxy) });
        }
        Ok((Self { ways, servers: [direct, behind] }, enrolled))
    }

    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.ways.iter().map(|way| way.name).collect()
    }

    /// Where this way begins.
    pub(crate) fn target<'a>(&'a self, way: &'a Way) -> Result<&'a Target> {
        match &way.proxy {
            Some(proxy) => Ok(proxy),
            None => self.servers.get(way.server).context("no such server"),
        }
    }

    /// CPU seconds used so far by the server behind it, and by the proxy.
    pub(crate) fn cpu(&self, way: &Way) -> Result<(f64, f64)> {
        let server = self.servers.get(way.server).context("no such server")?;
        let proxy = way.proxy.as_ref().map(|proxy| proxy.process.cpu()).transpose()?;
        Ok((server.process.cpu()?, proxy.unwrap_or_default()))
    }
}

/// What a proxy is started with.
struct Start<'a> {
    programs: &'a Programs,
    cores: &'a Cores,
    dir: &'a Path,
    own: SocketAddr,
    /// The server that reads the PROXY protocol.
    behind: SocketAddr,
}

/// Puts what proxies show and trust where their files look for it.
fn shown(dir: &Path) -> Result<()> {
    let pki = ddrop::storage(dir).join("pki");
    let read =
        |name: &str| fs::read_to_string(pki.join(name)).with_context(|| format!("no {name} in {}", pki.display()));
    let (chain, key) = (read("server.crt")? + &read("issuing.crt")?, read("server.key")?);
    fs::write(dir.join("server.pem"), format!("{chain}{key}"))?;
    fs::write(dir.join("server.crt"), chain)?;
    fs::write(dir.join("server.key"), key)?;
    fs::write(dir.join("root.crt"), read("root.crt")?)?;
    fs::write(dir.join("chain.crt"), read("issuing.crt")? + &read("root.crt")?)?;
    fs::write(dir.join("secret.conf"), format!("proxy_set_header X-Proxy-Secret \"{SECRET}\";\n"))?;
    let mut list = Command::new(env!("CARGO_BIN_EXE_ddrop"));
    list.args(["pki", "crl", "-o"]).arg(dir.join("crl.pem")).arg("-s").arg(ddrop::storage(dir));
    let done = list.output().context("could not run ddrop")?;
    ensure!(done.status.success(), "no revocation list: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

impl Start<'_> {
    /// Writes a file of deploy/, in which each of these words stands, with others in their place.
    fn adapted(&self, path: &str, places: &[(&str, String)]) -> Result<PathBuf> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path);
        let mut text = fs::read_to_string(&source).with_context(|| format!("no {}", source.display()))?;
        for (from, to) in places {
            ensure!(text.contains(from), "{} has no '{from}'", source.display());
            text = text.replace(from, to);
        }
        let name = self.dir.join(path.replace('/', "-"));
        fs::write(&name, text)?;
        Ok(name)
    }

    fn files(&self) -> String {
        format!("{}/", self.dir.display())
    }

    fn haproxy(&self, path: &str, places: &[(&str, String)]) -> Result<Command> {
        let own = [
            ("bind :443", format!("bind {}", self.own)),
            ("/etc/ddrop/proxy/", self.files()),
            ("    user haproxy\n", String::new()),
        ];
        let file = self.adapted(path, &[&own[..], places].concat())?;
        let mut command = self.cores.server(&self.programs.haproxy);
        command.arg("-db").arg("-f").arg(file);
        Ok(command)
    }
}

fn passthrough(start: &Start<'_>) -> Result<Command> {
    let places = [
        ("    group haproxy\n    chroot /var/lib/haproxy\n", String::new()),
        ("127.0.0.1:8443 send", format!("{} send", start.behind)),
        ("gt 200", "gt 1000000".to_owned()),
    ];
    start.haproxy("haproxy/passthrough.cfg", &places)
}

fn header(start: &Start<'_>) -> Result<Command> {
    let places =
        [("    group ddrop\n", String::new()), ("/run/ddrop/", start.files()), ("gt 400", "gt 1000000".to_owned())];
    start.haproxy("haproxy/header.cfg", &places)
}

fn nginx(start: &Start<'_>) -> Result<Command> {
    let places = [
        ("listen 443", format!("listen {}", start.own)),
        ("/etc/ddrop/proxy/", start.files()),
        ("/run/ddrop/", start.files()),
        ("rate=20r/s", "rate=1000000r/s".to_owned()),
        ("burst=100", "burst=1000000".to_owned()),
    ];
    let file = start.adapted("nginx/ddrop.conf", &places)?;
    // Debian's defaults around it, in one process, and connections that are not ended after a thousand requests.
    let around = format!(
        "daemon off; master_process off; pid nginx.pid; events {{ worker_connections 768; }}\n\
         http {{ sendfile on; tcp_nopush on; access_log access.log; keepalive_requests 1000000000;\n\
         client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;\n\
         scgi_temp_path scgi; include {}; }}\n",
        file.display()
    );
    fs::write(start.dir.join("nginx.conf"), around)?;
    let mut command = start.cores.server(&start.programs.nginx);
    command.arg("-p").arg(start.dir).args(["-c", "nginx.conf", "-e", "nginx-errors.log"]);
    Ok(command)
}

fn caddy(start: &Start<'_>) -> Result<Command> {
    let places = [
        // Clients here connect by address, which is no name that TLS could say.
        ("\tservers {\n", "\tservers {\n\t\tstrict_sni_host insecure_off\n".to_owned()),
        ("https://drop.example.org {", format!("https://:{} {{\n\tbind 127.0.0.1", start.own.port())),
        ("/etc/ddrop/proxy/", start.files()),
        ("unix//run/ddrop/", format!("unix/{}", start.files())),
        ("\tadmin off\n", "\tadmin off\n\tauto_https disable_redirects\n".to_owned()),
    ];
    let file = start.adapted("caddy/Caddyfile", &places)?;
    let mut command = start.cores.server(&start.programs.caddy);
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
    Ok(command)
}

/// Starts a proxy and waits until a server answers behind it.
async fn started(mut command: Command, dir: &Path, address: SocketAddr) -> Result<Target> {
    let log = dir.join(format!("proxy-{}.log", address.port()));
    command.env("DDROP_PROXY_SECRET", SECRET).env("HOME", dir).env("XDG_DATA_HOME", dir).env("XDG_CONFIG_HOME", dir);
    command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
    let mut process = Process::start(&mut command)?;
    let begun = Instant::now();
    while TcpStream::connect(address).await.is_err() {
        if process.child().try_wait()?.is_some() || begun.elapsed() > START {
            bail!("{}", fs::read_to_string(&log).unwrap_or_default());
        }
        sleep(Duration::from_millis(10)).await;
    }
    let target = Target { dialect: Dialect::Ddrop, address, process };
    while !is_ready(dir, address) {
        ensure!(
            begun.elapsed() < CHECKED,
            "nothing answers behind it: {}",
            fs::read_to_string(&log).unwrap_or_default()
        );
        sleep(Duration::from_millis(50)).await;
    }
    Ok(target)
}

fn is_ready(dir: &Path, address: SocketAddr) -> bool {
    let mut curl = Command::new("curl");
    curl.args(["-sf", "--max-time", "5", "--cacert"]).arg(dir.join("root.crt"));
    curl.arg(format!("https://{address}/health/ready")).stdout(Stdio::null()).stderr(Stdio::null());
    curl.status().is_ok_and(|status| status.success())
}

//! nginx as the peer: one process, its defaults, client certificates of our CA required.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::rig::process::{Cores, Process};
use crate::rig::target::{Dialect, START, Target};

/// The installed program.
pub(crate) struct Nginx {
    program: PathBuf,
    /// What it says of itself, such as `nginx/1.22.1`.
    pub(crate) version: String,
}

impl Nginx {
    /// Looks for nginx where Debian puts it, which is not in everybody's search path.
    ///
    /// # Errors
    /// When there is none, or one that cannot take uploads.
    pub(crate) fn find() -> Result<Self> {
        for program in ["nginx", "/usr/sbin/nginx"] {
            let Ok(output) = Command::new(program).arg("-V").output() else { continue };
            let about = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(about.contains("http_ssl_module"), "this nginx was built without TLS");
            ensure!(
                about.contains("http_dav_module"),
                "this nginx was built without http_dav_module: it takes no upload"
            );
            let version = about.lines().find_map(|line| line.strip_prefix("nginx version: ")).unwrap_or("nginx");
            return Ok(Self { program: program.into(), version: version.to_owned() });
        }
        bail!(
            "nginx is not installed, and everything here is measured beside it. On Debian:\n  \
             apt-get install -y --no-install-recommends nginx-light"
        )
    }

    /// Starts it in `dir`, letting in those whose certificates chain to `client_ca` (PEM); answers its root too.
    pub(crate) async fn start(
        &self,
        cores: &Cores,
        dir: &Path,
        client_ca: &Path,
    ) -> Result<(Target, CertificateDer<'static>)> {
        let root = certificate(dir).context("could not make a certificate for nginx")?;
        fs::create_dir(dir.join("www"))?;
        fs::copy(client_ca, dir.join("client-ca.crt"))?;
        let address = free_port()?;
        fs::write(dir.join("nginx.conf"), configuration(address))?;
        let mut command = cores.server(&self.program);
        command.arg("-p").arg(dir).args(["-c", "nginx.conf", "-e", "error.log"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Process::start(&mut command)?;
        let begun = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            let ended = process.child().try_wait()?;
            if ended.is_some() || begun.elapsed() > START {
                let log = fs::read_to_string(dir.join("error.log")).unwrap_or_default();
                bail!("nginx did not start:\n{log}");
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok((Target { dialect: Dialect::Dav, address, process }, root))
    }
}

/// A port that was free a moment ago: nginx cannot pick one.
fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Debian's defaults, less what a benchmark may not have: a limit of requests a connection, a limit of body size.
fn configuration(address: SocketAddr) -> String {
    format!(
        "daemon off;
master_process off;
pid nginx.pid;
events {{ worker_connections 768; }}
http {{
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    access_log access.log;
    client_body_temp_path body;
    fastcgi_temp_path fastcgi;
    proxy_temp_path proxy;
    scgi_temp_path scgi;
    uwsgi_temp_path uwsgi;
    server {{
        listen {address} ssl;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate server.crt;
        ssl_certificate_key server.key;
        ssl_client_certificate client-ca.crt;
        ssl_verify_client on;
        ssl_verify_depth 3;
        root www;
        dav_methods PUT DELETE;
    }}
}}
"
    )
}

/// Writes a server certificate under an issuing CA under a root, all P-256, as ddrop has it. Answers the root.
fn certificate(dir: &Path) -> Result<CertificateDer<'static>> {
    let root = CertifiedIssuer::self_signed(authority("bench root")?, KeyPair::generate()?)?;
    let issuing = CertifiedIssuer::signed_by(authority("bench issuing CA")?, KeyPair::generate()?, &root)?;
    let key = KeyPair::generate()?;
    let mut server = dated(CertificateParams::new(vec![Ipv4Addr::LOCALHOST.to_string()])?);
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server = server.signed_by(&key, &issuing)?;
    fs::write(dir.join("server.crt"), server.pem() + &issuing.pem())?;
    let file = File::options().write(true).create_new(true).mode(0o600).open(dir.join("server.key"));
    file?.write_all(key.serialize_pem().as_bytes())?;
    Ok(root.der().clone())
}

fn authority(name: &str) -> Result<CertificateParams> {
    let mut params = dated(CertificateParams::new(Vec::new())?);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn dated(mut params: CertificateParams) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - time::Duration::hours(1);
    params.not_after = now + time::Duration::days(1);
    params
}

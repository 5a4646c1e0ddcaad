//! The revocation list of everything that was revoked: how long it takes, how large it is, who waits for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use reqwest::{Client, Method};
use rustls::ClientConfig;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::REVOKED;
use crate::rig::process::Process;
use crate::rig::run::median;

/// The admin, on kept-alive connections.
#[derive(Clone)]
pub(crate) struct Asker {
    http: Client,
    base: String,
}

impl Asker {
    pub(crate) fn new(address: SocketAddr, tls: &Arc<ClientConfig>) -> Result<Self> {
        let http = Client::builder().tls_backend_preconfigured((**tls).clone()).no_proxy().build()?;
        Ok(Self { http, base: format!("https://{address}") })
    }

    /// The answer and how long it took.
    async fn ask(&self, method: Method, path: &str, body: String) -> Result<(Bytes, Duration)> {
        let begun = Instant::now();
        let request = self.http.request(method, format!("{}{path}", self.base)).body(body);
        let response = request.header("content-type", "application/json").send().await?;
        let status = response.status();
        let body = response.bytes().await?;
        ensure!(status.is_success(), "{path} was answered {status}: {}", String::from_utf8_lossy(&body));
        Ok((body, begun.elapsed()))
    }

    async fn list(&self) -> Result<(Bytes, Duration)> {
        self.ask(Method::GET, "/pki/crl", String::new()).await
    }
}

/// Prints what the list costs: the first, one that is kept, one after one more revocation.
pub(crate) async fn measure(asker: &Asker, process: &Process, rounds: usize) -> Result<()> {
    process.forget_peak()?;
    let (list, first) = asker.list().await?;
    let peak = process.peak()?;
    let entries = entries(&list)?;
    ensure!(entries.len() == REVOKED, "the list has {} entries", entries.len());
    let (mut kept, mut revoking, mut anew, mut waited) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (pem, first_pem) = asker.ask(Method::GET, "/pki/crl.pem", String::new()).await?;
    for round in 0..rounds {
        kept.push(millis(asker.list().await?.1));
        let name = format!("leaver-{round}");
        let issue = serde_json::json!({ "common_name": name }).to_string();
        asker.ask(Method::POST, "/pki/issue", issue).await?;
        let revoke = serde_json::json!({ "name": name }).to_string();
        revoking.push(millis(asker.ask(Method::POST, "/pki/revoke", revoke).await?.1));
        let (asked, other) = tokio::join!(asker.list(), longest_wait(asker));
        anew.push(millis(asked?.1));
        waited.push(millis(other?));
    }
    let quiet = median(quiet_waits(asker, rounds).await?);
    println!("the list of {REVOKED} certificates: {:.2} MiB in DER, {:.2} MiB in PEM", mib(list.len()), mib(pem.len()));
    println!("  first asked for       {:>8.1} ms, then in PEM {:.1} ms", millis(first), millis(first_pem));
    println!("  kept                  {:>8.1} ms (most of it the transfer)", median(kept));
    println!("  one more is revoked   {:>8.1} ms", median(revoking));
    println!("  asked for after that  {:>8.1} ms", median(anew));
    println!("  another request then  {:>8.1} ms at the longest, without a list {quiet:.1} ms", median(waited));
    println!("  memory of the server  {peak:>8.1} MiB at its peak for the first, {:.1} MiB after all", process.peak()?);
    Ok(())
}

/// The serial numbers of a list.
fn entries(list: &[u8]) -> Result<Vec<Vec<u8>>> {
    let (_, parsed) = CertificateRevocationList::from_der(list).context("the list cannot be read")?;
    Ok(parsed.iter_revoked_certificates().map(|one| one.raw_serial().to_vec()).collect())
}

/// The longest that one of many short requests took while something else went on.
async fn longest_wait(asker: &Asker) -> Result<Duration> {
    let (begun, mut longest) = (Instant::now(), Duration::ZERO);
    while begun.elapsed() < Duration::from_millis(600) {
        longest = longest.max(asker.ask(Method::GET, "/api/whoami", String::new()).await?.1);
    }
    Ok(longest)
}

async fn quiet_waits(asker: &Asker, rounds: usize) -> Result<Vec<f64>> {
    let mut all = Vec::new();
    for _ in 0..rounds {
        all.push(millis(longest_wait(asker).await?));
    }
    Ok(all)
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

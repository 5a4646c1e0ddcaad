//! The five workloads, each the same for either server, and what one run of each costs.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustls::ClientConfig;
use tokio::task::JoinSet;

use crate::rig::content::Content;
use crate::rig::http::{Connection, Load};
use crate::rig::target::Target;
use crate::rig::tls;

/// Bytes of a small file.
pub(crate) const SMALL_FILE: u64 = 1024;
/// Connections on which small files are fetched at once.
pub(crate) const KEPT_ALIVE: usize = 16;
/// Handshakes that are made at once.
pub(crate) const DIALLERS: usize = 8;

/// How much of everything.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    /// Times that everything is done on both servers.
    pub(crate) rounds: usize,
    /// Bytes of the large file.
    pub(crate) bulk: u64,
    /// How long each of the workloads without a natural end lasts.
    pub(crate) span: Duration,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    Upload,
    Download,
    SmallFetch,
    FullHandshake,
    ResumedHandshake,
}

impl Workload {
    pub(crate) const ALL: [Self; 5] =
        [Self::Upload, Self::Download, Self::SmallFetch, Self::FullHandshake, Self::ResumedHandshake];
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Upload => "upload",
            Self::Download => "download",
            Self::SmallFetch => "small fetches",
            Self::FullHandshake => "full handshakes",
            Self::ResumedHandshake => "resumed handshakes",
        })
    }
}

/// What one run of one workload on one server showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Operations (for the large file: bytes) a second.
    pub(crate) rate: f64,
    /// CPU seconds of the server for one of them.
    pub(crate) cpu: f64,
    /// The part of one core that the server used.
    pub(crate) busy: f64,
    /// MiB.
    pub(crate) peak_memory: f64,
    /// The part of the handshakes that were resumptions.
    pub(crate) resumed: f64,
}

/// What was done in one run.
#[derive(Clone, Copy, Default)]
struct Done {
    operations: u64,
    resumed: u64,
}

/// The load generator and what it needs for one server.
pub(crate) struct Generator {
    pub(crate) target: Target,
    tls: Arc<ClientConfig>,
    content: Arc<Content>,
    small: String,
    bulk: Option<String>,
}

impl Generator {
    /// Puts the small file on the server.
    pub(crate) async fn new(target: Target, tls: Arc<ClientConfig>, content: Arc<Content>) -> Result<Self> {
        let small = target.upload(&tls, &content, SMALL_FILE).await.context("the small file could not be uploaded")?;
        Ok(Self { target, tls, content, small, bulk: None })
    }

    /// Runs one workload once.
    pub(crate) async fn run(&mut self, workload: Workload, extent: Extent) -> Result<Sample> {
        let sample = match workload {
            Workload::Upload => self.upload(extent.bulk).await,
            Workload::Download => self.download(extent.bulk).await,
            Workload::SmallFetch => self.small_fetches(extent.span).await,
            Workload::FullHandshake => self.handshakes(extent.span, false).await,
            Workload::ResumedHandshake => self.handshakes(extent.span, true).await,
        };
        sample.with_context(|| format!("{workload} on {}", self.target.name()))
    }

    /// Removes the large file.
    pub(crate) async fn tidy(&mut self) -> Result<()> {
        let Some(path) = self.bulk.take() else { return Ok(()) };
        self.target.remove(&self.tls, &path).await.context("the large file could not be removed")
    }

    async fn upload(&mut self, size: u64) -> Result<Sample> {
        let sending = async {
            self.bulk = Some(self.target.upload(&self.tls, &self.content, size).await?);
            Ok(Done { operations: size, resumed: 0 })
        };
        measured(&self.target, sending).await
    }

    async fn download(&self, size: u64) -> Result<Sample> {
        let path = self.bulk.as_deref().context("nothing was uploaded")?;
        measured(&self.target, async {
            self.target.download(&self.tls, path, &self.content, size).await?;
            Ok(Done { operations: size, resumed: 0 })
        })
        .await
    }

    async fn small_fetches(&self, span: Duration) -> Result<Sample> {
        let request: Arc<str> = self.target.get(&self.small, "").into();
        let mut connections = Vec::new();
        for _ in 0..KEPT_ALIVE {
            let mut connection = Connection::open(self.target.address, &self.tls, Load::Small).await?;
            connection.fetch(&request, self.content.first(SMALL_FILE)).await?;
            connections.push(connection);
        }
        let workers = connections.into_iter().map(|mut connection| {
            let (request, content) = (Arc::clone(&request), Arc::clone(&self.content));
            async move {
                let (begun, mut operations) = (Instant::now(), 0);
                while begun.elapsed() < span {
                    connection.fetch(&request, content.first(SMALL_FILE)).await?;
                    operations += 1;
                }
                Ok(Done { operations, resumed: 0 })
            }
        });
        measured(&self.target, all(workers)).await
    }

    async fn handshakes(&self, span: Duration, resuming: bool) -> Result<Sample> {
        let mut diallers = Vec::new();
        for _ in 0..DIALLERS {
            let tls = if resuming { Arc::new(tls::resuming(&self.tls)) } else { Arc::clone(&self.tls) };
            let dialler = Dialler {
                address: self.target.address,
                tls,
                request: self.target.get(&self.small, "Connection: close\r\n"),
                content: Arc::clone(&self.content),
            };
            // Brings the first ticket.
            dialler.dial().await?;
            diallers.push(dialler);
        }
        let workers = diallers.into_iter().map(|dialler| async move {
            let (begun, mut done) = (Instant::now(), Done::default());
            while begun.elapsed() < span {
                done.resumed += u64::from(dialler.dial().await?);
                done.operations += 1;
            }
            Ok(done)
        });
        measured(&self.target, all(workers)).await
    }
}

/// Makes one connection after the other.
struct Dialler {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    request: String,
    content: Arc<Content>,
}

impl Dialler {
    /// One connection with one small fetch, which proves that the server took the certificate; whether it was resumed.
    async fn dial(&self) -> Result<bool> {
        let mut connection = Connection::open(self.address, &self.tls, Load::Small).await?;
        connection.fetch(&self.request, self.content.first(SMALL_FILE)).await?;
        let resumed = connection.resumed();
        connection.closed().await?;
        Ok(resumed)
    }
}

/// Runs all of `workers` at once and adds up what they did.
async fn all<F>(workers: impl Iterator<Item = F>) -> Result<Done>
where
    F: Future<Output = Result<Done>> + Send + 'static,
{
    let mut set: JoinSet<Result<Done>> = workers.collect();
    let mut sum = Done::default();
    while let Some(done) = set.join_next().await {
        let done = done??;
        sum.operations += done.operations;
        sum.resumed += done.resumed;
    }
    Ok(sum)
}

/// Runs `work` and takes the server's CPU time and memory around it.
async fn measured(target: &Target, work: impl Future<Output = Result<Done>>) -> Result<Sample> {
    target.process.forget_peak()?;
    let (cpu, begun) = (target.process.cpu()?, Instant::now());
    let done = work.await?;
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), target.process.cpu()? - cpu);
    ensure!(done.operations > 0, "nothing was done");
    let operations = done.operations as f64;
    Ok(Sample {
        rate: operations / seconds,
        cpu: cpu / operations,
        busy: cpu / seconds,
        peak_memory: target.process.peak()?,
        resumed: done.resumed as f64 / operations,
    })
}

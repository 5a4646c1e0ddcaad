//! The workloads, each the same by every way in, and what one run of each costs.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustls::ClientConfig;
use tokio::task::JoinSet;

use crate::fronts::{Fronts, Way};
use crate::rig::content::Content;
use crate::rig::http::{Connection, Load};

/// Bytes of a small file.
pub(crate) const SMALL_FILE: u64 = 1024;
/// Connections on which small files are fetched at once.
pub(crate) const KEPT_ALIVE: usize = 16;
/// Connections that are made at once.
pub(crate) const DIALLERS: usize = 8;

/// How much of everything.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    /// Times that everything is done by every way.
    pub(crate) rounds: usize,
    /// Bytes of the large file.
    pub(crate) bulk: u64,
    /// How long each of the workloads without a natural end lasts.
    pub(crate) span: Duration,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    SmallFetch,
    NewConnection,
    Upload,
    Download,
}

impl Workload {
    pub(crate) const ALL: [Self; 4] = [Self::SmallFetch, Self::NewConnection, Self::Upload, Self::Download];

    /// Whether operations are bytes.
    pub(crate) fn is_bulk(self) -> bool {
        matches!(self, Self::Upload | Self::Download)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SmallFetch => "small fetches",
            Self::NewConnection => "new connections",
            Self::Upload => "upload",
            Self::Download => "download",
        })
    }
}

/// What one run of one workload by one way in showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Operations (for the large file: bytes) a second.
    pub(crate) rate: f64,
    /// CPU seconds of the server for one of them.
    pub(crate) server: f64,
    /// CPU seconds of the proxy for one of them.
    pub(crate) proxy: f64,
}

/// The load generator and what it needs.
pub(crate) struct Generator {
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) content: Arc<Content>,
    /// Where the small file is.
    pub(crate) small: String,
}

impl Generator {
    /// Runs one workload once.
    pub(crate) async fn run(&self, workload: Workload, fronts: &Fronts, way: &Way, extent: Extent) -> Result<Sample> {
        let target = fronts.target(way)?;
        let (tls, content) = (&self.tls, &self.content);
        match workload {
            Workload::SmallFetch => {
                let request = target.get(&self.small, "");
                let workers = self.kept_alive(target.address, &request, extent.span).await?;
                measured(fronts, way, all(workers.into_iter())).await
            }
            Workload::NewConnection => {
                let request = target.get(&self.small, "Connection: close\r\n");
                measured(fronts, way, all(self.diallers(target.address, &request, extent.span))).await
            }
            Workload::Upload => {
                let mut path = None;
                let sample = measured(fronts, way, async {
                    path = Some(target.upload(tls, content, extent.bulk).await?);
                    Ok(extent.bulk)
                })
                .await?;
                target.remove(tls, &path.context("nothing was uploaded")?).await?;
                Ok(sample)
            }
            Workload::Download => {
                let path = target.upload(tls, content, extent.bulk).await?;
                let sample = measured(fronts, way, async {
                    target.download(tls, &path, content, extent.bulk).await?;
                    Ok(extent.bulk)
                })
                .await?;
                target.remove(tls, &path).await?;
                Ok(sample)
            }
        }
    }

    /// Connections that are open already, and what each then does.
    async fn kept_alive(
        &self,
        address: SocketAddr,
        request: &str,
        span: Duration,
    ) -> Result<Vec<impl Future<Output = Result<u64>> + Send + 'static>> {
        let mut workers = Vec::new();
        for _ in 0..KEPT_ALIVE {
            let mut connection = Connection::open(address, &self.tls, Load::Small).await?;
            connection.fetch(request, self.content.first(SMALL_FILE)).await?;
            let (request, content) = (request.to_owned(), Arc::clone(&self.content));
            workers.push(async move {
                let (begun, mut operations) = (Instant::now(), 0);
                while begun.elapsed() < span {
                    connection.fetch(&request, content.first(SMALL_FILE)).await?;
                    operations += 1;
                }
                Ok(operations)
            });
        }
        Ok(workers)
    }

    fn diallers(
        &self,
        address: SocketAddr,
        request: &str,
        span: Duration,
    ) -> impl Iterator<Item = impl Future<Output = Result<u64>> + Send + 'static> {
        (0..DIALLERS).map(move |_| {
            let (tls, request, content) = (Arc::clone(&self.tls), request.to_owned(), Arc::clone(&self.content));
            async move {
                let (begun, mut operations) = (Instant::now(), 0);
                while begun.elapsed() < span {
                    let mut connection = Connection::open(address, &tls, Load::Small).await?;
                    // Only an answer proves that a TLS 1.3 server took the certificate.
                    connection.fetch(&request, content.first(SMALL_FILE)).await?;
                    connection.closed().await?;
                    operations += 1;
                }
                Ok(operations)
            }
        })
    }
}

/// Runs all of `workers` at once and adds up what they did.
async fn all<F>(workers: impl Iterator<Item = F>) -> Result<u64>
where
    F: Future<Output = Result<u64>> + Send + 'static,
{
    let mut set: JoinSet<Result<u64>> = workers.collect();
    let mut sum = 0;
    while let Some(done) = set.join_next().await {
        sum += done??;
    }
    Ok(sum)
}

/// Runs `work` and takes the CPU time of server and proxy around it.
async fn measured(fronts: &Fronts, way: &Way, work: impl Future<Output = Result<u64>>) -> Result<Sample> {
    let (before, begun) = (fronts.cpu(way)?, Instant::now());
    let operations = work.await? as f64;
    let (seconds, after) = (begun.elapsed().as_secs_f64(), fronts.cpu(way)?);
    ensure!(operations > 0.0, "nothing was done");
    Ok(Sample {
        rate: operations / seconds,
        server: (after.0 - before.0) / operations,
        proxy: (after.1 - before.1) / operations,
    })
}

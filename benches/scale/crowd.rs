//! What many large transfers at once do to the server's memory.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use rustls::ClientConfig;
use tokio::task::JoinSet;

use crate::Extent;
use crate::rig::content::Content;
use crate::rig::process::Cores;
use crate::rig::target::Target;
use crate::rig::{ddrop, tls};

/// Bytes of transfers so short that few of them run at once.
const LITTLE: u64 = 4 << 20;

/// Uploads and downloads at once; the peak of resident memory in MiB.
async fn crowd(
    target: &Arc<Target>,
    tls: &Arc<ClientConfig>,
    content: &Arc<Content>,
    each: usize,
    size: u64,
) -> Result<f64> {
    let link = target.upload(tls, content, size).await?;
    target.process.forget_peak()?;
    let mut all: JoinSet<Result<String>> = JoinSet::new();
    for _ in 0..each {
        let (to, tls, content) = (Arc::clone(target), Arc::clone(tls), Arc::clone(content));
        all.spawn(async move { to.upload(&tls, &content, size).await });
    }
    for _ in 0..each {
        let (from, tls, content, path) = (Arc::clone(target), Arc::clone(tls), Arc::clone(content), link.clone());
        all.spawn(async move {
            from.download(&tls, &path, &content, size).await?;
            Ok(path)
        });
    }
    let mut made = all.join_all().await.into_iter().collect::<Result<Vec<String>>>()?;
    let peak = target.process.peak()?;
    made.sort_unstable();
    made.dedup();
    for path in made {
        target.remove(tls, &path).await?;
    }
    Ok(peak)
}

pub(crate) async fn measure(cores: &Cores, dir: &Path, extent: Extent) -> Result<String> {
    let settings = ["--max-storage-mb", "65536", "--max-file-size-mb", "1024"];
    let (target, enrolled) = ddrop::start(cores, dir, &settings).await?;
    let (target, tls) = (Arc::new(target), Arc::new(tls::client(&enrolled, None)?));
    let content = Arc::new(Content::random()?);
    let mut page =
        format!("crowd     {0} uploads and {0} downloads at once, each on a connection of its own\n\n", extent.crowd);
    writeln!(page, "{:>14}  {:>22}", "bytes of each", "peak of memory (MiB)")?;
    for size in [LITTLE, extent.body / 4, extent.body] {
        let begun = Instant::now();
        let peak = crowd(&target, &tls, &content, extent.crowd, size).await?;
        writeln!(page, "{:>10} MiB  {peak:>22.1}   in {:.1} s", size >> 20, begun.elapsed().as_secs_f64())?;
    }
    Ok(page)
}

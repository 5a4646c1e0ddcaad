//! One request at a time on a connection that stays open, and how long each took.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustls::ClientConfig;

use crate::fill::SIZE;
use crate::rig::content::Content;
use crate::rig::http::{Connection, Load};
use crate::rig::target::Target;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// The first page of everyone's links.
    Page,
    /// The first page of one's own.
    OwnPage,
    /// The content of a link, each time of another one.
    Fetch,
    /// A new link.
    Upload,
}

impl Ask {
    pub(crate) const ALL: [Self; 4] = [Self::Page, Self::OwnPage, Self::Fetch, Self::Upload];
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Page => "page of all",
            Self::OwnPage => "page of one's own",
            Self::Fetch => "fetch",
            Self::Upload => "upload",
        })
    }
}

/// A connection that asks one kind of thing.
pub(crate) struct Probe {
    connection: Connection,
    content: Content,
    heads: Vec<String>,
    ask: Ask,
    next: usize,
}

impl Probe {
    /// `ids`: what there is to fetch.
    pub(crate) async fn open(target: &Target, tls: &Arc<ClientConfig>, ask: Ask, ids: &[String]) -> Result<Self> {
        let heads = match ask {
            Ask::Page => vec![target.get("/api/links", "")],
            Ask::OwnPage => vec![target.get("/api/links?own=true", "")],
            Ask::Fetch => ids.iter().map(|id| target.get(&format!("/{id}"), "")).collect(),
            Ask::Upload => {
                vec![target.head("POST", "/api/upload?name=a&ttl=1h", &format!("Content-Length: {SIZE}\r\n"))]
            }
        };
        let connection = Connection::open(target.address, tls, Load::Bulk).await?;
        let mut probe = Self { connection, content: Content::zeros(), heads, ask, next: 0 };
        // The server looks at the certificate once per connection.
        probe.once().await?;
        Ok(probe)
    }

    /// Asks once; how long that took.
    pub(crate) async fn once(&mut self) -> Result<Duration> {
        let head = self.heads.get(self.next % self.heads.len().max(1)).context("nothing to ask for")?;
        self.next += 1;
        let begun = Instant::now();
        match self.ask {
            Ask::Fetch => self.connection.fetch(head, self.content.first(SIZE)).await?,
            Ask::Page | Ask::OwnPage | Ask::Upload => {
                let body = self.content.first(if self.ask == Ask::Upload { SIZE } else { 0 });
                let (answer, _) = self.connection.send(head, body).await?;
                ensure!(matches!(answer.status, 200 | 201), "{}: answered {}", self.ask, answer.status);
            }
        }
        Ok(begun.elapsed())
    }
}

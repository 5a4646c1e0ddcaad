//! A server under test: where it is, how it is asked, what it costs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustls::ClientConfig;

use super::content::Content;
use super::http::{Connection, Head, Load};
use super::process::Process;

/// How long a server may take until it accepts connections: with many files it counts them first.
pub(crate) const START: Duration = Duration::from_secs(120);

/// Whose way of taking and removing files it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// nginx: WebDAV's `PUT` and `DELETE`.
    Dav,
    /// ddrop: its own API.
    Ddrop,
}

/// A server under test.
pub(crate) struct Target {
    pub(crate) dialect: Dialect,
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
}

impl Target {
    pub(crate) fn name(&self) -> &'static str {
        match self.dialect {
            Dialect::Dav => "nginx",
            Dialect::Ddrop => "ddrop",
        }
    }

    /// Uploads the first `size` bytes of `content`; answers the path under which they can be fetched.
    pub(crate) async fn upload(&self, tls: &Arc<ClientConfig>, content: &Content, size: u64) -> Result<String> {
        let mut connection = Connection::open(self.address, tls, Load::Bulk).await?;
        let (method, path) = match self.dialect {
            Dialect::Dav => ("PUT", format!("/{size}.bin")),
            Dialect::Ddrop => ("POST", format!("/api/upload?name={size}.bin&ttl=1h")),
        };
        let fields = format!("Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n");
        let (head, body) = connection.send(&self.head(method, &path, &fields), content.first(size)).await?;
        ensure!(head.status == 201, "an upload was answered {}", shown(&head, &body));
        match self.dialect {
            Dialect::Dav => Ok(path),
            Dialect::Ddrop => {
                let answer: serde_json::Value = serde_json::from_slice(&body).context("the answer is no JSON")?;
                let id = answer.get("id").and_then(serde_json::Value::as_str).context("the answer has no id")?;
                Ok(format!("/{id}"))
            }
        }
    }

    /// Fetches what was uploaded, on a connection of its own.
    pub(crate) async fn download(
        &self,
        tls: &Arc<ClientConfig>,
        path: &str,
        content: &Content,
        size: u64,
    ) -> Result<()> {
        let mut connection = Connection::open(self.address, tls, Load::Bulk).await?;
        connection.fetch(&self.get(path, ""), content.first(size)).await
    }

    /// Removes what was uploaded, so that it takes no room in the next round.
    pub(crate) async fn remove(&self, tls: &Arc<ClientConfig>, path: &str) -> Result<()> {
        let mut connection = Connection::open(self.address, tls, Load::Small).await?;
        let path = match self.dialect {
            Dialect::Dav => path.to_owned(),
            Dialect::Ddrop => format!("/api/links{path}"),
        };
        let head = self.head("DELETE", &path, "Content-Length: 0\r\n");
        let (head, body) = connection.send(&head, Content::nothing().first(0)).await?;
        ensure!(matches!(head.status, 200 | 204), "a removal was answered {}", shown(&head, &body));
        Ok(())
    }

    /// The head of a fetch with extra header `fields`.
    pub(crate) fn get(&self, path: &str, fields: &str) -> String {
        self.head("GET", path, fields)
    }

    pub(crate) fn head(&self, method: &str, path: &str, fields: &str) -> String {
        format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", self.address)
    }
}

fn shown(head: &Head, body: &[u8]) -> String {
    format!("{}: {}", head.status, String::from_utf8_lossy(body).chars().take(400).collect::<String>())
}

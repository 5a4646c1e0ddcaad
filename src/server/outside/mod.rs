//! What a request is seen from outside: where it comes from, what it was addressed to, what its sender shows. A client
//! that connects itself says none of that; a proven proxy does, in headers nobody further in ever sees.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;

use super::App;
use super::connection::Connection;

mod forwarded;
mod proxies;
mod shown;

pub use proxies::Proxies;
pub(super) use shown::{DISAGREE, Shown};

/// Headers by which only a proxy speaks.
const HEADERS: [&str; 13] = [
    "client-cert",
    "client-cert-chain",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-proxy-secret",
    "x-real-ip",
    "x-ssl-client-cert",
    "x-ssl-client-sha1",
    "x-ssl-client-sha256",
    "x-ssl-client-verify",
];

/// How a request is seen from outside.
#[derive(Clone, Debug)]
pub(super) struct Outside {
    /// Where its sender is; `None`: on this machine, by a Unix socket.
    pub(super) address: Option<IpAddr>,
    /// Whether its sender speaks TLS, with us or with the proxy.
    pub(super) https: bool,
    /// What it was addressed to, if that is not what its own header says.
    pub(super) host: Option<String>,
    /// What a proxy says its sender shows.
    pub(super) shown: Shown,
}

impl Outside {
    fn of(app: &App, connection: &Connection, headers: &HeaderMap) -> Self {
        let address = connection.peer.address;
        let Some(proxies) = &connection.proxies else {
            return Self { address, https: true, host: None, shown: Shown::Nothing };
        };
        let public = app.settings.public_url.as_ref().is_some_and(|url| url.scheme() == "https");
        if !connection.is_heard || !proxies.are_proven_by(headers) {
            return Self { address, https: public, host: None, shown: Shown::Nothing };
        }
        let said = forwarded::Said::read(headers, &proxies.networks);
        Self {
            address: said.client.or(address),
            https: said.https.unwrap_or(public),
            host: said.host,
            shown: Shown::read(headers),
        }
    }
}

/// Sees a request from outside, and takes what only proxies say off it, whoever said it.
pub(super) async fn outside<F: Future<Output = Response>>(
    app: &App,
    mut request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    if let Some(connection) = request.extensions().get::<Arc<Connection>>() {
        let outside = Outside::of(app, connection, request.headers());
        request.extensions_mut().insert(outside);
    }
    // Most requests have few headers and none of these.
    let said: Vec<_> = request.headers().keys().filter(|name| HEADERS.contains(&name.as_str())).cloned().collect();
    for name in said {
        request.headers_mut().remove(name);
    }
    next(request).await
}

//! Who is believed when it speaks for others.

use std::net::IpAddr;

use arc_swap::ArcSwapOption;
use axum::http::HeaderMap;

use crate::server::networks::Networks;
use crate::server::reports::Reports;
use crate::token::Secret;

/// The header in which a proxy proves to be ours.
const SECRET: &str = "x-proxy-secret";

/// The proxies in front of a plain listener.
#[derive(Debug)]
pub struct Proxies {
    /// Where they are; hops of a chain of proxies too.
    pub networks: Networks,
    /// The secret is all the proof there is: a proxy may be anywhere.
    pub anywhere: bool,
    /// What each request of theirs has to carry; can be replaced while the server runs.
    pub secret: ArcSwapOption<Secret>,
    /// What a proxy without the right secret makes us say.
    reports: Reports,
}

impl Proxies {
    /// Proxies in these networks, or anywhere, that have this secret.
    pub fn new(networks: Networks, anywhere: bool, secret: Option<Secret>) -> Self {
        let secret = ArcSwapOption::from(secret.map(std::sync::Arc::new));
        Self { networks, anywhere, secret, reports: Reports::default() }
    }

    /// Whether someone who connects from here may be one. On a Unix socket the file's mode has decided that.
    pub(in crate::server) fn may_be_at(&self, address: Option<IpAddr>) -> bool {
        address.is_none_or(|address| self.anywhere || self.networks.contain(address))
    }

    /// Whether a request carries the secret: once, and whole.
    pub(in crate::server) fn are_proven_by(&self, headers: &HeaderMap) -> bool {
        let Some(secret) = self.secret.load_full() else { return !self.anywhere };
        let mut said = headers.get_all(SECRET).iter();
        let right = match (said.next(), said.next()) {
            (Some(one), None) => one.to_str().is_ok_and(|text| secret.matches(text)),
            _ => false,
        };
        if !right {
            self.reports.tell(|| {
                tracing::warn!("a request came without the right X-Proxy-Secret: its other headers are not believed");
            });
        }
        right
    }
}

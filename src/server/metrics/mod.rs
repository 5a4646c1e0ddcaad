//! What is counted, for whoever watches over the server.
//!
//! Labels are words of this program and templates of its routes: never an id, an address or a name, so that there are
//! as many series as there are lines of code that make them.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::http::Method;

use crate::link::{Kind, Link};

pub(super) mod scrape;
mod text;

pub(super) use text::{Gauges, MEDIA_TYPE};

/// Everything that is counted.
#[derive(Debug)]
pub(super) struct Metrics {
    /// Links that were made, by kind.
    created: Counter,
    /// Readings of what links lead to, by kind.
    accessed: Counter,
    /// Links that ended, by kind and why.
    deleted: Counter,
    /// What came too often, by which limit.
    pub(super) limited: Counter,
    /// Proofs of work, by what became of them.
    pub(super) work: Counter,
    /// Content that was not taken, by why.
    pub(super) unwanted: Counter,
    /// Connections that came, by what became of them.
    pub(super) connections: Counter,
    /// TLS handshakes, by how they ended.
    pub(super) handshakes: Counter,
    /// Connections that are open.
    pub(super) open: AtomicI64,
    /// Bytes of content that came.
    pub(super) received: AtomicU64,
    /// Bytes of content that went out.
    pub(super) sent: AtomicU64,
    routes: RwLock<HashMap<String, Arc<Route>>>,
}

/// A count for each of a few words, or pairs of words.
#[derive(Debug)]
pub(super) struct Counter {
    name: &'static str,
    help: &'static str,
    labels: Labels,
    values: Mutex<BTreeMap<Words, u64>>,
}

/// The names of one label or two; the second may be empty.
type Labels = [&'static str; 2];

/// A word for each of them.
type Words = [&'static str; 2];

impl Counter {
    fn new(name: &'static str, help: &'static str, label: &'static str, words: &[&'static str]) -> Self {
        Self::of([label, ""], name, help, words.iter().map(|word| [*word, ""]))
    }

    fn of(labels: Labels, name: &'static str, help: &'static str, words: impl Iterator<Item = Words>) -> Self {
        Self { name, help, labels, values: Mutex::new(words.map(|words| (words, 0)).collect()) }
    }

    /// One more of this word.
    pub(super) fn one(&self, word: &'static str) {
        self.add([word, ""], 1);
    }

    /// So many more of these.
    fn add(&self, words: Words, more: u64) {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let value = values.entry(words).or_default();
        *value = value.saturating_add(more);
    }

    fn snapshot(&self) -> BTreeMap<Words, u64> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Upper ends of the buckets, in microseconds.
const BUCKETS: [u64; 13] =
    [500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000, 30_000_000];

/// Methods that are told apart; all others are one.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "other"];

/// More routes than the router will ever have; what comes beyond is counted with what matches none.
const ROUTES: usize = 512;

/// The requests to one route, by method.
#[derive(Debug, Default)]
struct Route([Requests; METHODS.len()]);

#[derive(Debug, Default)]
struct Requests {
    statuses: Mutex<BTreeMap<u16, u64>>,
    /// Each request in the one bucket it belongs to; the last is for those that took longer than all of them.
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
}

impl Requests {
    fn count(&self, status: u16, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        *self.statuses.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() += 1;
        if let Some(bucket) = self.buckets.get(BUCKETS.partition_point(|end| *end < micros)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Metrics {
    pub(super) fn new() -> Self {
        let kinds = &[Kind::File, Kind::Paste, Kind::Url].map(word);
        let ends = ["burned", "by_owner", "expired"];
        Self {
            created: Counter::new("ddrop_links_created", "Links that were made.", "kind", kinds),
            accessed: Counter::new("ddrop_links_accessed", "Readings of what links lead to.", "kind", kinds),
            deleted: Counter::of(
                ["kind", "why"],
                "ddrop_links_deleted",
                "Links that ended.",
                kinds.iter().flat_map(|kind| ends.map(|why| [*kind, why])),
            ),
            limited: Counter::new(
                "ddrop_rate_limited",
                "Requests that were refused because they came too often.",
                "limit",
                &["creations", "invites", "misses", "requests", "tokens"],
            ),
            work: Counter::new(
                "ddrop_pow",
                "Challenges that were handed out, and what became of proofs of work.",
                "result",
                &["accepted", "challenge", "expired", "forged", "missing", "spent", "too_easy", "wrong"],
            ),
            unwanted: Counter::new(
                "ddrop_content_refused",
                "Content that was not taken.",
                "why",
                &["duplicate", "low_entropy", "too_small"],
            ),
            connections: Counter::new(
                "ddrop_connections_accepted",
                "Connections that came, and whether they were served.",
                "result",
                &["refused", "served"],
            ),
            handshakes: Counter::new(
                "ddrop_tls_handshakes",
                "TLS handshakes.",
                "result",
                &["failed", "full", "resumed", "timeout"],
            ),
            open: AtomicI64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            routes: RwLock::default(),
        }
    }

    /// A request was answered.
    pub(super) fn request(&self, method: &Method, route: &str, status: u16, took: Duration) {
        let known = self.routes.read().unwrap_or_else(PoisonError::into_inner).get(route).cloned();
        let route = known.unwrap_or_else(|| self.new_route(route));
        let method = METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(METHODS.len() - 1);
        if let Some(requests) = route.0.get(method) {
            requests.count(status, took);
        }
    }

    /// A link was made.
    pub(super) fn created(&self, link: &Link) {
        self.created.one(word(link.kind));
    }

    /// So many links of a kind ended.
    pub(super) fn ended(&self, kind: Kind, why: &'static str, many: u64) {
        self.deleted.add([word(kind), why], many);
    }

    /// What a link leads to is read.
    pub(super) fn reading(&self, link: &Link) {
        self.accessed.one(word(link.kind));
        if link.burn {
            self.ended(link.kind, "burned", 1);
        }
    }

    fn new_route(&self, route: &str) -> Arc<Route> {
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let name = if routes.len() < ROUTES { route } else { "-" };
        Arc::clone(routes.entry(name.to_owned()).or_default())
    }

    /// A connection that is open until this is dropped.
    pub(super) fn connection(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Open(Arc<Metrics>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The word for a kind of link.
fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Paste => "paste",
        Kind::Url => "url",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_in_the_bucket_it_belongs_to() {
        let requests = Requests::default();
        for (micros, bucket) in [(0, 0), (500, 0), (501, 1), (1000, 1), (30_000_000, 12), (30_000_001, 13)] {
            let before = requests.buckets[bucket].load(Ordering::Relaxed);
            requests.count(200, Duration::from_micros(micros));
            assert_eq!(requests.buckets[bucket].load(Ordering::Relaxed), before + 1, "{micros}");
        }
    }

    #[test]
    fn there_are_never_more_series_than_that() {
        let metrics = Metrics::new();
        for n in 0..10_000 {
            let method = Method::from_bytes(format!("M{n}").as_bytes()).expect("a method");
            metrics.request(&method, &format!("/{n}"), 200, Duration::ZERO);
        }
        let routes = metrics.routes.read().expect("whole");
        assert_eq!(routes.len(), ROUTES + 1);
        let rest = routes["-"].0[METHODS.len() - 1].statuses.lock().expect("whole")[&200];
        assert_eq!(rest, 10_000 - ROUTES as u64, "what came beyond is counted together");
    }

    #[test]
    fn connections_are_open_until_they_end() {
        let metrics = Arc::new(Metrics::new());
        let (one, two) = (metrics.connection(), metrics.connection());
        drop(one);
        assert_eq!(metrics.open.load(Ordering::Relaxed), 1);
        drop(two);
        assert_eq!(metrics.open.load(Ordering::Relaxed), 0);
    }
}

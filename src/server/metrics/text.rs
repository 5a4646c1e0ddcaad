//! All of it as OpenMetrics 1.0 has it.

use std::fmt::Write as _;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::{BUCKETS, Counter, METHODS, Metrics, Requests};

/// What the text is.
pub(in crate::server) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is true at the moment.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Gauges {
    /// Live links.
    pub(in crate::server) links: u64,
    /// Their bytes.
    pub(in crate::server) link_bytes: u64,
    /// Bytes that are kept.
    pub(in crate::server) stored: u64,
    /// Bytes that may be.
    pub(in crate::server) capacity: u64,
    /// Bits of work a stranger's link costs.
    pub(in crate::server) difficulty: u8,
}

impl Metrics {
    /// The whole text.
    pub(in crate::server) fn text(&self, now: Gauges) -> String {
        let mut text = String::with_capacity(32 * 1024);
        head(&mut text, "ddrop_build", "info", "What runs.");
        sample(&mut text, "ddrop_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        for counter in self.counters() {
            counter.write(&mut text);
        }
        for (name, help, value) in [
            ("ddrop_received_bytes", "Bytes of content that came.", &self.received),
            ("ddrop_sent_bytes", "Bytes of content that went out.", &self.sent),
        ] {
            head(&mut text, name, "counter", help);
            let _ = writeln!(text, "# UNIT {name} bytes");
            sample(&mut text, &format!("{name}_total"), &[], value.load(Ordering::Relaxed));
        }
        let open = u64::try_from(self.open.load(Ordering::Relaxed)).unwrap_or_default();
        for (name, help, value) in [
            ("ddrop_connections_open", "Connections that are open.", open),
            ("ddrop_links", "Live links.", now.links),
            ("ddrop_pow_difficulty_bits", "Bits of work a stranger's link costs now.", now.difficulty.into()),
            ("ddrop_link_bytes", "Bytes of live links.", now.link_bytes),
            ("ddrop_store_bytes", "Bytes that are kept, as the quota counts them.", now.stored),
            ("ddrop_store_capacity_bytes", "Bytes that may be kept.", now.capacity),
        ] {
            head(&mut text, name, "gauge", help);
            sample(&mut text, name, &[], value);
        }
        self.write_requests(&mut text);
        text.push_str("# EOF\n");
        text
    }

    fn counters(&self) -> [&Counter; 8] {
        [
            &self.created,
            &self.accessed,
            &self.deleted,
            &self.limited,
            &self.work,
            &self.unwanted,
            &self.connections,
            &self.handshakes,
        ]
    }

    fn write_requests(&self, text: &mut String) {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let mut routes: Vec<_> = routes.iter().collect();
        routes.sort_unstable_by_key(|(route, _)| *route);
        let each = || {
            routes.iter().flat_map(|(route, methods)| {
                methods.0.iter().zip(METHODS).map(move |(requests, method)| (route.as_str(), method, requests))
            })
        };
        head(text, "ddrop_http_requests", "counter", "Requests that were answered.");
        for (route, method, requests) in each() {
            let statuses = requests.statuses.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for (status, count) in statuses {
                let labels = [("method", method), ("route", route), ("status", &status.to_string())];
                sample(text, "ddrop_http_requests_total", &labels, count);
            }
        }
        let name = "ddrop_http_request_duration_seconds";
        head(text, name, "histogram", "From the header of a request to that of its answer.");
        let _ = writeln!(text, "# UNIT {name} seconds");
        for (route, method, requests) in each() {
            requests.write(text, name, [("method", method), ("route", route)]);
        }
    }
}

impl Counter {
    fn write(&self, text: &mut String) {
        head(text, self.name, "counter", self.help);
        for (words, value) in self.snapshot() {
            let pairs: Vec<_> = self.labels.into_iter().zip(words).filter(|(label, _)| !label.is_empty()).collect();
            sample(text, &format!("{}_total", self.name), &pairs, value);
        }
    }
}

impl Requests {
    fn write(&self, text: &mut String, name: &str, [method, route]: [(&str, &str); 2]) {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        if all == 0 {
            return;
        }
        let mut so_far = 0;
        let ends = BUCKETS.iter().map(|end| seconds(*end)).chain(["+Inf".to_owned()]);
        for (count, end) in counts.iter().zip(ends) {
            so_far += count;
            sample(text, &format!("{name}_bucket"), &[method, route, ("le", &end)], so_far);
        }
        sample(text, &format!("{name}_count"), &[method, route], all);
        let sum = seconds(self.micros.load(Ordering::Relaxed));
        sample(text, &format!("{name}_sum"), &[method, route], sum);
    }
}

/// As a number with a point, which OpenMetrics wants in the ends of buckets.
fn seconds(micros: u64) -> String {
    let fraction = format!("{:06}", micros % 1_000_000);
    let fraction = fraction.trim_end_matches('0');
    format!("{}.{}", micros / 1_000_000, if fraction.is_empty() { "0" } else { fraction })
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# TYPE {name} {kind}\n# HELP {name} {help}");
}

fn sample(text: &mut String, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
    text.push_str(name);
    for (n, (label, word)) in labels.iter().enumerate() {
        let word = word.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{}{label}=\"{word}\"", if n == 0 { '{' } else { ',' });
    }
    let _ = writeln!(text, "{} {value}", if labels.is_empty() { "" } else { "}" });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::Method;

    use super::*;
    use crate::link::Kind;

    #[test]
    fn seconds_are_written_exactly() {
        for (micros, text) in
            [(0, "0.0"), (500, "0.0005"), (2500, "0.0025"), (1_000_000, "1.0"), (30_000_001, "30.000001")]
        {
            assert_eq!(seconds(micros), text);
        }
    }

    #[test]
    fn f34_the_text_has_what_was_counted() {
        let metrics = Metrics::new();
        metrics.created.one("file");
        metrics.ended(Kind::Url, "expired", 2);
        metrics.request(&Method::GET, "/{id}", 200, Duration::from_millis(2));
        metrics.request(&Method::GET, "/odd\"\\", 404, Duration::from_secs(60));
        let text = metrics.text(Gauges { links: 1, link_bytes: 2, stored: 3, capacity: 4, difficulty: 20 });
        for line in [
            "ddrop_links_created_total{kind=\"file\"} 1",
            "ddrop_links_created_total{kind=\"paste\"} 0",
            "ddrop_links_deleted_total{kind=\"url\",why=\"expired\"} 2",
            "ddrop_links_deleted_total{kind=\"url\",why=\"burned\"} 0",
            "ddrop_http_requests_total{method=\"GET\",route=\"/{id}\",status=\"200\"} 1",
            "ddrop_http_requests_total{method=\"GET\",route=\"/odd\\\"\\\\\",status=\"404\"} 1",
            "ddrop_http_request_duration_seconds_bucket{method=\"GET\",route=\"/{id}\",le=\"0.001\"} 0",
            "ddrop_http_request_duration_seconds_bucket{method=\"GET\",route=\"/{id}\",le=\"0.0025\"} 1",
            "ddrop_http_request_duration_seconds_bucket{method=\"GET\",route=\"/{id}\",le=\"+Inf\"} 1",
            "ddrop_http_request_duration_seconds_sum{method=\"GET\",route=\"/{id}\"} 0.002",
            "ddrop_store_capacity_bytes 4",
        ] {
            assert!(text.lines().any(|known| known == line), "no {line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}

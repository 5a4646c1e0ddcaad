//! What proven proxies say of the connection a request came over: `X-Forwarded-*`, or `Forwarded` (RFC 7239).

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

use crate::server::networks::Networks;

/// Characters of such a header that are looked at in all, and hops.
const LONGEST: usize = 4096;
const MOST_HOPS: usize = 32;

/// What was said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Where the request comes from: the last address in the chain that is not one of our proxies'. What stands before
    /// it, anyone may have written.
    pub(super) client: Option<IpAddr>,
    /// Whether it came over TLS.
    pub(super) https: Option<bool>,
    /// What it was addressed to.
    pub(super) host: Option<String>,
}

impl Said {
    /// Reads the headers of a proven proxy. `Forwarded` counts only where none of the others is, as a proxy that sets
    /// those may hand it on from anyone.
    pub(super) fn read(headers: &HeaderMap, proxies: &Networks) -> Self {
        let (chain, scheme, host) =
            (list(headers, "x-forwarded-for"), list(headers, "x-forwarded-proto"), list(headers, "x-forwarded-host"));
        if chain.is_none() && scheme.is_none() && host.is_none() {
            return Self::rfc_7239(&list(headers, "forwarded").unwrap_or_default(), proxies);
        }
        let last = |list: Option<Vec<String>>| list.and_then(|mut list| list.pop());
        Self {
            client: client(chain.unwrap_or_default().iter().map(|hop| address(hop)), proxies),
            https: last(scheme).and_then(|text| is_https(&text)),
            host: last(host).filter(|text| !text.is_empty()),
        }
    }

    fn rfc_7239(elements: &[String], proxies: &Networks) -> Self {
        let parameter = |element: &String, name: &str| {
            let pair = split(element, ';').into_iter().find_map(|pair| {
                let (key, value) = pair.split_once('=')?;
                key.trim().eq_ignore_ascii_case(name).then(|| unquoted(value.trim()))
            });
            pair.flatten()
        };
        let hops = elements.iter().map(|element| parameter(element, "for").and_then(|node| address(&node)));
        Self {
            client: client(hops, proxies),
            https: elements.last().and_then(|element| parameter(element, "proto")).and_then(|text| is_https(&text)),
            host: elements.last().and_then(|element| parameter(element, "host")).filter(|text| !text.is_empty()),
        }
    }
}

/// The elements of a list header in order, however many lines it has; `None` without one. Of one that is too long
/// nothing is believed.
fn list(headers: &HeaderMap, name: &str) -> Option<Vec<String>> {
    let mut all = Vec::new();
    let mut length = 0;
    for value in headers.get_all(name) {
        length += value.len();
        let text = value.to_str().unwrap_or("?");
        if length > LONGEST {
            return Some(Vec::new());
        }
        all.extend(split(text, ',').into_iter().map(|element| element.trim().to_owned()));
    }
    if all.is_empty() { None } else { Some(all) }
}

/// Splits at a character that is not in quotes. Quotes that never end are none: else whoever is first in a chain could
/// swallow what our own proxy has added.
fn split(text: &str, at: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text
        .split(|c| {
            let here = c == at && !quoted;
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                _ => {}
            }
            here
        })
        .collect();
    if quoted { text.split(at).collect() } else { parts }
}

fn unquoted(text: &str) -> Option<String> {
    let Some(inner) = text.strip_prefix('"') else { return Some(text.to_owned()) };
    Some(inner.strip_suffix('"')?.replace('\\', ""))
}

/// From the nearest hop outwards, as long as it is one of ours. `None` where a hop does not say who it is.
fn client(hops: impl DoubleEndedIterator<Item = Option<IpAddr>>, proxies: &Networks) -> Option<IpAddr> {
    let mut nearest = None;
    for hop in hops.rev().take(MOST_HOPS) {
        let Some(address) = hop else { break };
        nearest = Some(address);
        if !proxies.contain(address) {
            break;
        }
    }
    nearest
}

/// An address as proxies write it: with or without brackets and a port.
fn address(text: &str) -> Option<IpAddr> {
    let plain = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let parsed = plain.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    parsed.ok().map(|address| address.to_canonical())
}

fn is_https(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "https" | "wss" => Some(true),
        "http" | "ws" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn said(headers: &[(&'static str, &str)]) -> Said {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
        }
        Said::read(&map, &"10.0.0.0/8,::1".parse().expect("networks"))
    }

    fn client(headers: &[(&'static str, &str)]) -> Option<String> {
        said(headers).client.map(|address| address.to_string())
    }

    #[test]
    fn the_client_is_the_last_hop_that_is_not_one_of_our_proxies() {
        for (chain, expected) in [
            ("192.0.2.7", Some("192.0.2.7")),
            ("1.2.3.4, 192.0.2.7", Some("192.0.2.7")),
            ("1.2.3.4, 192.0.2.7, 10.0.0.1,10.0.0.2", Some("192.0.2.7")),
            ("10.0.0.9, 10.0.0.1", Some("10.0.0.9")),
            ("192.0.2.7, unknown, 10.0.0.1", Some("10.0.0.1")),
            ("[2001:db8::7]:443", Some("2001:db8::7")),
            ("2001:db8::7", Some("2001:db8::7")),
            ("::ffff:192.0.2.7", Some("192.0.2.7")),
            ("192.0.2.7:5000", Some("192.0.2.7")),
            ("\"1.2.3.4, 192.0.2.7", Some("192.0.2.7")),
            ("192.0.2.7, ", None),
            ("garbage", None),
            ("", None),
        ] {
            assert_eq!(client(&[("x-forwarded-for", chain)]).as_deref(), expected, "{chain}");
        }
        let lines = [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "192.0.2.7")];
        assert_eq!(client(&lines).as_deref(), Some("192.0.2.7"), "what the proxy added comes last");
        let long = ["1.2.3.4,".repeat(1000), "192.0.2.7".to_owned()].concat();
        assert_eq!(client(&[("x-forwarded-for", &long)]), None);
        let ours = vec!["10.0.0.1"; 400].join(",");
        assert_eq!(client(&[("x-forwarded-for", &ours)]).as_deref(), Some("10.0.0.1"));
    }

    #[test]
    fn rfc_7239_is_read_where_it_is_alone() {
        for (value, expected) in [
            ("for=192.0.2.7", Some("192.0.2.7")),
            ("For=\"[2001:db8::7]:4711\";proto=https", Some("2001:db8::7")),
            ("for=1.2.3.4, for=192.0.2.7;by=10.0.0.1, for=10.0.0.1", Some("192.0.2.7")),
            ("for=\"1.2.3.4, for=9.9.9.9\", for=10.0.0.1", Some("10.0.0.1")),
            ("for=\"1.2.3.4, for=192.0.2.7", Some("192.0.2.7")),
            ("for=\"\\, for=\"[2001:db8::7]\"", Some("2001:db8::7")),
            ("for=_hidden", None),
            ("for=\"192.0.2.7", None),
        ] {
            assert_eq!(client(&[("forwarded", value)]).as_deref(), expected, "{value}");
        }
        let both = [("forwarded", "for=1.2.3.4;proto=http"), ("x-forwarded-for", "192.0.2.7")];
        assert_eq!(said(&both), Said { client: "192.0.2.7".parse().ok(), https: None, host: None });
        let whole = said(&[("forwarded", "for=192.0.2.7;host=\"drop.example:8443\";proto=HTTPS")]);
        assert_eq!((whole.https, whole.host.as_deref()), (Some(true), Some("drop.example:8443")));
    }

    #[test]
    fn the_nearest_proxy_says_how_it_was_reached() {
        let all = said(&[("x-forwarded-proto", "http, https"), ("x-forwarded-host", "evil.example, drop.example")]);
        assert_eq!((all.https, all.host.as_deref()), (Some(true), Some("drop.example")));
        assert_eq!(said(&[("x-forwarded-proto", "gopher")]).https, None);
    }

    proptest! {
        #[test]
        fn nothing_a_proxy_sends_makes_it_fall_over(
            name in prop_oneof![Just("forwarded"), Just("x-forwarded-for"), Just("x-forwarded-host")],
            value in "[ -~]{0,200}",
        ) {
            let said = said(&[(name, &value)]);
            prop_assert!(said.client.is_none() || name != "x-forwarded-host", "{said:?}");
            prop_assert!(name == "forwarded" || said.https.is_none(), "{said:?}");
            prop_assert!(said.host.is_none_or(|host| name != "x-forwarded-for" && !host.is_empty() && host.len() <= value.len()));
        }
    }
}

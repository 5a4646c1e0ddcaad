//! How each kind of value is read, and what it is when nothing is said. An error is what would be right.

use std::net::IpAddr;
use std::path::PathBuf;

use url::Url;

use super::Place;
use crate::authority::Permitted;
use crate::server::Networks;

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("a path".to_owned()) } else { Ok(PathBuf::from(text)) }
}

pub(super) fn positive(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "a whole number from 1 on".to_owned())
}

pub(super) fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "a whole number from 0 on".to_owned())
}

pub(super) fn count(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|number| (1..=1_000_000).contains(number))
        .ok_or_else(|| "a whole number from 1 to 1000000".to_owned())
}

pub(super) fn days(text: &str) -> Result<u64, String> {
    text.parse()
        .ok()
        .filter(|number| (1..=3650).contains(number))
        .ok_or_else(|| "a whole number of days from 1 to 3650".to_owned())
}

pub(super) fn small_count(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|number| *number <= 1_000_000)
        .ok_or_else(|| "a whole number from 0 to 1000000; 0 is no limit".to_owned())
}

pub(super) fn byte_count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "a whole number of bytes".to_owned())
}

pub(super) fn bits_of_entropy(text: &str) -> Result<f64, String> {
    let bits = text.parse().ok().filter(|bits| (0.0..=8.0).contains(bits));
    bits.ok_or_else(|| "a number of bits from 0 to 8".to_owned())
}

/// Beyond 40 bits nobody comes to an end.
pub(super) fn difficulty(text: &str) -> Result<u8, String> {
    text.parse().ok().filter(|bits| *bits <= 40).ok_or_else(|| "a whole number of bits from 0 to 40".to_owned())
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("true or false".to_owned()),
    }
}

pub(super) fn names(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> =
        text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    if names.is_empty() { Err("names and addresses, separated by commas".to_owned()) } else { Ok(names) }
}

pub(super) fn public_url(text: &str) -> Result<Url, String> {
    let right = || "an http or https URL without query, such as https://drop.example.org/".to_owned();
    let mut url = Url::parse(text).map_err(|_| right())?;
    let web = matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
    if !web || url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err(right());
    }
    if !url.path().ends_with('/') {
        let with_slash = format!("{}/", url.path());
        url.set_path(&with_slash);
    }
    Ok(url)
}

/// Names at the root of the server that are taken.
const TAKEN: [&str; 10] =
    ["api", "client", "challenge", "csr", "health", "metrics", "pki", "register", "s", ".well-known"];

pub(super) fn prefix(text: &str) -> Result<String, String> {
    let right = || "a path such as /paste, and none that this server has already".to_owned();
    let path = text.strip_suffix('/').unwrap_or(text);
    let names = path.strip_prefix('/').ok_or_else(right)?;
    let sane =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let mut segments = names.split('/');
    let free = segments.clone().next().is_some_and(|first| !TAKEN.contains(&first));
    if free && segments.all(sane) { Ok(path.to_owned()) } else { Err(right()) }
}

pub(super) fn permitted(text: &str) -> Result<Permitted, String> {
    match text {
        "needed" => Ok(Permitted::Needed),
        "any" => Ok(Permitted::Any),
        _ => names(text)
            .map(Permitted::These)
            .map_err(|_| "needed, any, or domains and networks with commas between".to_owned()),
    }
}

pub(super) fn is_domain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

/// What this machine calls itself, if a server can be called so.
pub(super) fn machine_name() -> Option<String> {
    let machine = rustix::system::uname();
    machine.nodename().to_str().ok().filter(|name| is_domain(name)).map(str::to_ascii_lowercase)
}

/// `localhost`, the loopback addresses, and the address listened on if it is one.
pub(super) fn default_names(host: &str) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let wildcard = host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified());
    if !wildcard && (is_domain(host) || host.parse::<IpAddr>().is_ok()) {
        names.push(host.to_ascii_lowercase());
    }
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

pub(super) fn networks(text: &str) -> Result<Networks, String> {
    text.parse().map_err(|_| "addresses and networks with commas between, such as 10.0.0.5,fd00::/8".to_owned())
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "a port from 0 to 65535".to_owned())
}

/// `HOST:PORT`, `[IPv6]:PORT` or `unix:/path`.
pub(super) fn place(text: &str) -> Result<Place, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return self::path(path).map(Place::Unix);
    }
    let right = || "HOST:PORT or unix:/path".to_owned();
    let (host, number) = text.rsplit_once(':').ok_or_else(right)?;
    if host.is_empty() || (host.contains(':') && !host.starts_with('[')) {
        return Err(right());
    }
    Ok(Place::Tcp(host.to_owned(), number.parse().map_err(|_| right())?))
}

/// A slash before and none after.
pub(super) fn url_prefix(text: &str) -> Result<String, String> {
    let inner = text.trim_matches('/');
    let sane = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.' | b'~');
    let whole = inner.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
    if text.starts_with('/') && whole && inner.bytes().all(sane) {
        Ok(format!("/{inner}"))
    } else {
        Err("a path such as /drop: letters, digits and -._~ between slashes".to_owned())
    }
}

//! Where a short URL may lead: to the web, visibly, and not back to us.

use url::{Host, Url};

/// Bytes an address may have.
pub const LONGEST: usize = 2048;

/// An address in full, as it is kept and sent: ASCII, the host in punycode. `own`: hosts that are ours.
///
/// # Errors
/// [`Error`], with the reason.
pub fn parse(text: &str, own: &[String]) -> Result<String, Error> {
    if text.len() > LONGEST {
        return Err(Error::TooLong);
    }
    // What reads addresses leaves out tabs and line ends, and takes a backslash for a slash.
    if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\' || super::turns_text(c)) {
        return Err(Error::Characters);
    }
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !matches!(scheme.as_deref(), Some("http" | "https")) {
        return Err(Error::Scheme);
    }
    let url = Url::parse(text).map_err(|_| Error::Host)?;
    let authority = text.split_once("://").map_or("", |(_, rest)| rest).split(['/', '?', '#']).next();
    if !url.username().is_empty() || url.password().is_some() || authority.is_some_and(|text| text.contains('@')) {
        return Err(Error::User);
    }
    let host = url.host().ok_or(Error::Host)?;
    if is_ours(&host, own) {
        return Err(Error::Own);
    }
    let whole = url.as_str();
    if whole.len() > LONGEST { Err(Error::TooLong) } else { Ok(whole.to_owned()) }
}

fn is_ours(host: &Host<&str>, own: &[String]) -> bool {
    let here = match host {
        Host::Domain(name) => {
            let name = plain(name);
            name == "localhost" || name.ends_with(".localhost")
        }
        Host::Ipv4(address) => address.is_loopback() || address.is_unspecified(),
        Host::Ipv6(address) => {
            let mapped = address.to_ipv4_mapped();
            let mapped = mapped.is_some_and(|address| address.is_loopback() || address.is_unspecified());
            address.is_loopback() || address.is_unspecified() || mapped
        }
    };
    here || own.iter().any(|name| plain(name) == plain(&host.to_string()))
}

/// A name without what does not tell it from others.
fn plain(name: &str) -> String {
    name.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase()
}

/// Why not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not http or https.
    #[error("a short URL leads to http:// or https://")]
    Scheme,
    /// No host, or none that is one.
    #[error("the URL names no host")]
    Host,
    /// Longer than [`LONGEST`].
    #[error("a URL has at most 2048 bytes")]
    TooLong,
    /// Control characters, spaces, backslashes.
    #[error("the URL has characters that have no place in one: spaces, control characters, backslashes")]
    Characters,
    /// Says a user name: `https://bank.example@evil.example/`.
    #[error("the URL has a user name or password in front of its host")]
    User,
    /// Ours.
    #[error("a short URL does not lead to this server")]
    Own,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn own() -> Vec<String> {
        ["drop.example.org", "192.0.2.7", "2001:db8::7"].map(str::to_owned).into()
    }

    #[test]
    fn addresses_are_kept_in_full() {
        for (given, kept) in [
            ("https://example.org", "https://example.org/"),
            ("HTTP://Example.ORG:8080/a?b=c#d", "http://example.org:8080/a?b=c#d"),
            ("https://b\u{fc}cher.example/stra\u{df}e", "https://xn--bcher-kva.example/stra%C3%9Fe"),
            ("https://example.org/@user", "https://example.org/@user"),
            ("http://[2001:db8::1]/", "http://[2001:db8::1]/"),
            ("https://drop.example.org.evil.example/", "https://drop.example.org.evil.example/"),
        ] {
            assert_eq!(parse(given, &own()).as_deref(), Ok(kept), "{given}");
        }
    }

    #[test]
    fn what_leads_elsewhere_than_it_says_is_refused() {
        for (given, error) in [
            ("javascript:alert(1)", Error::Scheme),
            ("javascript://example.org/%0aalert(1)", Error::Scheme),
            ("data:text/html,x", Error::Scheme),
            ("ftp://example.org/", Error::Scheme),
            ("file:///etc/passwd", Error::Scheme),
            ("//example.org/", Error::Scheme),
            ("https:example.org", Error::Scheme),
            ("example.org", Error::Scheme),
            ("", Error::Scheme),
            ("https://", Error::Host),
            ("https://?x", Error::Host),
            ("https://exa mple.org/", Error::Characters),
            (" https://example.org/", Error::Characters),
            ("https://example.org/\r\nSet-Cookie: a=b", Error::Characters),
            ("java\tscript:alert(1)", Error::Characters),
            ("https:\\\\example.org\\", Error::Characters),
            ("https://example.org/\u{202e}", Error::Characters),
            ("https://bank.example@evil.example/", Error::User),
            ("https://:x@evil.example/", Error::User),
            ("https://@evil.example/", Error::User),
            ("https://drop.example.org/x", Error::Own),
            ("https://DROP.example.org.:444/x", Error::Own),
            ("https://dr\u{ff4f}p.example.org/", Error::Own),
            ("http://192.0.2.7/", Error::Own),
            ("http://0xc0000207/", Error::Own),
            ("http://3221225991/", Error::Own),
            ("http://[2001:db8:0::7]/", Error::Own),
            ("http://localhost/", Error::Own),
            ("http://a.localhost/", Error::Own),
            ("http://127.1/", Error::Own),
            ("http://[::1]/", Error::Own),
            ("http://[::ffff:127.0.0.1]/", Error::Own),
            ("http://0/", Error::Own),
        ] {
            assert_eq!(parse(given, &own()), Err(error), "{given:?}");
        }
        let long = |length: usize| format!("https://example.org/{}", "x".repeat(length - 20));
        assert!(parse(&long(2048), &[]).is_ok());
        assert_eq!(parse(&long(2049), &[]), Err(Error::TooLong));
        let grows = format!("https://example.org/{}", "\u{e9}".repeat(800));
        assert_eq!(parse(&grows, &[]), Err(Error::TooLong), "as it is sent");
    }

    proptest! {
        #[test]
        fn what_is_taken_is_a_header_and_leads_to_the_web(text in ".*") {
            for text in [text.clone(), format!("https://{text}"), format!("http://example.org/{text}")] {
                if let Ok(kept) = parse(&text, &own()) {
                    prop_assert!(kept.starts_with("http://") || kept.starts_with("https://"));
                    prop_assert!(kept.bytes().all(|b| (b'!'..=b'~').contains(&b)), "{}", kept);
                    prop_assert_eq!(parse(&kept, &own()), Ok(kept.clone()));
                }
            }
        }
    }
}

//! Where the server listens, what stands in front of it, and what that is believed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use url::Url;

use super::values::{boolean, networks, place, port, public_url, url_prefix};
use super::{Error, Layers, Token};
use crate::server::Networks;

/// Where a socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A TCP port of an address or a name that stands for one here; port 0 picks one.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Place {
    /// The socket address to listen on.
    ///
    /// # Errors
    /// When the host is neither an address nor a name that stands for one here.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        use std::net::ToSocketAddrs as _;
        let unknown = || Error::Host { host: self.host().to_owned() };
        let Self::Tcp(host, port) = self else { return Err(unknown()) };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(SocketAddr::new(address, *port));
        }
        (host, *port).to_socket_addrs().map_err(|_| unknown())?.next().ok_or_else(unknown)
    }

    /// The host in it; this machine for a Unix socket.
    pub(super) fn host(&self) -> &str {
        match self {
            Self::Tcp(host, _) => host,
            Self::Unix(_) => "localhost",
        }
    }

    fn is_local(&self) -> bool {
        matches!(self, Self::Unix(_)) || self.address().is_ok_and(|address| address.ip().is_loopback())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where a client on this machine reaches a server that listens on `address`: a wildcard is no address to connect to.
pub fn reachable(scheme: &str, address: SocketAddr) -> String {
    match address.ip() {
        ip if ip.is_unspecified() => format!("{scheme}://localhost:{}", address.port()),
        IpAddr::V4(Ipv4Addr::LOCALHOST) => format!("{scheme}://127.0.0.1:{}", address.port()),
        _ => format!("{scheme}://{address}"),
    }
}

/// What stands in front.
#[derive(Clone, Debug)]
pub struct Fronts {
    /// Where to listen.
    pub(super) place: Place,
    /// What links begin with.
    pub public_url: Option<Url>,
    /// The path under which a proxy shows the server: a slash before and none after, or empty.
    pub url_prefix: String,
    /// Whether clients speak TLS with us; if not, what listens is the plain one alone.
    pub tls: bool,
    /// Proxies that forward TCP and begin each connection with a PROXY header; nobody else may connect then.
    pub forwarders: Option<Networks>,
    /// Plain HTTP for proxies where TLS ends.
    pub plain: Option<Plain>,
}

/// Plain HTTP for proxies where TLS ends.
#[derive(Clone, Debug)]
pub struct Plain {
    /// Where to listen.
    pub place: Place,
    /// Where such proxies are.
    pub networks: Networks,
    /// They may be anywhere: the secret proves them.
    pub anywhere: bool,
    /// What proves them.
    pub secret: Token,
}

impl Plain {
    /// What others than the proxies could do, in words for the log.
    pub fn risk(&self) -> Option<&'static str> {
        match (&self.secret, &self.place) {
            (Token::Given(_) | Token::File(_), _) | (_, Place::Unix(_)) => None,
            (Token::None, Place::Tcp(..)) => Some(
                "every program on this machine is believed when it says who someone is: \
                 set DD_PROXY_SECRET_FILE, or listen on unix:/path",
            ),
        }
    }
}

impl Fronts {
    pub(super) fn from_said(said: &mut Layers) -> Result<Self, Error> {
        let behind = said.text("behind_proxy", boolean)?;
        let defaults = if behind { (Some("127.0.0.1"), Some("8080")) } else { (None, None) };
        let host = said.optional_or("host", defaults.0, |text| Ok(text.to_owned()))?.unwrap_or_default();
        let port = said.optional_or("port", defaults.1, port)?.unwrap_or_default();
        let own = match host.strip_prefix("unix:") {
            Some(path) if behind => Place::Unix(path.into()),
            Some(_) => return Err(Error::Needs("DD_HOST=unix:/path", "DD_BEHIND_PROXY=true, or is DD_PROXY_LISTEN")),
            None => Place::Tcp(host, port),
        };
        let trusted = said.optional("trusted_proxies", networks)?;
        let beside = said.optional("proxy_listen", place)?;
        let passthrough = said.text("proxy_protocol", boolean)?;
        let secret = ("proxy_secret", "proxy_secret_file");
        let secret = Token::from_said(said, secret, "DD_PROXY_SECRET and DD_PROXY_SECRET_FILE")?;
        let plain_place = match (behind, beside) {
            (true, Some(_)) => return Err(Error::Exclusive("DD_BEHIND_PROXY and DD_PROXY_LISTEN")),
            (true, None) if passthrough => return Err(Error::Exclusive("DD_BEHIND_PROXY and DD_PROXY_PROTOCOL")),
            (true, None) => Some(own.clone()),
            (false, beside) => beside,
        };
        if plain_place.is_none() && !matches!(secret, Token::None) {
            return Err(Error::Needs("DD_PROXY_SECRET", "DD_BEHIND_PROXY=true or DD_PROXY_LISTEN"));
        }
        let forwarders = match (passthrough, &trusted) {
            (true, Some(trusted)) if trusted.are_everything() && !own.is_local() => {
                return Err(Error::AnyForwarder { place: own.to_string(), proxies: trusted.to_string() });
            }
            (true, Some(trusted)) => Some(trusted.clone()),
            // Whoever may write such a header may say to be anywhere.
            (true, None) => return Err(Error::Needs("DD_PROXY_PROTOCOL", "DD_TRUSTED_PROXIES=CIDR,...")),
            (false, Some(_)) if plain_place.is_none() => {
                let one_of = "DD_PROXY_PROTOCOL=true, DD_BEHIND_PROXY=true or DD_PROXY_LISTEN";
                return Err(Error::Needs("DD_TRUSTED_PROXIES", one_of));
            }
            (false, _) => None,
        };
        let plain = plain_place.map(|place| plain(place, trusted, secret)).transpose()?;
        let (public_url, url_prefix) = public(said)?;
        Ok(Self { place: own, public_url, url_prefix, tls: !behind, forwarders, plain })
    }

    pub(super) fn are_none(&self) -> bool {
        self.forwarders.is_none() && self.plain.is_none()
    }
}

/// Starts nothing where others than the proxies could say to be anyone. On a network an address proves nothing: whoever
/// is on the same one can take another's, and whatever else runs where the proxy does has the proxy's.
fn plain(place: Place, trusted: Option<Networks>, secret: Token) -> Result<Plain, Error> {
    let local = place.is_local();
    if !local && matches!(secret, Token::None) {
        return Err(Error::Exposed { place: place.to_string() });
    }
    let anywhere = trusted.is_none() && !local;
    let otherwise = || if local { Networks::loopback() } else { Networks::default() };
    Ok(Plain { place, networks: trusted.unwrap_or_else(otherwise), anywhere, secret })
}

/// What links begin with, and the path in it that requests may begin with too.
fn public(said: &mut Layers) -> Result<(Option<Url>, String), Error> {
    let url = said.optional("public_url", public_url)?;
    let said = said.optional("url_prefix", url_prefix)?;
    let own = url.as_ref().map(|url| url.path().trim_end_matches('/').to_owned()).unwrap_or_default();
    let Some(prefix) = said else { return Ok((url, own)) };
    if !own.is_empty() && own != prefix {
        return Err(Error::Prefixes { url: own, prefix });
    }
    let with_prefix = url.map(|mut url| {
        url.set_path(&format!("{prefix}/"));
        url
    });
    Ok((with_prefix, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Said, Serve};

    fn fronts(pairs: &[(&'static str, &str)]) -> Result<Fronts, Error> {
        let said: Said = pairs.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        Serve::from_said(said, Said::new(), None).map(|serve| serve.fronts)
    }

    fn refusal(pairs: &[(&'static str, &str)]) -> String {
        fronts(pairs).expect_err("dangerous, or without sense").to_string()
    }

    #[test]
    fn f23_what_anyone_could_use_to_be_anyone_does_not_start() {
        let everywhere = ("host", "0.0.0.0");
        let behind = ("behind_proxy", "true");
        for dangerous in [
            &[behind, everywhere][..],
            &[behind, ("host", "192.0.2.1")],
            &[behind, everywhere, ("trusted_proxies", "0.0.0.0/0")],
            &[behind, everywhere, ("trusted_proxies", "10.0.0.1,::/0")],
            // An address is no proof, however few of them are believed.
            &[behind, everywhere, ("trusted_proxies", "10.0.0.1")],
            &[behind, ("host", "10.0.0.2"), ("trusted_proxies", "127.0.0.1")],
            &[("proxy_listen", "10.0.0.2:8080"), ("trusted_proxies", "10.0.0.1")],
            &[("proxy_listen", "0.0.0.0:8080")],
            &[("proxy_listen", "[::]:8080")],
        ] {
            let error = refusal(dangerous);
            for word in ["could say to be anyone", "127.0.0.1", "unix:/path", "DD_PROXY_SECRET_FILE"] {
                assert!(error.contains(word), "{dangerous:?}: {error}");
            }
        }
        let error = refusal(&[("proxy_protocol", "true")]);
        assert!(error.contains("DD_PROXY_PROTOCOL needs DD_TRUSTED_PROXIES"), "{error}");
        let everyone = [("proxy_protocol", "true"), ("trusted_proxies", "10.0.0.1,::/0"), everywhere];
        let error = refusal(&everyone);
        assert!(error.contains("could say to come from anywhere") && error.contains("127.0.0.1"), "{error}");
        assert!(fronts(&[everyone[0], everyone[1], ("host", "127.0.0.1")]).is_ok(), "who is on this machine is known");
        assert!(fronts(&[everyone[0], ("trusted_proxies", "10.0.0.1"), everywhere]).is_ok());
        for safe in [
            &[behind][..],
            &[behind, ("host", "unix:/run/ddrop/socket")],
            &[behind, ("host", "[::1]")],
            &[behind, ("trusted_proxies", "10.0.0.1")],
            &[behind, everywhere, ("proxy_secret", "0123456789abcdef")],
            &[behind, everywhere, ("proxy_secret_file", "/run/secrets/proxy")],
            &[behind, everywhere, ("trusted_proxies", "10.0.0.1"), ("proxy_secret", "0123456789abcdef")],
            &[behind, everywhere, ("trusted_proxies", "0.0.0.0/0"), ("proxy_secret", "0123456789abcdef")],
            &[("proxy_listen", "127.0.0.1:8080")],
            &[("proxy_listen", "unix:/run/ddrop/socket")],
        ] {
            assert!(fronts(safe).is_ok_and(|fronts| fronts.plain.is_some()), "{safe:?}");
        }
    }

    #[test]
    fn f23_what_is_left_of_a_risk_is_told() {
        let risk = |pairs: &[_]| fronts(pairs).expect("settings").plain.expect("a listener").risk();
        let behind = ("behind_proxy", "true");
        assert!(risk(&[behind]).is_some_and(|text| text.contains("every program on this machine")));
        assert!(risk(&[("proxy_listen", "127.0.0.1:8080")]).is_some_and(|text| text.contains("DD_PROXY_SECRET_FILE")));
        assert!(risk(&[behind, ("proxy_secret", "0123456789abcdef")]).is_none());
        assert!(risk(&[behind, ("host", "unix:/run/ddrop/socket")]).is_none());
    }

    #[test]
    fn where_it_listens_and_whom_it_believes() {
        let plain = |pairs: &[_]| fronts(pairs).expect("settings").plain.expect("a listener");
        let behind = ("behind_proxy", "true");
        assert_eq!(plain(&[behind]).place, Place::Tcp("127.0.0.1".to_owned(), 8080));
        assert_eq!(plain(&[behind]).networks, Networks::loopback());
        assert_eq!(plain(&[behind, ("host", "unix:/x")]).place, Place::Unix("/x".into()));
        let anywhere = plain(&[behind, ("host", "0.0.0.0"), ("proxy_secret", "0123456789abcdef")]);
        assert!(anywhere.anywhere && anywhere.networks.is_empty());
        let named = plain(&[behind, ("trusted_proxies", "10.0.0.1")]);
        assert!(!named.anywhere && named.networks.to_string() == "10.0.0.1/32");
        let beside = fronts(&[("proxy_listen", "unix:/x")]).expect("settings");
        assert!(beside.tls && !fronts(&[behind]).expect("settings").tls);
        let both = fronts(&[("proxy_protocol", "true"), ("trusted_proxies", "10.0.0.5, fd00::/8")]);
        assert_eq!(both.expect("settings").forwarders.expect("networks").to_string(), "10.0.0.5/32,fd00::/8");
    }

    #[test]
    fn settings_without_sense_are_named() {
        for (pairs, words) in [
            (&[("behind_proxy", "true"), ("proxy_listen", "unix:/x")][..], "DD_PROXY_LISTEN"),
            (&[("behind_proxy", "true"), ("proxy_protocol", "true"), ("trusted_proxies", "::1")], "DD_PROXY_PROTOCOL"),
            (&[("host", "unix:/x")], "DD_BEHIND_PROXY=true"),
            (&[("proxy_secret", "x")], "DD_BEHIND_PROXY=true"),
            (&[("trusted_proxies", "::1")], "DD_PROXY_PROTOCOL=true"),
            (&[("proxy_listen", "8080")], "HOST:PORT"),
            (&[("proxy_listen", "::1:8080:")], "HOST:PORT"),
            (&[("url_prefix", "drop")], "a path such as"),
            (&[("url_prefix", "/a/../b")], "a path such as"),
            (&[("url_prefix", "/a"), ("public_url", "https://x/b")], "make them the same"),
            (&[("behind_proxy", "true"), ("allow_anon", "true")], "DD_ALLOW_ANON_PUBLIC"),
        ] {
            let error = refusal(pairs);
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn f36_the_prefix_and_the_url_are_of_one_mind() {
        let both = |pairs: &[_]| {
            let fronts = fronts(pairs).expect("settings");
            (fronts.public_url.map(|url| url.to_string()), fronts.url_prefix)
        };
        let url = |text: &str| Some(text.to_owned());
        assert_eq!(both(&[]), (None, String::new()));
        assert_eq!(both(&[("url_prefix", "/drop/")]), (None, "/drop".to_owned()));
        assert_eq!(both(&[("public_url", "https://x/drop")]), (url("https://x/drop/"), "/drop".to_owned()));
        let apart = [("public_url", "https://x"), ("url_prefix", "/drop")];
        assert_eq!(both(&apart), (url("https://x/drop/"), "/drop".to_owned()));
    }

    #[test]
    fn a_wildcard_is_reached_as_localhost() {
        let reached = |text: &str| reachable("https", text.parse().expect("an address"));
        assert_eq!(reached("0.0.0.0:8443"), "https://localhost:8443");
        assert_eq!(reached("127.0.0.1:1"), "https://127.0.0.1:1");
        assert_eq!(reached("[::1]:1"), "https://[::1]:1");
    }
}

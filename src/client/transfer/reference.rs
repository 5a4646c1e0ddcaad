//! How a link is named on the command line: by its id or by its whole URL.

use std::str::FromStr;

use url::Url;

use crate::link::LinkId;

/// A link as it was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// By its id, on the server in use.
    Id(LinkId),
    /// By its URL, without fragment.
    Url(Url),
}

/// Where a named link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the server in use.
    Here(LinkId),
    /// Somewhere else.
    Elsewhere(Url),
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if !text.contains("://") {
            return Ok(Self::Id(text.parse().map_err(Error::Id)?));
        }
        let url = Url::parse(text).map_err(|_| Error::Url(text.to_owned()))?;
        if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() {
            return Err(Error::Url(text.to_owned()));
        }
        if url.fragment().is_some_and(|key| !key.is_empty()) {
            return Err(Error::Encrypted);
        }
        Ok(Self::Url(url))
    }
}

impl Reference {
    /// Where the link is, seen from the server in use.
    ///
    /// # Errors
    /// When it is on that server and has no id.
    pub fn place(&self, server: Option<&Url>) -> Result<Place, Error> {
        let url = match self {
            Self::Id(id) => return Ok(Place::Here(id.clone())),
            Self::Url(url) => url,
        };
        let below = server.filter(|server| server.origin() == url.origin()).and_then(|server| {
            let prefix = server.path().trim_end_matches('/');
            url.path().strip_prefix(prefix)?.strip_prefix('/')
        });
        match below {
            Some(path) => Ok(Place::Here(path.split('/').next().unwrap_or_default().parse().map_err(Error::Id)?)),
            None => Ok(Place::Elsewhere(url.clone())),
        }
    }
}

/// Why a text names no link.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an id.
    #[error(transparent)]
    Id(crate::link::Error),
    /// Not a URL.
    #[error("'{0}' is not the URL of a link")]
    Url(String),
    /// The content is encrypted end to end.
    #[error("this link is encrypted end to end (it has a key after '#'), which this version cannot decrypt")]
    Encrypted,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, server: &str) -> Place {
        let server: Url = server.parse().expect("a URL");
        text.parse::<Reference>().expect(text).place(Some(&server)).expect(text)
    }

    fn here(id: &str) -> Place {
        Place::Here(id.parse().expect("an id"))
    }

    #[test]
    fn an_id_and_its_urls_are_the_same_link() {
        for text in ["abcd1234", "https://host:8443/abcd1234", "https://host:8443/abcd1234/build.tar.gz"] {
            assert_eq!(place(text, "https://host:8443/"), here("abcd1234"), "{text}");
        }
        assert_eq!(place("https://host/under/abcd1234", "https://host/under"), here("abcd1234"));
        assert_eq!(place("https://host:443/abcd1234", "https://host"), here("abcd1234"));
    }

    #[test]
    fn another_host_port_scheme_or_prefix_is_elsewhere() {
        for text in
            ["https://other:8443/abcd", "https://host:8444/abcd", "http://host:8443/abcd", "https://host:8443/x/abcd"]
        {
            let server = if text.ends_with("/x/abcd") { "https://host:8443/under" } else { "https://host:8443/" };
            assert!(matches!(place(text, server), Place::Elsewhere(_)), "{text}");
        }
        // A host that only begins like ours is not ours.
        assert!(matches!(place("https://host.evil:8443/abcd", "https://host:8443"), Place::Elsewhere(_)));
    }

    #[test]
    fn what_is_no_link_is_refused() {
        for text in ["", "abc", "../../etc/passwd", "ftp://host/abcd", "https://", "file:///etc/passwd"] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
        assert!(matches!("https://host/abcd#key".parse::<Reference>(), Err(Error::Encrypted)));
        let server: Url = "https://host".parse().expect("a URL");
        assert!("https://host/".parse::<Reference>().expect("a URL").place(Some(&server)).is_err());
    }
}

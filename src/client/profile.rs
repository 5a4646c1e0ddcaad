//! Where server, key, certificate and CA are kept, and which of them were said where.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use pki::key::Key;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use url::{Host, Url};

use super::tls::{Anchors, Identity};
use super::{certificate, folder};
use crate::token::Secret;

/// The name of the file with the settings.
pub const FILE: &str = "config.toml";

/// The name of the certificate's file, chain included.
pub const CERTIFICATE: &str = "client.crt";

/// The name of the key's file.
pub const KEY: &str = "client.key";

/// The name of the file with the CA's root.
pub const CA: &str = "ca.crt";

/// How a server is reached and what is shown to it.
#[derive(Debug)]
pub struct Profile {
    /// Where the server is.
    pub server: Option<Setting<Url>>,
    /// A bearer token.
    pub token: Option<Setting<Secret>>,
    /// The file of the client certificate.
    pub client_cert: Option<Setting<PathBuf>>,
    /// The file of its key.
    pub client_key: Option<Setting<PathBuf>>,
    /// The file of the only CA trusted for the server; the system's roots when there is none.
    pub ca_cert: Option<Setting<PathBuf>>,
    /// The folder of the configuration.
    pub folder: PathBuf,
}

/// A value and where it was said.
#[derive(Clone, Debug)]
pub struct Setting<T> {
    /// What was said.
    pub value: T,
    /// Where.
    pub source: Source,
}

/// Where a value was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// On the command line.
    Flag(&'static str),
    /// In the environment.
    Variable(&'static str),
    /// In the file of this path.
    File(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) | Self::Variable(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What was said on the command line.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--server`.
    pub server: Option<String>,
    /// `--token`.
    pub token: Option<Secret>,
    /// `--token-file`.
    pub token_file: Option<PathBuf>,
    /// `--cert`.
    pub cert: Option<PathBuf>,
    /// `--key`.
    pub key: Option<PathBuf>,
    /// `--ca-cert`.
    pub ca_cert: Option<PathBuf>,
}

impl Profile {
    /// What is in force: flag before environment before file.
    ///
    /// # Errors
    /// When a value makes no sense or the file cannot be read; the message names the value and its source.
    pub fn load(flags: Flags, env: impl Fn(&str) -> Option<OsString>, folder: PathBuf) -> Result<Self, Error> {
        let file = File::read(&folder.join(FILE))?;
        let from_env = |name| env(name).filter(|value| !value.is_empty());
        let token_file = flags.token_file.as_deref().map(read_token).transpose()?;
        let path = |flag: Option<PathBuf>, name: &'static str, variable: &'static str, kept: Option<PathBuf>| {
            flag.map(|value| Setting { value, source: Source::Flag(name) })
                .or_else(|| {
                    let value = from_env(variable)?.into();
                    Some(Setting { value, source: Source::Variable(variable) })
                })
                .or_else(|| Some(Setting { value: folder.join(kept?), source: Source::File(folder.join(FILE)) }))
        };
        let server = flags
            .server
            .map(|text| (text, Source::Flag("--server")))
            .or_else(|| Some((from_env("DD_API_URL")?.to_string_lossy().into_owned(), Source::Variable("DD_API_URL"))))
            .or_else(|| Some((file.server?, Source::File(folder.join(FILE)))));
        let token = flags
            .token
            .map(|value| Setting { value, source: Source::Flag("--token") })
            .or_else(|| token_file.map(|value| Setting { value, source: Source::Flag("--token-file") }))
            .or_else(|| {
                let value = Secret::from_given(from_env("DD_API_TOKEN")?.to_string_lossy().trim().to_owned());
                Some(Setting { value, source: Source::Variable("DD_API_TOKEN") })
            })
            .or_else(|| Some(Setting { value: file.token?, source: Source::File(folder.join(FILE)) }));
        Ok(Self {
            server: server.map(|(text, source)| parse_server(&text, source)).transpose()?,
            token,
            client_cert: path(flags.cert, "--cert", "DD_CLIENT_CERT", file.client_cert),
            client_key: path(flags.key, "--key", "DD_CLIENT_KEY", file.client_key),
            ca_cert: path(flags.ca_cert, "--ca-cert", "DD_CA_CERT", file.ca_cert),
            folder,
        })
    }

    /// The server's address.
    ///
    /// # Errors
    /// When none was said.
    pub fn server(&self) -> Result<&Url, Error> {
        self.server.as_ref().map(|setting| &setting.value).ok_or(Error::NoServer)
    }

    /// Whom to trust as the server.
    ///
    /// # Errors
    /// When the file of the CA cannot be read.
    pub fn anchors(&self) -> Result<Anchors, Error> {
        let Some(setting) = &self.ca_cert else { return Ok(Anchors::System) };
        let _still = setting.value.parent().map(folder::hold_still);
        let text = read("CA certificate", setting)?;
        let roots: Vec<_> = CertificateDer::pem_slice_iter(&text).flatten().collect();
        if roots.is_empty() {
            return Err(Error::NotPem { what: "CA certificate", path: setting.value.clone() });
        }
        Ok(Anchors::Pinned(roots))
    }

    /// The client certificate and its key, if both were said.
    ///
    /// # Errors
    /// When only one of them was said, one cannot be read, or they do not belong together.
    pub fn identity(&self) -> Result<Option<Identity>, Error> {
        let (cert, key) = match (&self.client_cert, &self.client_key) {
            (None, None) => return Ok(None),
            (Some(cert), Some(key)) => (cert, key),
            (Some(one), None) => {
                return Err(Error::Half { there: "certificate", missing: "key", path: one.value.clone() });
            }
            (None, Some(one)) => {
                return Err(Error::Half { there: "key", missing: "certificate", path: one.value.clone() });
            }
        };
        let _still = key.value.parent().map(folder::hold_still);
        let chain_pem = read("client certificate", cert)?;
        let key_pem = zeroize::Zeroizing::new(read("key", key)?);
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain_pem).flatten().collect();
        let Some(leaf) = chain.first() else {
            return Err(Error::NotPem { what: "client certificate", path: cert.value.clone() });
        };
        let parsed = PrivateKeyDer::from_pem_slice(&key_pem)
            .map_err(|_| Error::NotPem { what: "key", path: key.value.clone() })?;
        // Keys that cannot be read here (another format of OpenSSL's) are left to the TLS library to judge.
        let readable = std::str::from_utf8(&key_pem).ok().and_then(|text| Key::from_pem(text).ok());
        if readable.is_some_and(|own| matches!(certificate::holds(leaf, &own), Ok(false))) {
            return Err(Error::Unmatched { cert: Box::new(cert.clone()), key: Box::new(key.clone()) });
        }
        Ok(Some(Identity { chain, key: parsed, exposed: is_exposed(&key.value).then(|| key.value.clone()) }))
    }
}

/// The folder of the configuration: `$XDG_CONFIG_HOME/ddrop`, or `~/.config/ddrop`.
///
/// # Errors
/// When there is neither.
pub fn folder(env: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, Error> {
    // The XDG specification has relative paths ignored.
    let named = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    named("XDG_CONFIG_HOME")
        .or_else(|| named("HOME").map(|home| home.join(".config")))
        .map(|base| base.join("ddrop"))
        .ok_or(Error::NoFolder)
}

/// What the file says.
#[derive(Default)]
struct File {
    server: Option<String>,
    token: Option<Secret>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
    ca_cert: Option<PathBuf>,
}

const KEYS: [&str; 5] = ["server", "client_cert", "client_key", "ca_cert", "token"];

impl File {
    fn read(path: &Path) -> Result<Self, Error> {
        let _still = path.parent().map(folder::hold_still);
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Self::default()),
            Err(source) => Err(Error::Unreadable { what: "configuration", path: path.to_owned(), source }),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| Error::NotToml {
            path: path.to_owned(),
            // The error's own text shows the line, which may hold the token.
            line: error.span().map_or(0, |span| text.get(..span.start).map_or(0, |head| head.matches('\n').count()))
                + 1,
            why: error.message().to_owned(),
        })?;
        let mut file = Self::default();
        for (key, value) in table {
            if !KEYS.contains(&key.as_str()) {
                return Err(Error::UnknownKey { path: path.to_owned(), key });
            }
            let toml::Value::String(value) = value else {
                return Err(Error::NotText { path: path.to_owned(), key });
            };
            match key.as_str() {
                "server" => file.server = Some(value),
                "token" => file.token = Some(Secret::from_given(value)),
                "client_cert" => file.client_cert = Some(value.into()),
                "client_key" => file.client_key = Some(value.into()),
                _ => file.ca_cert = Some(value.into()),
            }
        }
        Ok(file)
    }
}

/// Reads the address of a server.
///
/// # Errors
/// When it is none, or is plain HTTP to another machine.
pub fn parse_server(text: &str, source: Source) -> Result<Setting<Url>, Error> {
    let bad = |why: &'static str| Error::Server { text: text.to_owned(), said: source.clone(), why };
    let mut url = Url::parse(text.trim()).map_err(|_| bad("it has to be a URL such as https://host:8443"))?;
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        "http" => return Err(bad("it has to begin with https://; http:// is for loopback addresses only")),
        _ => return Err(bad("it has to begin with https://")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("it must not have a user name or password in it"));
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(Setting { value: url, source })
}

/// Whether a URL leads to this machine only.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn read(what: &'static str, setting: &Setting<PathBuf>) -> Result<Vec<u8>, Error> {
    std::fs::read(&setting.value).map_err(|source| Error::Missing {
        what,
        path: setting.value.clone(),
        said: setting.source.clone(),
        source,
    })
}

fn read_token(path: &Path) -> Result<Secret, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable {
        what: "token",
        path: path.to_owned(),
        source,
    })?;
    Ok(Secret::from_given(text.trim().to_owned()))
}

/// Whether others than its owner may read a file.
fn is_exposed(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0)
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No server.
    #[error("no server is configured")]
    NoServer,
    /// No place for the configuration.
    #[error("there is no folder for the configuration: neither XDG_CONFIG_HOME nor HOME is set")]
    NoFolder,
    /// Not the address of a server.
    #[error("'{text}' ({said}) is not the address of a server: {why}")]
    Server {
        /// What was said.
        text: String,
        /// Where.
        said: Source,
        /// What is wrong.
        why: &'static str,
    },
    /// A file of the settings cannot be read.
    #[error("cannot read the {what} {}", .path.display())]
    Unreadable {
        /// What it is.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that was named cannot be read.
    #[error("cannot read the {what} {} (named by {said})", .path.display())]
    Missing {
        /// What it is.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Who named it.
        said: Source,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not what it should be.
    #[error("{} is not a {what} in PEM", .path.display())]
    NotPem {
        /// What it should be.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// One of a pair.
    #[error("there is a client {there} ({}) but no {missing}", .path.display())]
    Half {
        /// What there is.
        there: &'static str,
        /// What there is not.
        missing: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// Two that are no pair.
    #[error(
        "the certificate {} ({}) is not for the key {} ({})",
        .cert.value.display(), .cert.source, .key.value.display(), .key.source
    )]
    Unmatched {
        /// The certificate.
        cert: Box<Setting<PathBuf>>,
        /// The key.
        key: Box<Setting<PathBuf>>,
    },
    /// Not TOML.
    #[error("{} line {line} is not TOML: {why}", .path.display())]
    NotToml {
        /// Which file.
        path: PathBuf,
        /// Where in it, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// A key nobody knows.
    #[error("{}: '{key}' is not a setting; there are {}", .path.display(), KEYS.join(", "))]
    UnknownKey {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: String,
    },
    /// Not a text.
    #[error("{}: '{key}' has to be a text in quotes", .path.display())]
    NotText {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: String,
    },
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoServer => "enrol with an invite (ddrop cert --configure INVITE), or say --server URL or DD_API_URL",
            Self::Half { .. } => "give both with --cert and --key, or DD_CLIENT_CERT and DD_CLIENT_KEY",
            Self::Unmatched { .. } => "name both from the same place, or enrol again: ddrop cert --configure INVITE",
            Self::Missing { .. } => "correct the path, or enrol again: ddrop cert --configure INVITE",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env_of<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        |name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(*value))
    }

    fn with_file(text: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join(FILE), text).expect("written");
        dir
    }

    const FULL: &str = "server = \"https://file:1\"\ntoken = \"from-file\"\nclient_cert = \"a.crt\"\nclient_key = \
                        \"/b.key\"\nca_cert = \"c.crt\"\n";

    #[test]
    fn flag_beats_environment_beats_file() {
        let dir = with_file(FULL);
        let load = |flags, env: &[(&str, &str)]| Profile::load(flags, env_of(env), dir.path().into()).expect("loaded");
        let env = [("DD_API_URL", "https://env:2"), ("DD_API_TOKEN", "from-env"), ("DD_CLIENT_CERT", "/env.crt")];
        let flags = Flags { server: Some("https://flag:3".into()), cert: Some("f.crt".into()), ..Flags::default() };

        let kept = load(Flags::default(), &[]);
        assert_eq!(kept.server().expect("a server").as_str(), "https://file:1/");
        assert_eq!(kept.client_cert.expect("said").value, dir.path().join("a.crt"));
        assert_eq!(kept.client_key.expect("said").value, Path::new("/b.key"));

        let from_env = load(Flags::default(), &env);
        assert_eq!(from_env.server.as_ref().expect("said").source, Source::Variable("DD_API_URL"));
        assert_eq!(from_env.token.expect("said").value.reveal(), "from-env");
        assert_eq!(from_env.client_cert.expect("said").value, Path::new("/env.crt"));

        let from_flag = load(flags, &env);
        assert_eq!(from_flag.server().expect("a server").as_str(), "https://flag:3/");
        assert_eq!(from_flag.client_cert.expect("said").value, Path::new("f.crt"));
        assert_eq!(from_flag.ca_cert.expect("said").source, Source::File(dir.path().join(FILE)));
    }

    #[test]
    fn an_empty_variable_is_as_if_it_were_not_there() {
        let dir = with_file(FULL);
        let profile = Profile::load(Flags::default(), env_of(&[("DD_API_URL", "")]), dir.path().into());
        assert_eq!(profile.expect("loaded").server().expect("a server").as_str(), "https://file:1/");
    }

    #[test]
    fn what_the_file_must_not_say_is_named_with_file_and_key() {
        for (text, words) in [
            ("servr = \"x\"", "'servr' is not a setting; there are server, client_cert"),
            ("server = 8443", "'server' has to be a text"),
            ("server = \"x\"\ntoken = \"secret", "line 2 is not TOML"),
            ("server = \"http://elsewhere\"", "http:// is for loopback addresses only"),
            ("server = \"localhost:8443\"", "has to begin with https://"),
            ("server = \"https://me:pw@host\"", "must not have a user name"),
        ] {
            let dir = with_file(text);
            let error = Profile::load(Flags::default(), env_of(&[]), dir.path().into()).expect_err(text).to_string();
            assert!(error.contains(words) && error.contains(FILE), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_folder_is_where_xdg_says() {
        let of = |pairs: &[(&str, &str)]| folder(env_of(pairs)).ok();
        assert_eq!(of(&[("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")]), Some("/x/ddrop".into()));
        assert_eq!(of(&[("XDG_CONFIG_HOME", "x"), ("HOME", "/h")]), Some("/h/.config/ddrop".into()));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn half_an_identity_is_an_error() {
        let flags = Flags { cert: Some("a.crt".into()), ..Flags::default() };
        let dir = tempfile::tempdir().expect("a folder");
        let profile = Profile::load(flags, env_of(&[]), dir.path().into()).expect("loaded");
        assert!(matches!(profile.identity(), Err(Error::Half { missing: "key", .. })));
    }

    #[test]
    fn certificate_and_key_have_to_match() {
        use crate::client::test;
        let dir = tempfile::tempdir().expect("a folder");
        let (one, other) = (test::self_signed("one"), test::self_signed("two"));
        let place = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let flags =
            |key: &str| Flags { cert: Some(place("crt", &one.0)), key: Some(place("key", key)), ..Flags::default() };
        let load = |key: &str| Profile::load(flags(key), env_of(&[]), dir.path().into()).expect("loaded").identity();
        assert!(matches!(load(&other.1), Err(Error::Unmatched { .. })));
        let identity = load(&one.1).expect("a pair").expect("said");
        assert_eq!(identity.exposed, Some(dir.path().join("key")));
    }
}

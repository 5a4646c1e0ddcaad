//! What was said, made whole: flags over environment over file over defaults, each value with its source.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::abuse::Rules;
use crate::access::Policy;
use crate::authority::Permitted;
use crate::link::Lifetimes;
use crate::server::{Deadlines, Limits, Pastes};
use crate::tls::ClientCertificate;
use crate::token::Secret;
use crate::units::{MIB, Ttl};

mod abuse;
mod fronts;
mod table;
mod values;

pub use fronts::{Fronts, Place, Plain, reachable};
pub use table::{SETTINGS, Setting};
use values::{
    boolean, count, days, default_names, difficulty, machine_name, names, number, path, permitted, positive, prefix,
};

/// Where a value was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// On the command line.
    Flag,
    /// In the environment.
    Environment,
    /// In the configuration file.
    File(PathBuf),
    /// Nowhere.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment => f.write_str("environment"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// What was said in one place, by setting.
pub type Said = BTreeMap<&'static str, String>;

/// The server's settings, whole and checked.
#[derive(Debug)]
pub struct Serve {
    /// Where to listen.
    pub place: Place,
    /// Everything that is kept.
    pub storage_path: PathBuf,
    /// Names and addresses the server's own certificate must have.
    pub server_names: Vec<String>,
    /// Names it has as well if the CA may sign for them.
    pub optional_names: Vec<String>,
    /// Which server names an issuing CA may sign for.
    pub permitted_names: Permitted,
    /// A certificate from elsewhere and its key.
    pub tls_files: Option<(PathBuf, PathBuf)>,
    /// Whether a handshake needs a client certificate.
    pub client_certificate: ClientCertificate,
    /// What stands in front.
    pub fronts: Fronts,
    /// The operator's token.
    pub token: Token,
    /// Bytes one upload may have.
    pub max_file_size: u64,
    /// Bytes `files/` may have.
    pub max_storage: u64,
    /// Links one owner may have.
    pub max_links: u64,
    /// How long links may live.
    pub lifetimes: Lifetimes,
    /// Between two sweeps.
    pub cleanup_interval: Duration,
    /// What those nobody knows may do.
    pub policy: Policy,
    /// What holds for pastes.
    pub pastes: Pastes,
    /// Whether anyone may register without an invite.
    pub open_registration: bool,
    /// Zero bits the proof of work of a registration has; 0 asks for none.
    pub register_difficulty: u8,
    /// What is done against abuse.
    pub abuse: Rules,
    /// A file with the passphrase of the CA keys.
    pub ca_passphrase_file: Option<PathBuf>,
    /// How long client certificates live.
    pub client_lifetime: Duration,
    /// Slots and deadlines.
    pub limits: Limits,
    /// How long running transfers may take to finish once the server is told to stop.
    pub drain: Duration,
    /// Where whoever reaches it may read the metrics.
    pub metrics: Option<SocketAddr>,
    /// What is logged.
    pub log: String,
    /// Each setting's value as it was said, and where; secrets are not among the values.
    pub in_force: Vec<(&'static Setting, String, Source)>,
}

/// The operator's token, or where it is kept.
#[derive(Clone, Debug)]
pub enum Token {
    /// There is none.
    None,
    /// It was said.
    Given(Secret),
    /// It is in a file, which is read again on SIGHUP.
    File(PathBuf),
}

impl Token {
    fn from_said(said: &mut Layers, keys: (&'static str, &'static str), names: &'static str) -> Result<Self, Error> {
        let given = said.optional(keys.0, |text| Ok(Secret::from_given(text.to_owned())))?;
        match (given, said.optional(keys.1, path)?) {
            (Some(_), Some(_)) => Err(Error::Exclusive(names)),
            (Some(secret), None) => Ok(Self::Given(secret)),
            (None, Some(path)) => Ok(Self::File(path)),
            (None, None) => Ok(Self::None),
        }
    }

    /// The token as it is now.
    ///
    /// # Errors
    /// When the file cannot be read, is empty, or is more than a token.
    pub fn read(&self) -> Result<Option<Secret>, Error> {
        match self {
            Self::None => Ok(None),
            Self::Given(secret) => Ok(Some(secret.clone())),
            Self::File(path) => {
                let unreadable = |source| Error::Unreadable { path: path.clone(), source };
                let text = std::fs::read_to_string(path).map_err(unreadable)?;
                let text = text.trim_end_matches(['\r', '\n']);
                if text.is_empty() || text.len() > 4096 || text.contains(['\r', '\n']) {
                    return Err(Error::TokenFile { path: path.clone() });
                }
                Ok(Some(Secret::from_given(text.to_owned())))
            }
        }
    }
}

impl Serve {
    /// Puts together what was said.
    ///
    /// # Errors
    /// For a value that is not one, naming the setting, where it was said and what would be right; and for settings
    /// that do not go together.
    pub fn from_said(flags: Said, environment: Said, file: Option<(PathBuf, Said)>) -> Result<Self, Error> {
        let mut said = Layers { flags, environment, file, in_force: Vec::new() };
        let fronts = Fronts::from_said(&mut said)?;
        let place = fronts.place.clone();
        let token = Token::from_said(&mut said, ("api_token", "api_token_file"), "DD_API_TOKEN and DD_API_TOKEN_FILE")?;
        let tls_files = match (said.optional("tls_cert", path)?, said.optional("tls_key", path)?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(Error::Together("DD_TLS_CERT", "DD_TLS_KEY")),
        };
        let default_hours = said.text("default_expire_hours", positive)?;
        let names = said.optional("server_names", names)?;
        let seconds = |said: &mut Layers, key| said.text(key, positive).map(Duration::from_secs);
        let serve = Self {
            storage_path: said.text("storage_path", path)?,
            optional_names: if names.is_some() { Vec::new() } else { machine_name().into_iter().collect() },
            server_names: names.unwrap_or_else(|| default_names(place.host())),
            permitted_names: said.text("ca_permitted_names", permitted)?,
            tls_files,
            client_certificate: match said.text("require_client_cert", boolean)? {
                true => ClientCertificate::Required,
                false => ClientCertificate::Optional,
            },
            fronts,
            token,
            max_file_size: said.text("max_file_size_mb", positive)?.saturating_mul(MIB),
            max_storage: said.text("max_storage_mb", positive)?.saturating_mul(MIB),
            max_links: match said.text("max_links", number)? {
                0 => u64::MAX,
                most => most,
            },
            lifetimes: Lifetimes {
                default: Ttl::For(Duration::from_secs(default_hours.saturating_mul(3600))),
                max: said
                    .text("max_ttl", |text| text.parse().map_err(|_| "a lifetime such as 48h, or inf".to_owned()))?,
            },
            cleanup_interval: seconds(&mut said, "cleanup_interval_seconds")?,
            policy: Policy {
                allow_anonymous: said.text("allow_anon", boolean)?,
                allow_untrusted: said.text("allow_untrusted", boolean)?,
            },
            pastes: Pastes {
                prefix: said.text("paste_prefix", prefix)?,
                max_anonymous: said.text("max_anon", positive)?,
                max_known: said.text("max_auth", positive)?,
                idle_anonymous: seconds(&mut said, "expiry_anon")?,
                idle_untrusted: seconds(&mut said, "expiry_untrusted")?,
                idle_trusted: seconds(&mut said, "expiry_trusted")?,
                max_expiry: seconds(&mut said, "max_expiry")?,
                own_names: Vec::new(),
            },
            open_registration: said.text("open_registration", boolean)?,
            register_difficulty: said.text("register_pow_difficulty", difficulty)?,
            abuse: abuse::rules(&mut said)?,
            ca_passphrase_file: said.optional("ca_passphrase_file", path)?,
            client_lifetime: Duration::from_secs(said.text("client_cert_days", days)?.saturating_mul(24 * 3600)),
            limits: Limits {
                connections: said.text("max_connections", count)?,
                connections_per_address: said.text("max_connections_per_address", count)?,
                deadlines: Deadlines {
                    handshake: seconds(&mut said, "handshake_timeout_seconds")?,
                    header: seconds(&mut said, "header_timeout_seconds")?,
                    idle: seconds(&mut said, "idle_timeout_seconds")?,
                    stall: seconds(&mut said, "stall_timeout_seconds")?,
                    slowest: said.text("min_rate_bytes_per_second", number)?,
                },
            },
            drain: seconds(&mut said, "drain_timeout_seconds")?,
            metrics: said.optional("metrics_addr", |text| {
                text.parse().map_err(|_| "an address and a port, such as 127.0.0.1:9273".to_owned())
            })?,
            log: said.text("log", |text| Ok(text.to_owned()))?,
            place,
            in_force: Vec::new(),
        };
        let anonymous_anywhere = said.text("allow_anon_public", boolean)?;
        if serve.policy.allow_anonymous && !anonymous_anywhere && !serve.is_local() {
            return Err(Error::OpenToAll { host: serve.place.to_string() });
        }
        Ok(Self { in_force: said.in_force, ..serve })
    }

    /// Whether only this machine can reach the server. What a proxy in front can reach, anyone may.
    fn is_local(&self) -> bool {
        self.fronts.are_none() && self.place.address().is_ok_and(|address| address.ip().is_loopback())
    }
}

/// Reads a configuration file: TOML, the settings' names in lower case without `DD_`.
///
/// # Errors
/// When it cannot be read, is not TOML, or has a key that is no setting.
pub fn read_file(at: &Path) -> Result<Said, Error> {
    let text = std::fs::read_to_string(at).map_err(|source| Error::Unreadable { path: at.to_owned(), source })?;
    let parsed: toml::Table =
        text.parse().map_err(|source| Error::NotToml { path: at.to_owned(), source: Box::new(source) })?;
    let mut said = Said::new();
    for (key, value) in parsed {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
            return Err(Error::UnknownKey { path: at.to_owned(), nearest: nearest(&key), key });
        };
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(yes) => yes.to_string(),
            toml::Value::Array(items) => {
                let items: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
                items.ok_or_else(|| Error::WrongType { path: at.to_owned(), key: setting.key })?.join(",")
            }
            _ => return Err(Error::WrongType { path: at.to_owned(), key: setting.key }),
        };
        said.insert(setting.key, text);
    }
    Ok(said)
}

/// What the environment says, given its variables; and those that look like a slip of the hand, with what may have
/// been meant. Others that begin with `DD_` belong to other programs.
pub fn read_environment(variables: impl Iterator<Item = (String, String)>) -> (Said, Vec<(String, &'static str)>) {
    let mut said = Said::new();
    let mut slips = Vec::new();
    for (name, value) in variables {
        let Some(key) = name.strip_prefix("DD_").map(str::to_ascii_lowercase) else { continue };
        if let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) {
            // An empty variable is how many tools say that there is none.
            if !value.is_empty() {
                said.insert(setting.key, value);
            }
        } else if let Some(meant) = nearest(&key) {
            slips.push((name, meant));
        }
    }
    (said, slips)
}

/// The setting whose name is nearly `key`.
fn nearest(key: &str) -> Option<&'static str> {
    let near = |setting: &&Setting| {
        let known = setting.key;
        let short = key.len().min(known.len());
        let begins_alike = short >= 8 && (known.starts_with(key) || key.starts_with(known));
        begins_alike || distance(key, known) <= 2
    };
    SETTINGS.iter().find(near).map(|setting| setting.key)
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let best = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, best);
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

struct Layers {
    flags: Said,
    environment: Said,
    file: Option<(PathBuf, Said)>,
    in_force: Vec<(&'static Setting, String, Source)>,
}

impl Layers {
    fn find(&self, key: &'static str) -> Option<(String, Source)> {
        if let Some(text) = self.flags.get(key) {
            return Some((text.clone(), Source::Flag));
        }
        if let Some(text) = self.environment.get(key) {
            return Some((text.clone(), Source::Environment));
        }
        let (path, said) = self.file.as_ref()?;
        Some((said.get(key)?.clone(), Source::File(path.clone())))
    }

    fn optional<T>(&mut self, key: &'static str, read: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, Error> {
        self.optional_or(key, None, read)
    }

    /// With another default than usual.
    fn optional_or<T>(
        &mut self,
        key: &'static str,
        default: Option<&'static str>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Error> {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
            return Err(Error::NotASetting(key));
        };
        let (text, source) = match (self.find(key), default.or(setting.default)) {
            (Some(said), _) => said,
            (None, Some(default)) => (default.to_owned(), Source::Default),
            (None, None) => {
                self.in_force.push((setting, String::new(), Source::Default));
                return Ok(None);
            }
        };
        let shown = if setting.secret { "(secret)".to_owned() } else { text.clone() };
        let value = read(&text).map_err(|right| Error::BadValue {
            name: setting.variable(),
            value: shown.clone(),
            from: source.to_string(),
            right,
        })?;
        self.in_force.push((setting, shown, source));
        Ok(Some(value))
    }

    fn text<T>(&mut self, key: &'static str, read: impl Fn(&str) -> Result<T, String>) -> Result<T, Error> {
        self.optional(key, read)?.ok_or(Error::NotASetting(key))
    }
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value that is not one.
    #[error("{name} is '{value}' (from {from}): it has to be {right}")]
    BadValue {
        /// The setting.
        name: String,
        /// What was said.
        value: String,
        /// Where.
        from: String,
        /// What would be right.
        right: String,
    },
    /// Two settings that exclude each other.
    #[error("{0} are both set: use one of them")]
    Exclusive(&'static str),
    /// Two settings that need each other.
    #[error("{0} and {1} go together: set both or neither")]
    Together(&'static str, &'static str),
    /// A setting that means nothing without another.
    #[error("{0} needs {1}")]
    Needs(&'static str, &'static str),
    /// A key that is no setting.
    #[error("{path} has the unknown key '{key}'{}", .nearest.map(|near| format!(": did you mean '{near}'?")).unwrap_or_default())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// A value of a type that no setting has.
    #[error("{path}: '{key}' has to be a string, a number, true or false")]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
    },
    /// A file that cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that is not TOML.
    #[error("{path} is not TOML")]
    NotToml {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<toml::de::Error>,
    },
    /// A token file without a token.
    #[error("{path} has to hold the token, alone, on one line")]
    TokenFile {
        /// The file.
        path: PathBuf,
    },
    /// A host that does not stand for an address here.
    #[error("DD_HOST is '{host}', which is neither an address nor a name known here")]
    Host {
        /// What was said.
        host: String,
    },
    /// Two paths for one server.
    #[error("DD_PUBLIC_URL has the path '{url}' and DD_URL_PREFIX is '{prefix}': make them the same, or set one")]
    Prefixes {
        /// In the URL.
        url: String,
        /// The other one.
        prefix: String,
    },
    /// Anyone who reaches such a listener could say to be anyone.
    #[error(
        "{place} speaks plain HTTP to whoever reaches it, and whoever that is could say to be anyone: share a secret with \
         the proxy (DD_PROXY_SECRET_FILE; an address in DD_TRUSTED_PROXIES proves nothing on a network), or listen on \
         127.0.0.1 or unix:/path"
    )]
    Exposed {
        /// Where it was to listen.
        place: String,
    },
    /// Whoever may write a PROXY header is believed about addresses: in limits, log and audit.
    #[error(
        "DD_TRUSTED_PROXIES is '{proxies}', and whoever reaches {place} could say to come from anywhere: name the proxies' \
         own addresses, or listen on 127.0.0.1"
    )]
    AnyForwarder {
        /// Where it was to listen.
        place: String,
        /// Who was to be believed.
        proxies: String,
    },
    /// Anyone who reaches a public address could fill the disk with whatever they like.
    #[error(
        "DD_ALLOW_ANON lets everyone who can reach {host} upload without saying who they are: listen on 127.0.0.1 \
         (DD_HOST), or set DD_ALLOW_ANON_PUBLIC=true as well if that is what you want"
    )]
    OpenToAll {
        /// Where it was to listen.
        host: String,
    },
    /// The program asked for a setting that is not in its own table.
    #[error("'{0}' is not in the table of settings")]
    NotASetting(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(pairs: &[(&'static str, &str)]) -> Said {
        pairs.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
    }

    #[test]
    fn flag_beats_environment_beats_file_beats_default() {
        let file = || Some((PathBuf::from("f.toml"), said(&[("port", "3"), ("max_ttl", "7d")])));
        let place = |flags, environment, file| Serve::from_said(flags, environment, file).expect("settings").place;
        let port = |number| Place::Tcp("0.0.0.0".to_owned(), number);
        assert_eq!(place(said(&[("port", "1")]), said(&[("port", "2")]), file()), port(1));
        assert_eq!(place(Said::new(), said(&[("port", "2")]), file()), port(2));
        assert_eq!(place(Said::new(), Said::new(), file()), port(3));
        assert_eq!(place(Said::new(), Said::new(), None), port(8443));
    }

    #[test]
    fn every_setting_is_read_and_has_a_source() {
        let serve = Serve::from_said(Said::new(), Said::new(), None).expect("defaults");
        assert_eq!(serve.in_force.len(), SETTINGS.len());
        assert!(serve.in_force.iter().all(|(_, _, source)| *source == Source::Default));
        assert_eq!(serve.max_file_size, 100 * MIB);
        assert_eq!(serve.lifetimes.max, Ttl::For(Duration::from_secs(48 * 3600)));
        assert!(serve.server_names.iter().any(|name| name == "localhost"));
    }

    #[test]
    fn a_bad_value_is_named_with_its_source_and_what_is_right() {
        for (key, value) in [
            ("port", "70000"),
            ("max_file_size_mb", "0"),
            ("max_ttl", "2 days"),
            ("allow_anon", "maybe"),
            ("public_url", "ftp://x"),
            ("max_connections", "-1"),
            ("client_cert_days", "99999"),
            ("trusted_proxies", "proxy.example"),
            ("register_pow_difficulty", "41"),
            ("rate_limit", "many"),
            ("metrics_addr", "9273"),
            ("pow_secret", "short"),
            ("min_entropy", "8.1"),
            ("antiflood_window", "0"),
        ] {
            let error = Serve::from_said(Said::new(), said(&[(key, value)]), None).expect_err(key).to_string();
            let name = format!("DD_{}", key.to_ascii_uppercase());
            assert!(error.contains(&name) && error.contains("environment") && error.contains("has to be"), "{error}");
        }
    }

    #[test]
    fn what_is_said_against_abuse_is_what_holds_when_nothing_is_said() {
        let serve = Serve::from_said(Said::new(), Said::new(), None).expect("defaults");
        assert_eq!(format!("{:?}", serve.abuse), format!("{:?}", Rules::default()));
        let none = said(&[("rate_limit", "0"), ("rate_limit_requests", "0"), ("rate_limit_misses", "0")]);
        let Rules { gate, requests, misses, .. } = Serve::from_said(none, Said::new(), None).expect("settings").abuse;
        assert_eq!((gate.rate, requests, misses), (None, None, None));
    }

    #[test]
    fn secrets_are_not_shown() {
        let secrets = said(&[("api_token", "hunter22hunter22"), ("pow_secret", "hunter22hunter22")]);
        let serve = Serve::from_said(Said::new(), secrets, None).expect("settings");
        assert!(!format!("{serve:?}").contains("hunter22"));
    }

    #[test]
    fn what_excludes_or_needs_each_other_is_checked() {
        let both = said(&[("api_token", "a"), ("api_token_file", "b")]);
        assert!(matches!(Serve::from_said(Said::new(), both, None), Err(Error::Exclusive(_))));
        assert!(matches!(Serve::from_said(said(&[("tls_cert", "a")]), Said::new(), None), Err(Error::Together(..))));
    }

    #[test]
    fn anonymous_uploads_from_elsewhere_have_to_be_said_twice() {
        let settings = |host: &str, more: &[(&'static str, &str)]| {
            let pairs: Vec<_> =
                [("host", host), ("allow_anon", "true")].into_iter().chain(more.iter().copied()).collect();
            Serve::from_said(said(&pairs), Said::new(), None)
        };
        for host in ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"] {
            assert!(settings(host, &[]).is_ok(), "{host}");
        }
        for host in ["0.0.0.0", "::", "192.0.2.1"] {
            let error = settings(host, &[]).expect_err(host).to_string();
            assert!(error.contains("DD_ALLOW_ANON_PUBLIC=true") && error.contains("127.0.0.1"), "{error}");
            assert!(settings(host, &[("allow_anon_public", "true")]).is_ok_and(|serve| serve.policy.allow_anonymous));
        }
        let alone = Serve::from_said(said(&[("allow_anon_public", "true")]), Said::new(), None).expect("settings");
        assert!(!alone.policy.allow_anonymous, "the second word alone opens nothing");
    }

    #[test]
    fn unknown_keys_in_a_file_are_errors_and_slips_in_the_environment_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ddrop.toml");
        std::fs::write(&path, "max_storage_mbs = 3\n").expect("written");
        let error = read_file(&path).expect_err("unknown").to_string();
        assert!(error.contains("max_storage_mbs") && error.contains("'max_storage_mb'"), "{error}");
        let variables = [("DD_MAX_FILE_SIZE", "3"), ("DD_AGENT_HOST", "x"), ("DD_PORT", "9")];
        let (said, slips) = read_environment(variables.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(said.get("port").map(String::as_str), Some("9"));
        assert_eq!(slips, [("DD_MAX_FILE_SIZE".to_owned(), "max_file_size_mb")]);
    }

    #[test]
    fn a_token_file_holds_a_token_on_one_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "s3cret\n").expect("written");
        let token = Token::File(path.clone());
        assert_eq!(token.read().expect("readable").map(|s| s.reveal().to_owned()).as_deref(), Some("s3cret"));
        std::fs::write(&path, "\n").expect("written");
        assert!(matches!(token.read(), Err(Error::TokenFile { .. })));
    }
}

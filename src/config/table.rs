//! Every setting of the server: its name, what it is by default, what it means.

/// One setting: a variable, a flag and a key at once.
#[derive(Debug)]
pub struct Setting {
    /// As a key in the configuration file.
    pub key: &'static str,
    /// Its value when nothing is said; `None` is none.
    pub default: Option<&'static str>,
    /// What its value is, for `--help`.
    pub value: &'static str,
    /// What it means.
    pub help: &'static str,
    /// Whether its value is never shown.
    pub secret: bool,
}

impl Setting {
    /// As a variable: `DD_MAX_TTL`.
    pub fn variable(&self) -> String {
        format!("DD_{}", self.key.to_ascii_uppercase())
    }

    /// As a flag: `max-ttl`. What DeadDrop had a flag for keeps its name.
    pub fn flag(&self) -> String {
        self.key.replace('_', "-")
    }
}

const fn setting(key: &'static str, value: &'static str, default: Option<&'static str>, help: &'static str) -> Setting {
    Setting { key, default, value, help, secret: false }
}

/// All of them, as they are listed.
pub const SETTINGS: &[Setting] = &[
    setting("host", "HOST", Some("0.0.0.0"), "Address to listen on; unix:/path behind a proxy"),
    setting("port", "PORT", Some("8443"), "Port to listen on; 0 picks one"),
    setting("storage_path", "STORAGE", Some("./storage"), "Folder for links.db, files/ and pki/"),
    setting("public_url", "URL", None, "What links begin with [default: what the request was addressed to]"),
    setting(
        "server_names",
        "NAME,...",
        None,
        "Names and addresses in the server certificate [default: host name, localhost, loopback addresses]",
    ),
    setting("tls_cert", "FILE", None, "A server certificate from elsewhere: PEM, leaf first"),
    setting("tls_key", "FILE", None, "The key of that certificate: PEM"),
    setting(
        "proxy_protocol",
        "BOOL",
        Some("false"),
        "Connections begin with a PROXY header, from DD_TRUSTED_PROXIES only",
    ),
    setting(
        "behind_proxy",
        "BOOL",
        Some("false"),
        "Plain HTTP for a proxy where TLS ends, on 127.0.0.1:8080 unless said",
    ),
    setting("proxy_listen", "PLACE", None, "The same beside TLS: HOST:PORT or unix:/path"),
    setting(
        "trusted_proxies",
        "CIDR,...",
        None,
        "Addresses and networks of the proxies in front [default for plain HTTP on a loopback address: loopback]",
    ),
    Setting {
        key: "proxy_secret",
        default: None,
        value: "SECRET",
        help: "What such a proxy has to send as X-Proxy-Secret",
        secret: true,
    },
    setting("proxy_secret_file", "FILE", None, "File with that secret, read again on SIGHUP"),
    setting("url_prefix", "PATH", None, "Path under which the proxy shows the server [default: that of DD_PUBLIC_URL]"),
    setting("require_client_cert", "BOOL", Some("false"), "No TLS handshake without a client certificate"),
    Setting { key: "api_token", default: None, value: "TOKEN", help: "Bearer token of an admin", secret: true },
    setting("api_token_file", "FILE", None, "File with that token, read again on SIGHUP"),
    setting("max_file_size_mb", "MIB", Some("100"), "MiB one upload may have"),
    setting("max_storage_mb", "MIB", Some("1024"), "MiB files/ may have in all"),
    setting("max_links", "N", Some("100000"), "Links one client may have, and all strangers together; 0 is any number"),
    setting("default_expire_hours", "HOURS", Some("1"), "Lifetime of a link when none is asked for"),
    setting("max_ttl", "TTL", Some("48h"), "Longest lifetime of a link: 90s, 30m, 2h, 7d, 4w or inf"),
    setting("cleanup_interval_seconds", "SECONDS", Some("300"), "Between two sweeps"),
    setting("allow_anon", "BOOL", Some("false"), "Callers without a certificate may upload"),
    setting("allow_anon_public", "BOOL", Some("false"), "That also holds on an address that is not a loopback one"),
    setting("allow_untrusted", "BOOL", Some("false"), "Callers with a certificate nobody vouched for may upload"),
    setting("paste_prefix", "PATH", Some("/paste"), "What the paths of FlaskPaste's API begin with"),
    setting("max_anon", "BYTES", Some("3145728"), "Bytes a paste may have if nobody in particular makes it"),
    setting("max_auth", "BYTES", Some("52428800"), "Bytes another paste may have"),
    setting("expiry_anon", "SECONDS", Some("86400"), "Without a reading a paste ends that nobody in particular made"),
    setting("expiry_untrusted", "SECONDS", Some("604800"), "The same for certificates nobody vouched for"),
    setting("expiry_trusted", "SECONDS", Some("2592000"), "The same for clients"),
    setting("max_expiry", "SECONDS", Some("2592000"), "Longest lifetime a paste can be given by X-Expiry"),
    setting("open_registration", "BOOL", Some("false"), "Anyone may register without an invite"),
    setting("register_pow_difficulty", "BITS", Some("24"), "Proof of work of a registration in bits; 0 asks for none"),
    setting(
        "rate_limit",
        "N",
        Some("60"),
        "Links one address may make, or give other content, in a minute; 0 is any number",
    ),
    setting("rate_limit_trusted", "N", Some("5"), "How many times as many a client may create"),
    setting(
        "rate_limit_requests",
        "N",
        Some("6000"),
        "Requests one address may send in a minute, without those of clients; 0 is any number",
    ),
    setting("rate_limit_misses", "N", Some("30"), "Ids that lead nowhere one address may ask for in a minute"),
    setting(
        "pow_difficulty",
        "BITS",
        Some("20"),
        "Proof of work of a link made by others than clients; 0 asks for none",
    ),
    setting("pow_ttl", "SECONDS", Some("300"), "How long a challenge holds"),
    Setting {
        key: "pow_secret",
        default: None,
        value: "SECRET",
        help: "By which servers that share nothing else know each other's challenges [default: kept in the storage]",
        secret: true,
    },
    setting("antiflood_threshold", "N", Some("30"), "Links by others than clients after which work becomes dearer"),
    setting("antiflood_window", "SECONDS", Some("60"), "The time in which they are counted"),
    setting("antiflood_step", "BITS", Some("2"), "What each further so many add to the work"),
    setting("antiflood_max", "BITS", Some("28"), "The most work there ever is"),
    setting("antiflood_decay", "SECONDS", Some("30"), "After which one step is taken back"),
    setting("dedup_max", "N", Some("3"), "How often the same content is taken; 0 is any number"),
    setting("dedup_window", "SECONDS", Some("3600"), "The time in which that is counted"),
    setting("min_size", "BYTES", Some("0"), "Bytes content has at least"),
    setting("min_entropy", "BITS", Some("0"), "Bits of entropy a byte of content has at least, from 0 to 8"),
    setting("min_entropy_size", "BYTES", Some("256"), "Content of fewer bytes may have any entropy"),
    setting(
        "ca_permitted_names",
        "NAME,...",
        Some("needed"),
        "Server names the CA may sign for: needed (private ones and DD_SERVER_NAMES), any, or domains and networks",
    ),
    setting("ca_passphrase_file", "FILE", None, "File with the passphrase that encrypts the CA keys at rest"),
    setting("client_cert_days", "DAYS", Some("365"), "Lifetime of client certificates"),
    setting("max_connections", "N", Some("4096"), "Connections open at once"),
    setting(
        "max_connections_per_address",
        "N",
        Some("256"),
        "Connections open at once from one address (IPv6: one /64)",
    ),
    setting("handshake_timeout_seconds", "SECONDS", Some("10"), "For a TLS handshake"),
    setting("header_timeout_seconds", "SECONDS", Some("10"), "For the header of a request, from its first byte"),
    setting("idle_timeout_seconds", "SECONDS", Some("60"), "A connection may be open without a request"),
    setting(
        "stall_timeout_seconds",
        "SECONDS",
        Some("30"),
        "A request's body may stand still; a connection with a running request twice as long",
    ),
    setting(
        "min_rate_bytes_per_second",
        "BYTES",
        Some("512"),
        "What has to move while we wait for the other side of a transfer, over a minute; 0: however slow",
    ),
    setting("drain_timeout_seconds", "SECONDS", Some("60"), "For running transfers to finish after SIGTERM"),
    setting(
        "metrics_addr",
        "ADDRESS",
        None,
        "Address and port on which whoever reaches it may read the metrics, in plain HTTP [default: none]",
    ),
    setting("log", "FILTER", Some("info"), "What is logged: error, warn, info, debug or a tracing filter"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_go_together() {
        let mut keys: Vec<_> = SETTINGS.iter().map(|setting| setting.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), SETTINGS.len());
        let setting = SETTINGS.iter().find(|s| s.key == "max_file_size_mb").expect("a setting");
        assert_eq!((setting.variable().as_str(), setting.flag().as_str()), ("DD_MAX_FILE_SIZE_MB", "max-file-size-mb"));
    }
}

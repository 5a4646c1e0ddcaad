//! Settings that work and may still not be what was meant.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{Finding, Level, words};
use crate::config::{Serve, Token};
use crate::units::{Size, Ttl};

const CHECK: &str = "settings";

/// Bits of work below which registering costs a machine nothing.
const CHEAP: u8 = 18;

pub(super) fn look(settings: &Serve) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |level, found: &str, advice: &str| findings.push(Finding::new(level, CHECK, found, advice));
    if settings.policy.allow_anonymous {
        let advice = "leave DD_ALLOW_ANON out and invite people ('ddrop pki invite NAME'), unless this is meant";
        say(Level::Warning, "callers without a certificate may upload", advice);
    }
    if settings.policy.allow_untrusted {
        let advice = "leave DD_ALLOW_UNTRUSTED out and trust people by name ('ddrop pki trust'), unless this is meant";
        say(Level::Warning, "anyone who makes a certificate of their own may upload", advice);
    }
    if settings.open_registration && settings.register_difficulty < CHEAP {
        let found = format!("registering is open and costs {} bits of work", settings.register_difficulty);
        say(Level::Warning, &found, "raise DD_REGISTER_POW_DIFFICULTY to 20 or more");
    }
    if settings.lifetimes.max == Ttl::Forever {
        let advice = "set DD_MAX_TTL, or watch the room: what never expires has to be ended by hand";
        say(Level::Note, "links may live for ever", advice);
    }
    if settings.max_file_size > settings.max_storage {
        let found =
            format!("one file may have {}, all together {}", Size(settings.max_file_size), Size(settings.max_storage));
        say(Level::Warning, &found, "raise DD_MAX_STORAGE_MB or lower DD_MAX_FILE_SIZE_MB");
    }
    findings.extend(token(&settings.token));
    for path in settings.ca_passphrase_file.iter().chain(settings.tls_files.as_ref().map(|files| &files.1)) {
        findings.extend(secret(path));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "nothing is open that is closed by default"));
    }
    findings
}

fn token(token: &Token) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Token::File(path) = token {
        findings.extend(secret(path));
    }
    if matches!(token, Token::Given(_)) {
        let advice = "put it into a file and say DD_API_TOKEN_FILE: the environment is shown by many tools";
        findings.push(Finding::new(Level::Note, CHECK, "the admin's token is in the environment", advice));
    }
    match token.read() {
        Ok(Some(secret)) if secret.reveal().len() < 20 => {
            let advice = "make a long one: head -c 24 /dev/urandom | base64";
            findings.push(Finding::new(Level::Warning, CHECK, "the admin's token can be guessed: it is short", advice));
        }
        Ok(_) => (),
        Err(error) => {
            findings.push(Finding::new(
                Level::Problem,
                CHECK,
                words(&error),
                "write the token there, or leave the setting out",
            ));
        }
    }
    findings
}

/// A file with a secret, which others must not read.
fn secret(path: &Path) -> Option<Finding> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(facts) if facts.permissions().mode() & 0o077 != 0 => {
            let found = format!("others can read {shown}, which holds a secret");
            Some(Finding::new(Level::Problem, CHECK, found, format!("chmod 600 {shown}")))
        }
        Ok(_) => None,
        Err(error) => {
            let found = format!("cannot look at {shown}: {error}");
            Some(Finding::new(Level::Problem, CHECK, found, "put the file there, and run this as the server's user"))
        }
    }
}

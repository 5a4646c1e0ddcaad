//! The CA, the server's certificate and who may run it all: what holds, and for how long.

use std::path::Path;
use std::time::Duration;

use super::{Finding, Level, words};
use crate::authority::backup::check_record;
use crate::client::certificate::Facts;
use crate::config::Serve;
use crate::store::folder::Snapshot;
use crate::units::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn look(settings: &Serve, now: Timestamp) -> Vec<Finding> {
    let folder = settings.storage_path.join("pki");
    if !folder.is_dir() {
        return Vec::new();
    }
    let rotate = "ddrop pki ca --rotate -s STORAGE; clients need nothing new";
    let renew = "restart the server: it renews its certificate by itself, and says in its log why it could not";
    let root = "a new root means a new storage folder and new invites for everyone: plan it";
    let mut findings = vec![
        certificate(&folder.join("root.crt"), "the root", 365, root, now),
        certificate(&folder.join("issuing.crt"), "the issuing CA", 90, rotate, now),
    ];
    match &settings.tls_files {
        None if folder.join("server.crt").exists() => {
            findings.push(certificate(&folder.join("server.crt"), "the server's certificate", 7, renew, now));
        }
        None => (),
        Some((path, _)) => {
            let advice = "renew it where it comes from; the server reads the file again by itself";
            findings.push(certificate(path, "the server's certificate", 14, advice, now));
        }
    }
    if folder.join("root.key").exists() {
        let found = "the root's key is on this machine";
        let advice = "take it offline if the machine is exposed: ddrop pki ca --export-root FILE -s STORAGE";
        findings.push(Finding::new(Level::Note, "ca", found, advice));
    }
    if let Ok(key) = std::fs::read_to_string(folder.join("issuing.key"))
        && !key.contains("ENCRYPTED")
    {
        let found = "the CA's keys are not encrypted at rest";
        let advice =
            "DD_CA_PASSPHRASE_FILE, best with a credential of the service manager, if backups or disks go elsewhere";
        findings.push(Finding::new(Level::Note, "ca", found, advice));
    }
    // Rows that cannot be read are told of with the content.
    if let Ok(rows) = Snapshot::look(&settings.storage_path) {
        findings.extend(admins(&rows, settings, now));
        findings.push(record(&folder, &rows));
    }
    findings
}

/// How long a certificate holds; `early`: so many days before its end something is to be done.
fn certificate(path: &Path, what: &str, early: u32, advice: &str, now: Timestamp) -> Finding {
    let facts = match read(path) {
        Ok(facts) => facts,
        Err(error) => {
            let found = format!("{what} cannot be read from {}: {error}", path.display());
            return Finding::new(Level::Problem, "certificates", found, "restore it from a backup");
        }
    };
    let (from, until) = (facts.not_before, facts.not_after);
    if until <= now {
        return Finding::new(Level::Problem, "certificates", format!("{what} ended at {until}"), advice);
    }
    if now < from {
        let found = format!("{what} begins at {from}, and it is {now} here");
        return Finding::new(Level::Problem, "certificates", found, "set the clock");
    }
    let days = until.since(now).as_secs() / DAY.as_secs();
    if until.since(now) < DAY * early {
        return Finding::new(Level::Warning, "certificates", format!("{what} ends in {days} days"), advice);
    }
    Finding::ok("certificates", format!("{what} holds for {days} days"))
}

fn read(path: &Path) -> Result<Facts, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let all = ::pki::pem::certificates(&text).map_err(|error| words(&error))?;
    let first = all.into_iter().next().ok_or_else(|| "there is no certificate in it".to_owned())?;
    Facts::of(&first).map_err(|error| words(&error))
}

fn admins(rows: &Snapshot, settings: &Serve, now: Timestamp) -> Option<Finding> {
    let facts = rows.facts(now).ok()?;
    if facts.clients == 0 {
        let advice = "paste the line the server prints at its start, or: ddrop pki invite NAME --admin -s STORAGE";
        return Some(Finding::new(Level::Note, "admins", "no client is enrolled yet", advice));
    }
    if facts.admins == 0 && matches!(settings.token, crate::config::Token::None) {
        let advice = "ddrop pki invite NAME --admin -s STORAGE";
        return Some(Finding::new(Level::Warning, "admins", "no admin has a certificate that can be used", advice));
    }
    Some(Finding::ok("admins", format!("{} with a certificate that can be used", facts.admins)))
}

fn record(folder: &Path, rows: &Snapshot) -> Finding {
    match check_record(folder, rows) {
        Ok(lines) => Finding::ok("audit", format!("{lines} lines, each as it was written")),
        Err(error) => {
            let advice = "find out who can write to the storage folder; compare with a backup's pki/audit.log";
            Finding::new(Level::Problem, "audit", words(&error), advice)
        }
    }
}

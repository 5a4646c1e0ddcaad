//! The rows, and whether the bytes they name are there.

use std::fs;
use std::io;
use std::path::Path;

use super::{Finding, Level, words};
use crate::store::Error;
use crate::store::folder::{Kept, Snapshot, digest, place};
use crate::units::Timestamp;

/// Links named one by one; more are counted.
const NAMED: usize = 5;

pub(super) fn look(storage: &Path, contents: bool, now: Timestamp) -> Vec<Finding> {
    if !storage.is_dir() {
        return Vec::new();
    }
    let broken = |error: &Error| {
        let advice = "stop the server and restore a backup (ddrop restore FILE -s STORAGE --force)";
        vec![Finding::new(Level::Problem, "rows", words(error), advice)]
    };
    let rows = match Snapshot::look(storage).and_then(|rows| rows.check().and_then(|()| rows.facts(now)).map(|_| rows))
    {
        Ok(rows) => rows,
        Err(error) => return broken(&error),
    };
    let mut findings = vec![Finding::ok("rows", "the database is whole")];
    match links(storage, &rows, contents) {
        Ok(found) => findings.extend(found),
        Err(error) => findings.extend(broken(&error)),
    }
    findings
}

fn links(storage: &Path, rows: &Snapshot, contents: bool) -> Result<Vec<Finding>, Error> {
    let (mut seen, mut bad, mut last) = (0_u64, Vec::new(), String::new());
    loop {
        let page = rows.after(&last)?;
        let Some(end) = page.last() else { break };
        last.clone_from(&end.id);
        for kept in page {
            seen += 1;
            // It may have ended while it was looked at.
            if !is_whole(storage, &kept, contents)? && rows.still(&kept)? {
                bad.push(kept.id);
            }
        }
    }
    if bad.is_empty() {
        let how = if contents { "digest" } else { "size" };
        return Ok(vec![Finding::ok("links", format!("{seen} have bytes of the right {how}"))]);
    }
    let finding = |found, id: &str| {
        let advice = format!("end it (ddrop expire {id}) and upload it again, or take it from a backup");
        Finding::new(Level::Problem, "links", found, advice)
    };
    let mut findings: Vec<_> =
        bad.iter().take(NAMED).map(|id| finding(format!("the bytes of {id} are missing or altered"), id)).collect();
    if bad.len() > NAMED {
        findings.push(finding(format!("and those of {} more", bad.len() - NAMED), "ID"));
    }
    Ok(findings)
}

fn is_whole(storage: &Path, kept: &Kept, contents: bool) -> Result<bool, Error> {
    let Ok(place) = place(&kept.blob) else { return Ok(false) };
    let path = storage.join(place);
    match fs::metadata(&path) {
        Ok(facts) if facts.len() != kept.size => return Ok(false),
        Ok(_) if !contents => return Ok(true),
        Ok(_) => (),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(Error::io("look at", path, source)),
    }
    match digest(&path) {
        Ok((_, found)) => Ok(found == kept.sha256),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::io("read", path, source)),
    }
}

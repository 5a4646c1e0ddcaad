//! What FlaskPaste's headers ask for.

use std::time::Duration;

use axum::http::HeaderMap;

use crate::api::paste::header;
use crate::identity::{Principal, Tier};
use crate::link::{FileName, turns_text};
use crate::server::problem::Problem;

/// Characters a display name may have.
const LONGEST_NAME: usize = 128;

/// A header as text: UTF-8, and there once.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut all = headers.get_all(name).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(Problem::bad_request(format!("there are two headers {name}")));
    }
    let text = std::str::from_utf8(value.as_bytes());
    text.map(|text| Some(text.trim())).map_err(|_| Problem::bad_request(format!("{name} is not UTF-8")))
}

/// A header that says yes or no.
pub(super) fn yes(headers: &HeaderMap, name: &str) -> Result<bool, Problem> {
    match text(headers, name)?.unwrap_or_default().to_ascii_lowercase().as_str() {
        "" | "false" | "0" | "no" => Ok(false),
        "true" | "1" | "yes" => Ok(true),
        _ => Err(Problem::bad_request(format!("{name} is true or false"))),
    }
}

/// The lifetime that is asked for, in seconds.
pub(super) fn expiry(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    let Some(text) = text(headers, header::EXPIRY)? else { return Ok(None) };
    let wrong = || Problem::bad_request("X-Expiry is a whole number of seconds, 1 or more");
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    // What is too long for a number is longer than anything may live.
    match text.parse().unwrap_or(u64::MAX) {
        0 => Err(wrong()),
        seconds => Ok(Some(Duration::from_secs(seconds))),
    }
}

/// The display name, which only somebody can give; `Some(None)` takes it away.
pub(super) fn display_name(headers: &HeaderMap, who: &Principal) -> Result<Option<Option<FileName>>, Problem> {
    let remove = yes(headers, header::REMOVE_DISPLAY_NAME)?;
    let Some(text) = text(headers, header::DISPLAY_NAME)? else { return Ok(remove.then_some(None)) };
    if text.is_empty() {
        return Ok(Some(None));
    }
    if who.tier == Tier::Anonymous {
        return Err(Problem::unauthorized("a display name needs a client certificate"));
    }
    if text.chars().count() > LONGEST_NAME {
        return Err(Problem::bad_request(format!("a display name has at most {LONGEST_NAME} characters")));
    }
    if text.chars().any(|c| c.is_control() || turns_text(c)) {
        return Err(Problem::bad_request("a display name has no control characters"));
    }
    match FileName::clean(text) {
        Some(name) if name.as_str() == text => Ok(Some((!remove).then_some(name))),
        _ => Err(Problem::bad_request("a display name is a file name too: it has no slashes, and more than dots")),
    }
}

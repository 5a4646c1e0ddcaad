//! What can go wrong between this program and a server, in words that say what to do next.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;
use url::Url;

use super::tls::Anchors;
use super::{profile, tls};
use crate::api::Problem;
use crate::identity::Sha256;
use crate::units::Size;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings cannot be used.
    #[error(transparent)]
    Profile(#[from] profile::Error),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The server answered that it will not or cannot.
    #[error(transparent)]
    Answer(Box<Answer>),
    /// There was no connection.
    #[error("cannot reach {url}: {why}")]
    Unreachable {
        /// Where.
        url: String,
        /// The cause in words.
        why: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// There was one, to somebody we do not trust or who does not trust us.
    #[error("{why} ({url})")]
    Untrusted {
        /// Where.
        url: String,
        /// The cause in words.
        why: String,
        /// What to do.
        hint: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// Nobody at the server's address has the root that the invite names.
    #[error(
        "{url} does not have the CA of this invite: someone may be between you and the server, or the invite is of another server"
    )]
    WrongRoot {
        /// Where.
        url: String,
    },
    /// The connection broke while something was on its way.
    #[error("the connection to {url} broke: {}", cause(.source))]
    Broken {
        /// Where.
        url: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// Nothing came for this long.
    #[error("{url} sent nothing for {} seconds", .after.as_secs())]
    Stalled {
        /// Where.
        url: String,
        /// How long was waited.
        after: Duration,
    },
    /// Fewer bytes came than were announced.
    #[error("only {got} of {size} bytes came from {url}")]
    Short {
        /// Where.
        url: String,
        /// Came.
        got: u64,
        /// Announced.
        size: u64,
    },
    /// The answer is none this program understands.
    #[error("{url} answered something unexpected: {what}")]
    Unexpected {
        /// Where.
        url: String,
        /// What was wrong with it.
        what: String,
    },
    /// The content is not what its digest says.
    #[error("{what} does not match its SHA-256: expected {expected}, got {got}")]
    Digest {
        /// What was checked.
        what: String,
        /// What it should be.
        expected: Sha256,
        /// What it is.
        got: Sha256,
    },
    /// The certificate that came back is not the one that was asked for.
    #[error("the certificate the server sent cannot be used: {0}")]
    Certificate(#[from] super::certificate::Error),
    /// A key could not be made.
    #[error("cannot make a key")]
    Key(#[from] pki::key::Error),
    /// A signing request could not be made.
    #[error("cannot make a signing request")]
    Request(#[from] pki::request::Error),
    /// A self-signed certificate could not be made.
    #[error("cannot make a certificate")]
    SelfSigned(#[from] pki::certificate::Error),
    /// Something local failed.
    #[error("cannot {doing} {}", .path.display())]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The stream to write to failed, or nobody reads it any more.
    #[error("cannot write the output")]
    Output(#[source] std::io::Error),
    /// The file to write is there already.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// Another fetch writes the same file.
    #[error("another fetch is writing {}", .0.display())]
    Busy(PathBuf),
    /// The file changed while it was being uploaded.
    #[error("{0} changed while it was read; nothing was uploaded")]
    Changed(String),
    /// What was in a folder when it was listed is not there any more.
    #[error("{} vanished while its folder was packed; nothing was uploaded", .0.display())]
    Vanished(PathBuf),
    /// A socket, a pipe or a device in a folder.
    #[error("{} is neither a file, a folder nor a link", .0.display())]
    Unpackable(PathBuf),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Something failed that has no more to it than these words.
    #[error("{0}")]
    Failed(String),
}

/// The server's refusal or failure.
#[derive(Debug, thiserror::Error)]
#[error("{}", text(.status, .problem.as_ref()))]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// What the server said about it, if it is one of ours.
    pub problem: Option<Problem>,
    /// Where a redirect would lead, which is never followed.
    pub location: Option<String>,
    /// How far the server's clock is from ours, in seconds; positive when ours is behind.
    pub skew: Option<i64>,
}

fn text(status: &StatusCode, problem: Option<&Problem>) -> String {
    match problem {
        Some(problem) => problem.detail.clone(),
        None => format!("the server answered {status}"),
    }
}

/// How a command ends, as far as scripts can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// None of the others.
    Failed,
    /// The request itself was wrong.
    Usage,
    /// There is no such link (any more).
    Missing,
    /// The server refused the caller.
    Refused,
    /// The server could not be reached or trusted.
    Unreachable,
    /// The content is not what its digest says.
    Mismatch,
}

impl Error {
    /// How a command that fails with this ends.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Answer(answer) => match answer.status {
                StatusCode::NOT_FOUND | StatusCode::GONE => Outcome::Missing,
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Outcome::Refused,
                _ => Outcome::Failed,
            },
            Self::Unreachable { .. } | Self::Untrusted { .. } | Self::WrongRoot { .. } => Outcome::Unreachable,
            Self::Digest { .. } => Outcome::Mismatch,
            Self::Usage(_) => Outcome::Usage,
            _ => Outcome::Failed,
        }
    }

    /// What to do about it, if there is more to say than what happened.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Answer(answer) => answer.hint(),
            Self::Profile(error) => error.hint(),
            Self::Untrusted { hint, .. } => Some(hint.clone()),
            Self::WrongRoot { .. } => Some(
                "nothing was sent or changed. Compare the address with whoever made the invite, or ask for a new one"
                    .to_owned(),
            ),
            Self::Unreachable { .. } => Some(
                "is the server running there, and is the address right? ddrop info shows what is in use".to_owned(),
            ),
            Self::Exists(_) => Some("--force replaces it; -o PATH saves elsewhere".to_owned()),
            Self::Broken { .. } | Self::Stalled { .. } | Self::Short { .. } => Some("try again".to_owned()),
            Self::Vanished(_) | Self::Changed(_) => Some("try again when nothing writes there".to_owned()),
            Self::Unpackable(_) => Some("leave it out: tar -cz --exclude=… FOLDER | ddrop upload - -n NAME".to_owned()),
            _ => None,
        }
    }

    /// Whether the same attempt may succeed a moment later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::Stalled { .. } | Self::Short { .. } | Self::Unreachable { .. } => true,
            Self::Answer(answer) => {
                matches!(answer.status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
            }
            _ => false,
        }
    }

    /// An `Io` error, for `map_err`.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }

    /// What a failed request means.
    pub(super) fn transport(url: &Url, anchors: &Anchors, source: reqwest::Error) -> Self {
        let url = origin(url);
        if let Some(found) = find::<rustls::Error>(&source) {
            let (why, hint) = tls::explain(found, anchors);
            return Self::Untrusted { url, why, hint, source };
        }
        if source.is_connect() || source.is_timeout() {
            let why = if source.is_timeout() { "no answer in time".to_owned() } else { cause(&source) };
            return Self::Unreachable { url, why, source };
        }
        Self::Broken { url, source }
    }
}

/// Five minutes: less is no reason for a certificate to be refused.
const NOTABLE_SKEW: i64 = 300;

impl Answer {
    fn hint(&self) -> Option<String> {
        let mut hints = Vec::new();
        hints.extend(self.problem.as_ref().and_then(|problem| match problem.code.as_str() {
            // The server speaks of a header.
            "password_required" => Some("ddrop fetch asks for its password, or takes --password-file".to_owned()),
            _ => problem.hint.clone(),
        }));
        if let Some(skew) = self.skew.filter(|skew| skew.abs() > NOTABLE_SKEW) {
            let way = if skew > 0 { "behind" } else { "ahead of" };
            hints.push(format!("the clock of this machine is {} minutes {way} the server's", skew.abs() / 60));
        }
        if let Some(place) = self.location.as_ref() {
            hints.push(format!("it points to {place}; redirects are not followed: give that address instead"));
        }
        if let (Some(problem), true) = (self.problem.as_ref(), self.status.is_server_error()) {
            hints.push(format!("the server's log says more under the request id {}", problem.request_id));
        }
        (!hints.is_empty()).then(|| hints.join("; "))
    }
}

/// No such path, rather than no such link.
pub(super) fn lacks(error: Error, what: &str) -> Error {
    let Error::Answer(answer) = &error else { return error };
    let no_path = answer.problem.as_ref().is_some_and(|problem| problem.detail == "there is no such path");
    match answer.status {
        StatusCode::NOT_FOUND if no_path => Error::Failed(format!("this server has no {what}")),
        StatusCode::METHOD_NOT_ALLOWED => Error::Failed(format!("this server has no {what}")),
        _ => error,
    }
}

/// A URL without what nobody needs to read in an error: path, query, fragment and credentials.
pub(super) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// The innermost cause, which is the one that says something.
fn cause(error: &(dyn StdError + 'static)) -> String {
    let mut last: &dyn StdError = error;
    while let Some(inner) = last.source() {
        last = inner;
    }
    let text = last.to_string();
    // The operating system's number says nothing to most people.
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// The first error of this type in a chain; looks into I/O errors, whose `source` skips what they carry.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(here) = next {
        if let Some(found) = here.downcast_ref::<T>() {
            return Some(found);
        }
        let carried = here.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(found) = carried.and_then(|inner| find::<T>(inner)) {
            return Some(found);
        }
        next = here.source();
    }
    None
}

/// What to say about too large a file when the server hung up before it could say so itself.
pub(super) fn too_large(size: u64, limit: u64) -> Error {
    Error::Failed(format!(
        "File too large: it has {}, and this server takes at most {} a file",
        Size(size),
        Size(limit)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> Error {
        let status = StatusCode::from_u16(status).expect("a status");
        Error::Answer(Box::new(Answer { status, problem: None, location: None, skew: None }))
    }

    #[test]
    fn every_status_has_its_outcome() {
        for (status, outcome) in [
            (404, Outcome::Missing),
            (410, Outcome::Missing),
            (401, Outcome::Refused),
            (403, Outcome::Refused),
            (400, Outcome::Failed),
            (413, Outcome::Failed),
            (507, Outcome::Failed),
            (500, Outcome::Failed),
            (302, Outcome::Failed),
        ] {
            assert_eq!(answer(status).outcome(), outcome, "{status}");
        }
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        assert!(answer(503).may_pass() && answer(429).may_pass());
        assert!(!answer(404).may_pass() && !answer(507).may_pass() && !answer(403).may_pass());
    }

    #[test]
    fn a_wrong_clock_is_named() {
        let status = StatusCode::FORBIDDEN;
        let one = Answer { status, problem: None, location: None, skew: Some(7200) };
        assert_eq!(one.hint().as_deref(), Some("the clock of this machine is 120 minutes behind the server's"));
        let near = Answer { status, problem: None, location: None, skew: Some(-20) };
        assert_eq!(near.hint(), None);
    }
}

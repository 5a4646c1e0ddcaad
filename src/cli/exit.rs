//! With which code a command ends.

use std::process::ExitCode;

use super::output;
use crate::client::transfer::reference;
use crate::client::{self, Outcome};

/// Tells what failed and answers the exit code: 1 failed, 2 usage, 3 no such link, 4 refused, 5 not reached or not
/// trusted, 6 content that does not match its digest. A closed pipe is no failure.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let code = code(error);
    if code != 0 {
        output::failure(&text(error), hint(error).as_deref());
    }
    ExitCode::from(code)
}

/// The exit code of a failure.
pub fn code(error: &anyhow::Error) -> u8 {
    if is_closed_pipe(error) {
        return 0;
    }
    match find::<client::Error>(error).map(client::Error::outcome) {
        Some(Outcome::Usage) => 2,
        Some(Outcome::Missing) => 3,
        Some(Outcome::Refused) => 4,
        Some(Outcome::Unreachable) => 5,
        Some(Outcome::Mismatch) => 6,
        Some(Outcome::Failed) => 1,
        None if find::<reference::Error>(error).is_some_and(|error| matches!(error, reference::Error::Id(_))) => 3,
        None if find::<Usage>(error).is_some() => 2,
        None => 1,
    }
}

/// Something wrong with what was said on the command line that only the command itself can find.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    if matches!(find::<output::Error>(error), Some(output::Error::Closed)) {
        return true;
    }
    match find::<client::Error>(error) {
        Some(client::Error::Output(source)) => source.kind() == std::io::ErrorKind::BrokenPipe,
        _ => false,
    }
}

fn find<T: std::error::Error + 'static>(error: &anyhow::Error) -> Option<&T> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

/// The failure and its causes, each once: some errors say the same as their source.
fn text(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        // What is behind a failed connection has been put into words already.
        let words = cause.to_string();
        if !parts.iter().any(|said| said.contains(&words)) {
            parts.push(words);
        }
        if matches!(
            cause.downcast_ref(),
            Some(
                client::Error::Unreachable { .. }
                    | client::Error::Untrusted { .. }
                    | client::Error::Broken { .. }
                    | client::Error::Answer(_)
            )
        ) {
            break;
        }
    }
    output::printable(&parts.join(": "))
}

fn hint(error: &anyhow::Error) -> Option<String> {
    let hint = find::<client::Error>(error).and_then(client::Error::hint);
    hint.or_else(|| find::<client::profile::Error>(error).and_then(client::profile::Error::hint))
        .map(|hint| output::printable(&hint))
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;
    use crate::client::{Answer, Error};

    fn answer(status: u16) -> Error {
        let status = reqwest::StatusCode::from_u16(status).expect("a status");
        Error::Answer(Box::new(Answer { status, problem: None, location: None, skew: None }))
    }

    #[test]
    fn codes_survive_context() {
        for (error, expected) in
            [(answer(404), 3), (answer(410), 3), (answer(403), 4), (answer(401), 4), (answer(507), 1)]
        {
            let wrapped = Err::<(), _>(error).context("cannot do it").expect_err("an error");
            assert_eq!(code(&wrapped), expected);
        }
        assert_eq!(code(&anyhow::anyhow!("something else")), 1);
        assert_eq!(code(&anyhow::Error::new(Usage("no".into()))), 2);
        assert_eq!(code(&anyhow::Error::new(output::Error::Closed)), 0);
        let closed = Error::Output(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert_eq!(code(&anyhow::Error::new(closed)), 0);
        let bad_id = "..".parse::<reference::Reference>().expect_err("no id");
        assert_eq!(code(&anyhow::Error::new(bad_id)), 3);
    }

    #[test]
    fn a_cause_is_not_said_twice() {
        let error = Err::<(), _>(Error::Failed("the disk is on fire".into())).context("cannot do it");
        assert_eq!(text(&error.expect_err("an error")), "cannot do it: the disk is on fire");
    }
}

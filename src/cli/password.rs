//! The password of a link: from a file, the environment or the terminal, never from the command line.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::exit;
use crate::password::LONGEST;
use crate::token::Secret;

/// Where it is said.
const VARIABLE: &str = "DD_PASSWORD";

/// What was said.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct PasswordFile {
    /// A file with the password; else it is DD_PASSWORD, else it is asked for
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordFile {
    pub(super) fn is_given(&self) -> bool {
        self.password_file.is_some()
    }

    /// For a link that is to be: on a terminal it is asked for twice, since nobody sees it.
    pub(super) fn chosen(&self) -> Result<Secret> {
        if let Some(said) = self.said()? {
            return Ok(said);
        }
        let first = asked("Password: ")?;
        if asked("The same again: ")?.reveal() != first.reveal() {
            return Err(exit::Usage("the passwords differ".to_owned()).into());
        }
        Ok(first)
    }

    /// For a link that is.
    pub(super) fn known(&self) -> Result<Secret> {
        match self.said()? {
            Some(said) => Ok(said),
            None => asked("Password: "),
        }
    }

    /// Whether [`Self::known`] asks somebody, who may say another the next time.
    pub(super) fn is_asked(&self) -> bool {
        self.password_file.is_none() && std::env::var_os(VARIABLE).is_none()
    }

    fn said(&self) -> Result<Option<Secret>> {
        let text = match &self.password_file {
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
                Some((text.trim_end_matches(['\n', '\r']).to_owned(), path.display().to_string()))
            }
            None => std::env::var(VARIABLE).ok().map(|text| (text, VARIABLE.to_owned())),
        };
        text.map(|(text, place)| checked(text, &place)).transpose()
    }
}

fn checked(text: String, place: &str) -> Result<Secret> {
    match text.len() {
        1..=LONGEST => Ok(Secret::from_given(text)),
        0 => Err(exit::Usage(format!("the password is empty ({place})")).into()),
        _ => Err(exit::Usage(format!("the password is longer than {LONGEST} bytes ({place})")).into()),
    }
}

/// Asked on the terminal itself: standard input may be what is to be uploaded.
fn asked(prompt: &str) -> Result<Secret> {
    let tty = File::options().read(true).write(true).open("/dev/tty").map_err(|_| {
        exit::Usage(format!(
            "a password is needed, and there is no terminal to ask on: say --password-file or {VARIABLE}"
        ))
    })?;
    let quiet = Quiet::on(tty)?;
    let (mut to, mut line) = (&quiet.tty, String::new());
    to.write_all(prompt.as_bytes()).context("cannot write to the terminal")?;
    BufReader::new(&quiet.tty).read_line(&mut line).context("cannot read from the terminal")?;
    // The end of the line was not shown either.
    to.write_all(b"\n").context("cannot write to the terminal")?;
    checked(line.trim_end_matches(['\n', '\r']).to_owned(), "as typed")
}

/// A terminal that does not show what is typed, until this is dropped.
struct Quiet {
    tty: File,
    before: Termios,
}

impl Quiet {
    fn on(tty: File) -> Result<Self> {
        let before = tcgetattr(&tty).context("cannot look at the terminal")?;
        let mut without = before.clone();
        without.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&tty, OptionalActions::Flush, &without).context("cannot set up the terminal")?;
        Ok(Self { tty, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // There is nobody left to tell if the terminal is gone.
        let _ = tcsetattr(&self.tty, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_ends_where_its_line_ends() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("password");
        let of = |text: &str| {
            std::fs::write(&path, text).expect("written");
            PasswordFile { password_file: Some(path.clone()) }.chosen().map(|secret| secret.reveal().to_owned())
        };
        assert_eq!(of(" hunter2 \r\n").expect("said"), " hunter2 ");
        assert_eq!(exit::code(&of("\n").expect_err("empty")), 2);
        assert_eq!(exit::code(&of(&"x".repeat(1025)).expect_err("long")), 2);
        assert!(PasswordFile { password_file: Some(dir.path().join("none")) }.known().is_err());
    }
}

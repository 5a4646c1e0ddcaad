//! The only file that prints: results to standard output, everything else to standard error.

use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::client::transfer::{Progress, Silent};
use crate::link::turns_text;

/// Why nothing could be written to standard output.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody reads it any more, which is nobody's fault.
    #[error("standard output is closed")]
    Closed,
    /// It cannot be written.
    #[error("cannot write to standard output")]
    Write(#[source] io::Error),
    /// A result cannot be made into JSON.
    #[error("cannot write the result as JSON")]
    Json(#[source] serde_json::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        if error.kind() == ErrorKind::BrokenPipe { Self::Closed } else { Self::Write(error) }
    }
}

/// A line of the result.
///
/// # Errors
/// When standard output cannot be written.
pub fn line(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", harmless(text))?;
    Ok(out.flush()?)
}

/// A result as it is, such as a PEM text that ends its last line itself.
///
/// # Errors
/// When standard output cannot be written.
pub fn raw(bytes: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}

/// The result as one JSON value.
///
/// # Errors
/// When standard output cannot be written.
pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(Error::Json)?;
    line(&escaped(&text))
}

/// Standard output as a stream.
pub fn stdout() -> io::Stdout {
    io::stdout()
}

/// A line for people, or several.
pub fn message(text: &str) {
    // There is nobody left to tell when standard error is gone.
    let _ = writeln!(io::stderr(), "{}", harmless(text));
}

/// The beginning of a line for people, which a result goes on with when both are on the same terminal.
pub fn lead(text: &str) {
    let mut err = io::stderr().lock();
    let _ = write!(err, "{text}");
    if err.is_terminal() && !io::stdout().is_terminal() {
        let _ = writeln!(err);
    }
    let _ = err.flush();
}

/// A line for people about something that is not as it should be and stops nothing.
pub fn warning(text: &str) {
    emphasised("warning:", "33", text);
}

/// What made the command fail, and what to do about it.
pub fn failure(text: &str, hint: Option<&str>) {
    emphasised("error:", "31", text);
    if let Some(hint) = hint {
        emphasised("hint:", "36", hint);
    }
}

fn emphasised(word: &str, colour: &str, text: &str) {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) || !io::stderr().is_terminal();
    let text = harmless(text);
    let _ = if plain {
        writeln!(io::stderr(), "{word} {text}")
    } else {
        writeln!(io::stderr(), "\x1b[1;{colour}m{word}\x1b[0m {text}")
    };
}

/// Columns for people: as wide as needed, two spaces apart, nothing after the last.
///
/// # Errors
/// When standard output cannot be written.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let head: Vec<String> = head.iter().map(|word| (*word).to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let width = |column: usize| {
        all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for row in all {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{:<width$}", printable(cell))).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    raw(text.as_bytes())
}

/// A text from elsewhere, without what a terminal would obey and what makes it read as another text.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if obeyed(c) { '\u{FFFD}' } else { c }).collect()
}

/// [`printable`], of several lines.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if obeyed(c) && !matches!(c, '\n' | '\t') { '\u{FFFD}' } else { c }).collect()
}

/// JSON, which by itself escapes only half of the characters that command a terminal.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if obeyed(c) && c != '\n' {
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            text.push(c);
        }
    }
    text
}

fn obeyed(c: char) -> bool {
    c.is_control() || turns_text(c)
}

/// What is said beside the progress of a proof of work.
pub const WORKING: &str = "working for a place on the server:";

/// Progress on standard error if that is a terminal, else none.
pub fn progress(what: &str) -> Arc<dyn Progress> {
    if !io::stderr().is_terminal() {
        return Arc::new(Silent);
    }
    Arc::new(Bar { what: printable(what), templates: BYTES, bar: Mutex::new(None) })
}

/// The same for what is counted and not measured in bytes.
pub fn counting(what: &str) -> Arc<dyn Progress> {
    if !io::stderr().is_terminal() {
        return Arc::new(Silent);
    }
    Arc::new(Bar { what: printable(what), templates: COUNTED, bar: Mutex::new(None) })
}

/// What a bar looks like when the end is known, and when it is not.
type Templates = (&'static str, &'static str);

const BYTES: Templates =
    ("{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}", "{msg} {bytes} {bytes_per_sec}");
const COUNTED: Templates = ("{msg} [{bar:30}] {human_pos} {eta}", "{msg} {human_pos} {per_sec} {elapsed}");

struct Bar {
    what: String,
    templates: Templates,
    bar: Mutex<Option<ProgressBar>>,
}

impl Progress for Bar {
    fn begin(&self, total: Option<u64>, done: u64) {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        let (known, unknown) = self.templates;
        let template = if total.is_some() { known } else { unknown };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(self.what.clone());
        bar.set_position(done);
        // The bar of an attempt before this one is not to stay on the screen.
        if let Some(before) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).replace(bar) {
            before.finish_and_clear();
        }
    }

    fn advance(&self, bytes: u64) {
        if let Some(bar) = &*self.bar.lock().unwrap_or_else(PoisonError::into_inner) {
            bar.inc(bytes);
        }
    }

    fn retry(&self, why: &str) {
        match &*self.bar.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(bar) => bar.suspend(|| message(&format!("{why}; going on"))),
            None => message(&format!("{why}; going on")),
        }
    }

    fn finish(&self) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get_mut().unwrap_or_else(PoisonError::into_inner) {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_told_from_other_failures() {
        assert!(matches!(Error::from(io::Error::from(ErrorKind::BrokenPipe)), Error::Closed));
        assert!(matches!(Error::from(io::Error::from(ErrorKind::StorageFull)), Error::Write(_)));
    }

    #[test]
    fn names_from_elsewhere_cannot_command_a_terminal() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a\u{FFFD}[2Jb\u{FFFD}");
        assert_eq!(printable("a\u{9b}2J"), "a\u{FFFD}2J");
        assert_eq!(printable("\u{202e}fdp.exe"), "\u{FFFD}fdp.exe", "nor read as another");
        assert_eq!(harmless("one\n\ttwo\x1b]0;title\x07"), "one\n\ttwo\u{FFFD}]0;title\u{FFFD}");
    }

    #[test]
    fn json_cannot_either_and_says_the_same() {
        let value = serde_json::json!({ "name": "a\u{9b}2J\u{202e}b\x1b\n\u{e9}" });
        let text = escaped(&serde_json::to_string_pretty(&value).expect("JSON"));
        assert!(!text.chars().any(|c| obeyed(c) && c != '\n'), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("JSON"), value);
    }
}

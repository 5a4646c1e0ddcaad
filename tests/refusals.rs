//! Every refusal has a test: whatever the authority, what is below it and its part of the API can say no with.
//!
//! This reads the program and its tests as text. That a test names a refusal does not prove that it is a good one, but a
//! new refusal without any fails here, and so does a word that no longer exists.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Where refusals are made.
const PLACES: [&str; 6] = ["pki/src", "src/authority", "src/audit.rs", "src/token.rs", "src/tls", "src/abuse/work.rs"];

/// Whose every sentence is quoted in a test.
const HANDLERS: [&str; 5] = ["audit", "est", "ocsp", "pki", "register"];

/// What nothing outside can cause, and why. Whatever has a test is not here.
const OUT_OF_REACH: [(&str, &str); 10] = [
    ("ca::Error::Sign", "as sign::Error::Key; a Ca has a certificate that was read when it was made"),
    ("certificate::Error::Check", "what was signed differs from what was meant: a mistake of ours"),
    ("certificate::Error::Random", "the system's random numbers do not end"),
    ("certificate::Error::Sign", "as sign::Error::Key; no certificate of another is read where this is made"),
    ("crl::Error::Certificate", "a Ca has a certificate that was read when it was made"),
    ("crl::Error::Key", "a key that was read signs, as long as there are random numbers"),
    ("key::Error::Random", "the system's random numbers do not end"),
    ("ocsp::Error::Key", "as crl::Error::Key"),
    ("request::Error::Sign", "as sign::Error::Key; the encoder takes every name that distinguished_name lets by"),
    ("sign::Error::Key", "as crl::Error::Key"),
];

/// The same for sentences.
const NEVER_SAID: [(&str, &str); 1] = [("nothing was made", "who brings no signing request always gets a bundle")];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file at or below a path, with its text.
fn files(at: &Path) -> Vec<(PathBuf, String)> {
    if at.is_file() {
        let is_rust = at.extension().is_some_and(|ending| ending == "rs");
        let read = || (at.to_owned(), std::fs::read_to_string(at).expect("readable"));
        return is_rust.then(read).into_iter().collect();
    }
    let entries = std::fs::read_dir(at).expect("a folder");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().flat_map(|path| files(path)).collect()
}

fn is_tests_alone(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs")
}

/// Without comments, of which none is a test.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// A file of the program in what it does and what it is tested by.
fn halves(path: &Path, text: &str) -> (String, String) {
    let text = code(text);
    if is_tests_alone(path) {
        return (String::new(), text);
    }
    match text.find("#[cfg(test)]\nmod tests {") {
        Some(at) => (text[..at].to_owned(), text[at..].to_owned()),
        None => (text, String::new()),
    }
}

/// All tests there are, with where they are; not this one, which names everything.
fn tests() -> Vec<(PathBuf, String)> {
    let all = ["src", "tests", "pki"].into_iter().flat_map(|place| files(&root().join(place)));
    all.filter(|(path, _)| *path != root().join(file!()))
        .map(|(path, text)| {
            let (_, tested) = halves(&path, &text);
            (path, tested)
        })
        .filter(|(_, tested)| !tested.is_empty())
        .collect()
}

/// A way to fail: the module it belongs to, its type, and its name unless the type is all of it.
#[derive(Debug)]
struct Refusal {
    file: PathBuf,
    module: String,
    name: String,
}

impl Refusal {
    fn whole(&self) -> String {
        format!("{}::{}", self.module, self.name)
    }

    /// Whether a test names it: with its module from anywhere, without it from beside it.
    fn is_named_in(&self, path: &Path, text: &str) -> bool {
        let folder = self.file.parent().expect("a folder");
        let beside = *path == self.file || (folder.ends_with(&self.module) && path.starts_with(folder));
        let own_name = !self.name.starts_with("Error::") && contains_word(text, &self.name, true);
        own_name || contains_word(text, &self.whole(), true) || (beside && contains_word(text, &self.name, false))
    }
}

/// `qualified`: something with `::` may stand before it.
fn contains_word(text: &str, word: &str, qualified: bool) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + word.len()..].chars().next());
        let part_of = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !part_of(before) && !part_of(after) && (qualified || before != Some(':'))
    })
}

/// The module of a file: its name, or that of its folder.
fn module(path: &Path) -> String {
    let name = |path: &Path| path.file_stem().expect("a name").to_string_lossy().into_owned();
    match name(path).as_str() {
        "mod" | "error" => name(path.parent().expect("a folder")),
        own => own.to_owned(),
    }
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Every error type of a file, by variants.
fn refusals(file: &Path, text: &str) -> Vec<Refusal> {
    let (program, _) = halves(file, text);
    let lines: Vec<&str> = program.lines().collect();
    let mut found = Vec::new();
    let of = |name: String| Refusal { file: file.to_owned(), module: module(file), name };
    for (at, _) in lines.iter().enumerate().filter(|(_, line)| line.contains("thiserror::Error")) {
        let mut rest = lines.iter().skip(at + 1).skip_while(|line| line.starts_with("#["));
        let head = rest.next().expect("a type").trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        if let Some(name) = head.strip_prefix("struct ") {
            found.push(of(word(name)));
        }
        let Some(name) = head.strip_prefix("enum ").map(word) else { continue };
        let variants = rest.take_while(|line| **line != "}").filter_map(|line| line.strip_prefix("    "));
        let variants = variants.filter(|line| line.starts_with(char::is_uppercase));
        found.extend(variants.map(|line| of(format!("{name}::{}", word(line)))));
    }
    found
}

fn all_refusals() -> Vec<Refusal> {
    let places = PLACES.into_iter().flat_map(|place| files(&root().join(place)));
    places.flat_map(|(file, text)| refusals(&file, &text)).collect()
}

/// What has no test and no reason, and what has a reason and needs none.
fn held_against(
    named: impl Fn(&str) -> bool,
    all: &BTreeSet<String>,
    reasons: &[(&'static str, &'static str)],
) -> Vec<String> {
    let excused = |name: &str| reasons.iter().any(|(known, _)| *known == name);
    let missing = all.iter().filter(|name| !named(name) && !excused(name));
    let missing = missing.map(|name| format!("{name} is named in no test"));
    let stale = reasons.iter().filter_map(|(name, _)| match all.contains(*name) {
        false => Some(format!("{name} is excused and does not exist")),
        true => named(name).then(|| format!("{name} is excused and has a test")),
    });
    missing.chain(stale).collect()
}

#[test]
fn every_way_to_fail_is_named_in_a_test() {
    let (tests, refusals) = (tests(), all_refusals());
    assert!(tests.len() > 50 && refusals.len() > 80, "{} tests, {} refusals", tests.len(), refusals.len());
    let named = |name: &str| {
        refusals
            .iter()
            .filter(|refusal| refusal.whole() == name)
            .all(|refusal| tests.iter().any(|(path, text)| refusal.is_named_in(path, text)))
    };
    let all = refusals.iter().map(Refusal::whole).collect();
    let wrong = held_against(named, &all, &OUT_OF_REACH);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The text literals of a program, as they are written.
fn literals(text: &str) -> Vec<String> {
    let (mut found, mut open): (Vec<String>, Option<String>) = (Vec::new(), None);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (&mut open, letter) {
            (Some(literal), '\\') => literal.extend(letters.next().filter(|next| matches!(next, '"' | '\\'))),
            (Some(_), '"') => found.extend(open.take()),
            (Some(literal), other) => literal.push(other),
            (None, '"') => open = Some(String::new()),
            // A quotation mark as a letter, which opens nothing.
            (None, '\'') if letters.peek() == Some(&'"') => drop(letters.next()),
            (None, _) => {}
        }
    }
    found
}

/// Where the word of a problem stands in the program: right after one of these.
const BEFORE_A_WORD: [&str; 6] =
    ["forbidden(\"", "bad(\"", "invite(\"", ".code = \"", "(\"certificate_", "( \"certificate_"];

/// The words problems are told apart by.
fn words() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (path, text) in files(&root().join("src/server")) {
        let (program, _) = halves(&path, &text);
        let flat = program.split_whitespace().collect::<Vec<_>>().join(" ");
        for before in BEFORE_A_WORD {
            let start = before.rfind('"').expect("a literal") + 1;
            found.extend(flat.match_indices(before).map(|(at, _)| word(&flat[at + start..])));
        }
        // `StatusCode::CONFLICT, "ca_exists"`
        for (at, _) in flat.match_indices("StatusCode::") {
            let rest = &flat[at + "StatusCode::".len()..];
            let status = word(rest);
            if let Some(quoted) = rest[status.len()..].strip_prefix(", \"") {
                found.insert(word(quoted));
            }
        }
    }
    found.retain(|word| !word.is_empty());
    found
}

/// The words tests expect of problems, with the status or as the code of one.
fn expected(tests: &[(PathBuf, String)]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, text) in tests {
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for (at, _) in flat.match_indices(", \"") {
            let digits = flat[..at].chars().rev().take_while(char::is_ascii_digit).count();
            let is_code = flat[..at].ends_with("code()") || flat[..at].ends_with(".code");
            if digits == 3 || is_code {
                found.insert(word(&flat[at + 3..]));
            }
        }
        for before in [".code == \"", "[\"code\"], \"", "\\\"code\\\":\\\""] {
            found.extend(flat.match_indices(before).map(|(at, _)| word(&flat[at + before.len()..])));
        }
    }
    found
}

/// The word that stands after the first status of a text.
fn after_status(text: &str) -> Option<String> {
    let digits = |at: usize| text[..at].chars().rev().take_while(char::is_ascii_digit).count();
    let at = text.match_indices(", \"").map(|(at, _)| at).find(|at| digits(*at) == 3)?;
    Some(word(&text[at + 3..]))
}

#[test]
fn every_word_of_a_problem_is_expected_by_a_test() {
    let (all, expected) = (words(), expected(&tests()));
    assert!(all.len() > 40, "{all:?}");
    let wrong = held_against(|word| expected.contains(word), &all, &[]);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let asked: BTreeSet<String> = files(&root().join("tests/it"))
        .into_iter()
        .flat_map(|(_, text)| {
            let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let calls: Vec<&str> = flat.match_indices("expect_problem(").map(|(at, _)| &flat[at..]).collect();
            calls.into_iter().filter_map(after_status).collect::<Vec<_>>()
        })
        .collect();
    let unknown: Vec<_> = asked.difference(&all).collect();
    assert!(unknown.is_empty(), "tests expect words that were not found in the program: {unknown:?}");
}

/// What is said with these is quoted in a test too: one variant stands for many reasons.
const REASONS: [&str; 7] =
    ["Lifetime(\"", "broken(\"", "why: \"", "Weak(\"", "Weak(format!(\"", "Unsupported(\"", "Unsupported(format!(\""];

#[test]
fn every_reason_is_quoted_in_a_test() {
    let quoted: BTreeSet<String> = tests().iter().flat_map(|(_, text)| literals(text)).collect();
    let quoted: Vec<&String> = quoted.iter().filter(|text| text.len() >= 10).collect();
    let mut sentences = Vec::new();
    for name in HANDLERS {
        let file = root().join(format!("src/server/handlers/{name}.rs"));
        let (program, _) = halves(&file, &std::fs::read_to_string(&file).expect("readable"));
        sentences.extend(literals(&program).into_iter().filter(|text| text.len() >= 16 && text.contains(' ')));
    }
    for (path, text) in PLACES.into_iter().flat_map(|place| files(&root().join(place))) {
        let (program, _) = halves(&path, &text);
        let flat = program.split_whitespace().collect::<Vec<_>>().join(" ");
        for before in REASONS {
            let start = before.len() - 1;
            let reasons =
                flat.match_indices(before).filter_map(|(at, _)| literals(&flat[at + start..]).into_iter().next());
            sentences.extend(reasons);
        }
    }
    assert!(sentences.len() > 25, "{sentences:?}");
    // Around what is put in when it is said.
    let parts = |sentence: &str| {
        let parts = sentence.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest).to_owned());
        parts.filter(|part| part.len() >= 9).collect::<Vec<_>>()
    };
    let is_quoted = |part: &String| quoted.iter().any(|quote| part.contains(*quote) || quote.contains(part.as_str()));
    let named = |sentence: &str| parts(sentence).iter().any(is_quoted);
    let wrong = held_against(named, &sentences.into_iter().collect(), &NEVER_SAID);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn whatever_is_checked_after_signing_is_seen_to_differ() {
    let file = root().join("pki/src/check.rs");
    let (program, tested) = halves(&file, &std::fs::read_to_string(&file).expect("readable"));
    let meant = literals(&program).into_iter().filter(|what| !what.starts_with("its {0}"));
    let seen: BTreeSet<String> = literals(&tested).into_iter().collect();
    let never: Vec<String> = meant.filter(|what| !seen.contains(what)).collect();
    assert!(never.is_empty(), "no test sees these differ: {never:?}");
}

#[test]
fn this_test_would_notice() {
    let text = "#[derive(Debug, thiserror::Error)]\npub enum Error {\n    /// One.\n    #[error(\"one\")]\n    One,\n    #[error(\"two\")]\n    Two(String),\n}\n";
    let file = Path::new("/nowhere/place.rs");
    let found: Vec<String> = refusals(file, text).iter().map(Refusal::whole).collect();
    assert_eq!(found, ["place::Error::One", "place::Error::Two"]);
    let one = refusals(file, text).remove(0);
    assert!(one.is_named_in(Path::new("/elsewhere"), "x(place::Error::One)"));
    assert!(!one.is_named_in(Path::new("/elsewhere"), "x(Error::One)") && one.is_named_in(file, "x(Error::One)"));
    assert!(!one.is_named_in(file, "other::Error::One") && !one.is_named_in(file, "Error::Oneself"));
    let all = BTreeSet::from(["a".to_owned(), "b".to_owned(), "c".to_owned()]);
    let wrong = held_against(|name| name != "b", &all, &[("a", "why"), ("d", "why")]);
    assert_eq!(wrong, ["b is named in no test", "a is excused and has a test", "d is excused and does not exist"]);
    assert_eq!(literals(r#"a("b c", '"', "d\"e")"#), ["b c", "d\"e"]);
}

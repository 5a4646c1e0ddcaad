//! What README.md says is there is there, and the other way round.

#![expect(clippy::panic, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

mod planted;

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The first cells of the tables under a heading.
fn first_cells(readme: &str, heading: &str) -> Vec<String> {
    let (_, rest) = readme.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no '{heading}'"));
    let section = rest.split("\n## ").next().unwrap_or(rest);
    let rows = section.lines().filter_map(|line| line.strip_prefix("| "));
    rows.filter_map(|row| row.split(" |").next()).map(str::to_owned).collect()
}

/// The words in backticks of a text.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_setting_is_in_the_table_with_its_default() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_ddrop")).args(["serve", "--check"]).env_clear().output().expect("ddrop runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let readme = text("README.md");
    let cells = first_cells(&readme, "Settings of the server");
    let documented: Vec<&str> =
        cells.iter().flat_map(|cell| quoted(cell)).filter(|word| word.starts_with("DD_")).collect();
    let mut known = Vec::new();
    for line in said.lines().filter(|line| line.ends_with("# default")) {
        let (name, rest) = line.split_once('=').expect("NAME=value");
        let value = rest.trim_end_matches("# default").trim();
        let row = readme.lines().find(|row| row.starts_with("| ") && row.contains(&format!("`{name}`")));
        let row = row.unwrap_or_else(|| panic!("{name} has no row in README.md"));
        assert!(
            value.is_empty() || row.contains(&format!("| `{value}` |")),
            "{name}: '{value}' is not what '{row}' says"
        );
        known.push(name);
    }
    assert!(known.len() > 15, "too few settings: {said}");
    let invented: Vec<_> = documented.iter().filter(|name| !known.contains(name)).collect();
    assert!(invented.is_empty(), "README.md has settings that do not exist: {invented:?}");
}

/// What stands between the parenthesis a text begins with and the one that belongs to it, cut at its commas.
fn arguments(text: &str) -> Vec<String> {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    let mut all = vec![String::new()];
    for letter in text.chars() {
        let last = all.last_mut().unwrap_or_else(|| panic!("there is always one"));
        match letter {
            _ if quoted => {
                quoted = letter != '"' || escaped;
                escaped = letter == '\\' && !escaped;
            }
            '"' => quoted = true,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        match (letter, depth) {
            ('(', 1) if !quoted && last.is_empty() => {}
            (_, 0) => return all.iter().map(|one| one.trim().to_owned()).collect(),
            (',', 1) if !quoted => all.push(String::new()),
            _ => last.push(letter),
        }
    }
    panic!("it has no end: {text}")
}

/// The fields that the code logs.
fn logged(folder: &Path, into: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).flatten() {
        if entry.path().is_dir() {
            logged(&entry.path(), into);
            continue;
        }
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        for macros in ["error!", "warn!", "info!", "debug!", "trace!", "_span!"] {
            for (at, _) in text.match_indices(&format!("{macros}(")) {
                let before: String =
                    text[..at].chars().rev().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect();
                if !before.ends_with("::gnicart") {
                    continue;
                }
                let span = if macros == "_span!" { "span." } else { "" };
                for argument in arguments(&text[at + macros.len()..]).iter().filter(|one| !one.starts_with('"')) {
                    let name = argument.split_once(" = ").map_or(argument.as_str(), |(name, _)| name);
                    into.insert(format!("{span}{}", name.trim_start_matches(['%', '?'])));
                }
            }
        }
    }
}

#[test]
fn f32_every_field_of_the_log_is_in_the_table_and_every_one_in_the_table_is_logged() {
    let mut known: BTreeSet<String> =
        ["timestamp", "level", "target", "message", "span", "span.name"].map(str::to_owned).into();
    logged(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut known);
    assert!(known.contains("span.route") && known.contains("micros"), "the log is gone: {known:?}");
    assert_eq!(known, planted::documented_fields());
}

#[test]
fn every_route_is_in_the_table() {
    let router = text("src/server/router.rs");
    let routes: Vec<&str> =
        router.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap_or(rest)).collect();
    assert!(routes.len() > 15, "the routes are gone");
    let cells = first_cells(&text("README.md"), "API");
    let documented: Vec<&str> =
        cells.iter().flat_map(|cell| quoted(cell)).map(|words| words.rsplit(' ').next().unwrap_or(words)).collect();
    for route in &routes {
        assert!(documented.contains(route), "{route} is not in the table");
    }
    // `PUT /{name}` is the same segment as `GET /{id}`, and the router wants one word for both.
    for path in documented.iter().filter(|path| **path != "/{name}") {
        assert!(routes.contains(path), "README.md has {path}, and the router has not");
    }
}

#[test]
fn every_row_of_parity_is_there_once_and_says_where_it_stands() {
    let readme = text("README.md");
    let (_, parity) = readme.split_once("\n## Parity\n").expect("the section");
    let expected: Vec<String> = (1..=20).map(|n| format!("D{n}")).chain((1..=43).map(|n| format!("F{n}"))).collect();
    let mut found = Vec::new();
    for row in parity.lines().filter(|line| line.starts_with("| D") || line.starts_with("| F")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [id, _, stands] = cells.as_slice() else { panic!("not three cells: {row}") };
        let word = ["yes", "partly: ", "not yet"].iter().find(|word| stands.starts_with(**word));
        assert!(word.is_some(), "{id} stands neither as yes nor partly nor not yet: {stands}");
        found.push((*id).to_owned());
    }
    assert_eq!(found, expected);
}

#[test]
fn the_links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = text("README.md");
    let targets: Vec<&str> = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(targets.len() >= 5, "{targets:?}");
    for target in targets.iter().filter(|target| !target.contains("://")) {
        assert!(root.join(target).exists(), "README.md links to {target}, which is not there");
    }
}

#[test]
fn the_two_commands_stand_at_the_top() {
    let readme = text("README.md");
    let head: Vec<&str> = readme.lines().take(15).collect();
    assert!(head.iter().any(|line| line.starts_with("cargo run --release -- serve")), "{head:?}");
    assert_eq!(head.iter().filter(|line| line.starts_with("cargo test ")).count(), 1, "{head:?}");
    assert!(text(".ci/run").contains("README.md"), ".ci/run has to take the test command from the README");
}

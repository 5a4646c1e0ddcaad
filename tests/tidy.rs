//! Rules about the code that a machine can check.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, into: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = std::fs::read_to_string(&path).expect("readable");
                into.push((path, text));
            }
        }
    }
    let mut all = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    assert!(all.len() > 20, "the sources are gone");
    all
}

/// The module of `src/` a file belongs to.
fn module(path: &Path) -> String {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("in src");
    let first = inside.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn floor(module: &str) -> u8 {
    match module {
        "clock" | "identity" | "link" | "api" | "units" => 0,
        "store" | "tls" | "access" | "abuse" | "token" | "password" | "audit" | "seal" => 1,
        "authority" | "import" => 2,
        "server" | "client" | "backup" => 3,
        "config" => 4,
        "cli" => 5,
        "main" | "lib" => 6,
        other => panic!("module '{other}' has no floor: say in this test where it belongs"),
    }
}

/// Code without its test modules: the last of a file, or a file of their own.
fn without_tests<'a>(path: &Path, text: &'a str) -> &'a str {
    let tests_only = ["tests.rs", "test.rs", "contract.rs", "memory.rs"];
    if path.file_name().is_some_and(|name| tests_only.iter().any(|only| name == *only)) {
        return "";
    }
    match text.find("#[cfg(test)]\nmod tests {") {
        Some(end) => &text[..end],
        None => text,
    }
}

/// Modules of this crate that a text names.
fn named(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            let names: Vec<&str> = match rest.strip_prefix('{') {
                Some(list) => list.split('}').next().unwrap_or(list).split(',').collect(),
                None => vec![rest],
            };
            for name in names {
                let word: String = name.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                if !word.is_empty() {
                    found.push(word);
                }
            }
        }
    }
    found
}

#[test]
fn modules_only_look_down() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let own = module(&path);
        for other in named(without_tests(&path, &text)) {
            let same_floor_faces = floor(&own) == 3 && floor(&other) == 3;
            if other != own && (floor(&other) > floor(&own) || same_floor_faces) {
                wrong.push(format!("{} ({own}) looks up at {other}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_of_these_happens_in_one_place() {
    let rules: [(&str, &[&str]); 8] = [
        ("OffsetDateTime::now_utc(", &["src/clock.rs"]),
        ("SystemTime::now(", &["src/clock.rs"]),
        ("Principal {", &["src/server/authenticate.rs", "src/identity.rs"]),
        ("println!(", &["src/cli/output.rs"]),
        ("eprint", &["src/cli/output.rs"]),
        ("access::adopt(", &["src/cli/import.rs"]),
        ("tokio::fs", &[]),
        ("StatusCode::INTERNAL_SERVER_ERROR", &["src/server/problem.rs"]),
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (words, places) in rules {
            let here = places.iter().any(|place| path.ends_with(place));
            let code = without_tests(&path, &text).lines().filter(|line| !line.trim_start().starts_with("//"));
            if !here && code.into_iter().any(|line| line.contains(words)) {
                wrong.push(format!("{} has '{words}', which belongs in {places:?}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_map_names_every_module() {
    let map = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("readable");
    let declared = map.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let missing: Vec<_> = declared.filter(|name| !map.contains(&format!("| [`{name}`] |"))).collect();
    assert!(missing.is_empty(), "src/lib.rs has no row for {missing:?}");
}

#[test]
fn no_file_is_a_heap() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|(path, text)| {
            let lines = without_tests(&path, &text).lines().count();
            (path, lines)
        })
        .filter(|(_, lines)| *lines > 500)
        .collect();
    assert!(long.is_empty(), "longer than 500 lines without tests: {long:?}");
}

//! Runs the commands in `tests/cli/*.md` and in the README, as a user would, and compares what they print.
//!
//! In a block marked `console`, a line that begins with `$ ` is a command (a trailing `\` continues it); the lines after
//! it are its output, stderr included. `[..]` stands for anything within a line, `...` alone for any lines, `? N` for
//! the exit code. Every file is one shell, in an empty home directory; the server is started on a free port.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

mod planted;

struct Step {
    line: usize,
    command: String,
    expected: Vec<String>,
    code: i32,
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    let mut continued = false;
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            inside = line == "```console";
            continued = false;
        } else if inside {
            if let Some(step) = steps.last_mut().filter(|_| continued) {
                step.command.push('\n');
                step.command.push_str(line);
                continued = line.ends_with('\\');
            } else if let Some(command) = line.strip_prefix("$ ") {
                steps.push(Step { line: number + 1, command: command.to_owned(), expected: Vec::new(), code: 0 });
                continued = line.ends_with('\\');
            } else if let Some(code) = line.strip_prefix("? ") {
                let step = steps.last_mut().expect("an exit code follows a command");
                step.code = code.parse().expect("an exit code is a number");
            } else if let Some(step) = steps.last_mut() {
                step.expected.push(line.to_owned());
            }
        }
    }
    steps
}

/// What the shell knows beside `ddrop`: how to start a server, and to wait for it without sleeping; and how to be a
/// person at a terminal, who answers each question with the next of what the first argument has between its commas.
const PRELUDE: &str = r#"
set -u
serve() {
    rm -f server.pipe; mkfifo server.pipe
    DD_LOG=trace ddrop serve -h 127.0.0.1 -p 0 "$@" 2>server.pipe &
    SERVER_PID=$!
    exec 9<server.pipe
    while IFS= read -r line <&9; do
        printf '%s\n' "$line" >>server.log
        case "$line" in
            *'ddrop cert --configure '*) INVITE=${line##*--configure } ;;
            *'listening on https://'*) SERVER=${line##*listening on }; break ;;
            *'error:'*) printf '%s\n' "$line" ;;
        esac
    done
    (trap '' TERM; exec cat <&9 >>server.log) &
}
typed() {
    python3 - "$@" <<'END'
import os, pty, sys

answers, command = sys.argv[1].split(","), sys.argv[2:]
child, terminal = pty.fork()
if child == 0:
    os.execvp(command[0], command)
said = ""
while True:
    try:
        piece = os.read(terminal, 4096).decode().replace("\r", "")
    except OSError:
        break
    said += piece
    print(piece, end="", flush=True)
    if said.endswith(": ") and answers:
        said = ""
        os.write(terminal, (answers.pop(0) + "\n").encode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
END
}
INVITE=none; SERVER=none
trap 'kill $(jobs -p) 2>/dev/null; wait 2>/dev/null' EXIT
"#;

fn script(steps: &[Step]) -> String {
    let mut script = PRELUDE.to_owned();
    for (index, step) in steps.iter().enumerate() {
        let command = match step.command.strip_prefix("cargo run --release -- serve") {
            Some(rest) => format!("serve{rest}"),
            None => step.command.replace("--configure INVITE", "--configure \"$INVITE\""),
        };
        script.push_str(&format!("printf '@@begin {index}\\n'\n{command}\nprintf '\\n@@end {index} %s\\n' $?\n"));
    }
    script
}

fn matches(pattern: &[String], output: &[&str]) -> bool {
    match pattern.split_first() {
        None => output.is_empty(),
        Some((first, rest)) if first == "..." => (0..=output.len()).any(|skip| matches(rest, &output[skip..])),
        Some((first, rest)) => {
            output.split_first().is_some_and(|(line, more)| line_matches(first, line) && matches(rest, more))
        }
    }
}

fn line_matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split("[..]");
    let first = parts.next().unwrap_or_default();
    let Some(mut left) = line.strip_prefix(first) else { return false };
    let rest: Vec<&str> = parts.collect();
    let Some((last, middle)) = rest.split_last() else { return left.is_empty() };
    for part in middle {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

/// Runs the commands of a file up to the first that does not do what is written there: what it did instead, or how many
/// there are.
fn run(path: &Path) -> Result<usize, String> {
    run_text(path, &std::fs::read_to_string(path).expect("a readable transcript"))
}

fn run_text(path: &Path, text: &str) -> Result<usize, String> {
    let steps = steps(text);
    let home = tempfile::tempdir().expect("a home directory");
    let binary = Path::new(env!("CARGO_BIN_EXE_ddrop")).parent().expect("a folder");
    // In a session of its own there is no terminal to ask on, wherever the tests are started.
    let output = Command::new("setsid")
        .args(["--wait", "bash", "-c"])
        .arg(format!("exec 2>&1\n{}", script(&steps)))
        .current_dir(home.path())
        .env_clear()
        .env("HOME", home.path())
        .env("PATH", format!("{}:{}", binary.display(), std::env::var("PATH").expect("a PATH")))
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    check_log(home.path(), &printed);
    for (index, step) in steps.iter().enumerate() {
        let (begin, end) = (format!("@@begin {index}\n"), format!("\n@@end {index} "));
        let place = format!("{}:{}: $ {}", path.display(), step.line, step.command);
        let Some((_, rest)) = printed.split_once(&begin) else {
            return Err(format!("{place}\nnever ran; all of it:\n{printed}"));
        };
        let Some((got, code)) = rest.split_once(&end) else {
            return Err(format!("{place}\nnever ended; all of it:\n{printed}"));
        };
        let code: i32 = code.lines().next().expect("a line").parse().expect("a number");
        let lines: Vec<&str> = got.trim_end_matches('\n').lines().collect();
        let expected: Vec<String> = step.expected.iter().map(|line| line.trim_end().to_owned()).collect();
        let kept = expected.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
        if code != step.code || !matches(&expected[..kept], &lines) {
            return Err(format!(
                "{place}\nexit code {code}, expected {}\n--- printed\n{}\n--- expected\n{}\n",
                step.code,
                lines.join("\n"),
                expected[..kept].join("\n"),
            ));
        }
    }
    Ok(steps.len())
}

/// No secret that was printed, or is kept in this home, is in the log of its servers.
fn check_log(home: &Path, printed: &str) {
    let Ok(log) = std::fs::read(home.join("server.log")) else { return };
    for text in [printed, &String::from_utf8_lossy(&log)] {
        planted::plant_invites(text);
    }
    planted::plant_links(printed);
    planted::plant_keys(&home.join(".config"));
    for folder in std::fs::read_dir(home).expect("a folder") {
        planted::plant_storage(&folder.expect("an entry").path());
    }
    planted::check(&log);
}

#[test]
fn every_transcript_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    paths.sort();
    assert!(paths.len() >= 3, "the transcripts are gone: {paths:?}");
    for path in paths {
        let held = run(&path).unwrap_or_else(|instead| panic!("{instead}"));
        assert!(held > 0, "{} has no commands", path.display());
    }
}

/// The commands and subcommands there are, by the manual pages the program writes of itself.
fn commands() -> Vec<Vec<String>> {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_ddrop")).arg("man").arg(folder.path()).output().expect("ddrop runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let pages = std::fs::read_dir(folder.path()).expect("a folder");
    let names = pages.map(|page| page.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut all: Vec<Vec<String>> = names
        .filter_map(|name| {
            Some(name.strip_prefix("ddrop-")?.strip_suffix(".1")?.split('-').map(str::to_owned).collect())
        })
        .collect();
    all.sort();
    all
}

/// What the commands of a transcript call: the words after `ddrop`, or after a shell function that stands for it.
fn called(steps: &[Step]) -> Vec<Vec<String>> {
    let mut programs = vec!["ddrop".to_owned(), "serve".to_owned()];
    programs.extend(steps.iter().filter_map(|step| Some(step.command.split_once("() {")?.0.to_owned())));
    let mut all = Vec::new();
    for step in steps {
        let words: Vec<&str> = step
            .command
            .split(|c: char| c.is_whitespace() || "\"$();|&".contains(c))
            .filter(|w| !w.is_empty())
            .collect();
        for (at, word) in words.iter().enumerate().filter(|(_, word)| programs.iter().any(|one| one == *word)) {
            let skip = usize::from(*word != "serve");
            // A flag before the command, and its value.
            let rest = &words[at + skip..];
            let rest =
                if rest.first().is_some_and(|word| word.starts_with("--token-file")) { &rest[2..] } else { rest };
            all.push(rest.iter().take(2).map(|word| (*word).to_owned()).collect());
        }
    }
    all
}

#[test]
fn every_command_has_a_transcript() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("readable");
        // How a transcript starts a server.
        let text = text.replace("$ cargo run --release -- serve", "$ serve");
        all.extend(called(&steps(&text)));
    }
    let commands = commands();
    assert!(commands.len() > 25 && commands.contains(&vec!["pki".to_owned(), "invite".to_owned()]), "{commands:?}");
    let missing: Vec<String> = commands
        .iter()
        .filter(|words| !all.iter().any(|call| call.starts_with(words)))
        .map(|words| words.join(" "))
        .collect();
    assert!(missing.is_empty(), "no transcript in tests/cli calls: ddrop {}", missing.join(", ddrop "));
}

#[test]
fn every_command_in_the_readme_works() {
    let held =
        run(&Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap_or_else(|instead| panic!("{instead}"));
    assert!(held > 10, "the commands are gone: only {held} are left");
}

/// The commands for moving here, in a home where both of the other programs were, and what there is afterwards.
#[test]
fn the_commands_for_moving_in_the_readme_work() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).expect("readable");
    let (_, section) = readme.split_once("\n## Moving from ").expect("the section");
    let (_, block) = section.split_once("```sh\n").expect("its commands");
    let commands: Vec<&str> = block.split("```").next().expect("an end").lines().collect();
    assert!(commands.len() >= 4 && commands.iter().all(|line| line.starts_with("ddrop import ")), "{commands:?}");
    let both = ["--deaddrop", "--flaskpaste", "--check", "--owner SHA1=NAME"];
    assert!(both.iter().all(|word| commands.iter().any(|line| line.contains(word))), "{commands:?}");
    let mut text = OLD_PROGRAMS.to_owned();
    for line in &commands {
        text.push_str(&format!("$ {}\n...\n", line.replace("SHA1=NAME", "$ALICE=admin")));
    }
    text.push_str(MOVED);
    let held = run_text(&path, &text).unwrap_or_else(|instead| panic!("{instead}"));
    assert_eq!(held, steps(OLD_PROGRAMS).len() + commands.len() + steps(&format!("```console\n{MOVED}")).len());
}

/// Both installations, and a server of ours that has a client and does not run.
const OLD_PROGRAMS: &str = r#"
```console
$ sql() { python3 -c 'import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.executescript(sys.argv[2])' "$@"; }
$ mkdir -p old/storage/files && printf 'the build' >old/storage/files/9f2c
$ sql old/storage/links.db "CREATE TABLE links (short_id TEXT PRIMARY KEY, filename TEXT, path TEXT, expires_at TEXT); \
    INSERT INTO links VALUES ('Ab3dEf', 'build.tar.gz', '/data/files/9f2c', NULL)"
$ ALICE=000102030405060708090a0b0c0d0e0f10111213
$ sql pastes.db "CREATE TABLE pastes (id TEXT PRIMARY KEY, content BLOB, mime_type TEXT, owner TEXT, created_at INTEGER); \
    CREATE TABLE short_urls (id TEXT PRIMARY KEY, target_url TEXT, owner TEXT, created_at INTEGER); \
    INSERT INTO pastes VALUES ('aaaaaaaaaaaa', 'her notes', 'text/plain', '$ALICE', unixepoch() - 60); \
    INSERT INTO short_urls VALUES ('Ab3dEf12', 'https://example.org/', '$ALICE', unixepoch() - 60)"
$ serve -s storage
$ ddrop cert --configure INVITE 2>/dev/null
...
$ kill $SERVER_PID && wait $SERVER_PID
"#;

/// Everything is where it was, and hers.
const MOVED: &str = r#"$ serve -s storage
$ export DD_API_URL=$SERVER
$ ddrop fetch Ab3dEf -o -
the build
$ ddrop fetch "$SERVER/aaaaaaaaaaaa" -o -
her notes
$ curl -s --cacert .config/ddrop/ca.crt -o /dev/null -w '%{redirect_url}\n' "$SERVER/paste/s/Ab3dEf12"
https://example.org/
$ ddrop list --json | python3 -c 'import json, sys; print(sorted(link["id"] for link in json.load(sys.stdin)["links"]))'
['Ab3dEf12', 'aaaaaaaaaaaa']
```
"#;

#[test]
fn a_transcript_that_does_not_hold_is_noticed() {
    let lines = |text: &[&str]| text.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    assert!(matches(&lines(&["a [..] c", "...", "z"]), &["a b c", "1", "2", "z"]));
    assert!(!matches(&lines(&["a"]), &["b"]));
    assert!(!matches(&lines(&["a"]), &["a", "b"]));
    assert!(!matches(&lines(&["a", "b"]), &["a"]));
    assert!(!line_matches("a[..]c", "abd"));
}

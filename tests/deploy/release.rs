//! What a release is made of: the version it tells, and the list of its parts.

use std::process::Command;

use crate::server::{DDROP, words};
use crate::tools::{root, run, static_binary, tool};

#[test]
fn the_program_says_what_it_was_built_of_and_needs_nothing_to_run() {
    let folder = tempfile::tempdir().expect("a folder");
    static_binary(folder.path());
    // In an empty root: no loader, no library, no file at all.
    let mut command = Command::new("unshare");
    command
        .args(["-r", "chroot"])
        .arg(folder.path())
        .args(["/ddrop", "--version"])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin");
    let said = run(&mut command, "apt-get install util-linux");
    let version = format!("ddrop {} (", env!("CARGO_PKG_VERSION"));
    assert!(said.status.success() && words(&said).starts_with(&version), "{}", words(&said));
    assert!(words(&said).contains("-unknown-linux-gnu"), "{}", words(&said));
}

#[test]
fn a_newcomer_gets_from_a_binary_to_a_hardened_server_and_a_first_drop() {
    let folder = tempfile::tempdir().expect("a folder");
    let binary = static_binary(folder.path());
    let mut command = Command::new(root().join("deploy/newcomer.sh"));
    let went = run(command.arg(binary), "apt-get install debootstrap iproute2 procps util-linux");
    // With the time each step took.
    println!("{}", words(&went));
    assert!(went.status.success(), "{}", words(&went));
    for done in
        ["systemd runs there", "no privileges", "a first drop, and back", "replaced ten times", "nothing is left"]
    {
        assert!(words(&went).contains(done), "{done}: {}", words(&went));
    }
}

#[test]
fn what_a_connection_and_an_upload_take_can_be_measured_and_is_bounded() {
    let measured = run(Command::new(root().join("deploy/sizing.py")).args([DDROP, "50"]), "apt-get install python3");
    let text = words(&measured);
    assert!(measured.status.success(), "{text}");
    let figure = |what: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(what)).unwrap_or_else(|| panic!("no '{what}': {text}"));
        line[what.len()..].split_whitespace().next().expect("a figure").parse().expect("a number")
    };
    // MiB, and KiB. The program the tests run is not optimised, and takes more of it than a release.
    assert!((1.0..100.0).contains(&figure("at rest")), "{text}");
    assert!((1.0..200.0).contains(&figure("per open connection")), "{text}");
    assert!((1.0..2048.0).contains(&figure("per running upload")), "{text}");
    assert!((0.0..1024.0).contains(&figure("per link, beside 1 MB")), "{text}");
}

#[test]
fn the_list_of_parts_is_what_is_in_the_binary_and_fits_its_schema() {
    let list = |epoch: &str| {
        let mut command = Command::new(tool("python3"));
        let made = run(command.arg(root().join("deploy/sbom.py")).env("SOURCE_DATE_EPOCH", epoch), "");
        assert!(made.status.success(), "{}", words(&made));
        String::from_utf8(made.stdout).expect("UTF-8")
    };
    let text = list("1700000000");
    assert_eq!(text, list("1700000000"), "the same sources have the same list");
    for part in ["pkg:cargo/rustls@", "pkg:cargo/ring@", "pkg:cargo/libsqlite3-sys@", "pkg:cargo/ddrop-pki@"] {
        assert!(text.contains(part), "{part} is not in the list");
    }
    assert!(!text.contains("pkg:cargo/proptest@"), "tests are not in the binary");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("list.json");
    std::fs::write(&file, &text).expect("written");
    let python = "import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[1]).read())
sys.exit(str(error) if error else 0)";
    let judged = |file: &std::path::Path| run(Command::new(tool("python3")).args(["-c", python]).arg(file), "");
    assert!(judged(&file).status.success(), "{}", words(&judged(&file)));
    std::fs::write(&file, text.replacen("\"library\"", "\"thing\"", 1)).expect("written");
    assert!(!judged(&file).status.success(), "nothing would be found");
}

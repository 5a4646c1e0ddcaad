//! F8: the program that a server hands out, fetched as the README says, in a home that has nothing else.

use std::path::Path;

use super::{Command, Output, Server, Stdio, plant_keys, words};
use ddrop::identity::Sha256;

/// The command that the README gives for it.
fn command() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(path).expect("readable");
    let line = readme.lines().find(|line| line.starts_with("curl ") && line.contains("https://host/client"));
    line.expect("README.md says how the program is downloaded").to_owned()
}

/// Runs a line of shell in a folder that is all there is of a home.
fn shell(home: &Path, variables: &[(&str, &Path)], line: &str) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(home).stdin(Stdio::null());
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").envs(variables.iter().copied());
    command.output().expect("sh runs")
}

#[test]
fn f8_the_program_from_the_server_is_a_client_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("storage"), &[]);
    let home = tempfile::tempdir().expect("a folder");
    let (ca, headers) = (folder.path().join("storage/pki/root.crt"), folder.path().join("headers"));
    let done = |line: &str| {
        let output = shell(home.path(), &[("CURL_CA_BUNDLE", &ca)], line);
        assert!(output.status.success(), "{line}: {}", words(&output));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    assert_eq!(done("command -v ddrop || echo nowhere"), "nowhere");
    done(&command().replace("https://host", &server.url));
    let program = std::fs::read(home.path().join("ddrop")).expect("it is there");
    assert!(program == std::fs::read(super::DDROP).expect("readable"), "it is the one that runs");
    done(&format!("curl -fsS -I {}/client -o {}", server.url, headers.display()));
    let headers = std::fs::read_to_string(headers).expect("headers").to_lowercase();
    let said = headers.lines().find_map(|line| line.strip_prefix("x-client-sha256: "));
    assert_eq!(said, Some(&*Sha256::of(&program).to_string()), "{headers}");
    assert!(headers.contains("x-client-target: "), "{headers}");
    let invite = server.invite.as_deref().expect("an invite");
    done(&format!("./ddrop cert --configure '{invite}'"));
    plant_keys(&home.path().join(".config/ddrop"));
    done("echo planted-by-a-download >file");
    let url = done("./ddrop upload file");
    assert!(url.starts_with(&server.url), "{url}");
    assert_eq!(done(&format!("./ddrop fetch {url} -o -")), "planted-by-a-download");
    assert_eq!(done("./ddrop --version"), done(&format!("{} --version", super::DDROP)));
    server.stop();
}

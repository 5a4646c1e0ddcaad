//! The API's description, held against a running server by a program that makes up requests from it.
//!
//! Schemathesis sends what the description allows and what it forbids, and looks at each answer: no 5xx, no status,
//! media type, header or body that is not described, nothing forbidden that is taken. It needs python3 with venv.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use tempfile::TempDir;

const DDROP: &str = env!("CARGO_BIN_EXE_ddrop");

/// Requests made up for one operation, in each of two ways.
const EXAMPLES: &str = "8";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Schemathesis in the versions the requirements name; made once, as long as they stay the same.
fn schemathesis() -> PathBuf {
    let wanted = root().join("tests/openapi/requirements.txt");
    let folder = root().join("target/schemathesis");
    let made = folder.join("requirements.txt");
    if std::fs::read(&made).ok() != Some(std::fs::read(&wanted).expect("readable")) {
        // Debian has venv in a package of its own: apt-get install python3-venv.
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
        run(Command::new(folder.join("bin/pip"))
            .args(["install", "-q", "--disable-pip-version-check", "-r"])
            .arg(&wanted));
        std::fs::copy(&wanted, &made).expect("copied");
    }
    folder.join("bin/schemathesis")
}

/// A server of the test's own, killed when it is dropped, and admins of it.
struct Server {
    child: Child,
    _errors: BufReader<ChildStderr>,
    url: String,
    folder: TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(DDROP);
        command.args(["serve", "-h", "127.0.0.1", "-p", "0", "--max-ttl", "inf", "--max-file-size-mb", "1"]);
        command.args(["--open-registration", "--register-pow-difficulty", "0", "--log", "error", "-s"]);
        let mut child = command.arg(folder.path()).stderr(Stdio::piped()).spawn().expect("started");
        let mut errors = BufReader::new(child.stderr.take().expect("a pipe"));
        let url = loop {
            let mut line = String::new();
            assert!(errors.read_line(&mut line).expect("readable") > 0, "it ended without listening");
            if let Some(url) = line.strip_prefix("listening on ") {
                break url.trim().to_owned();
            }
        };
        Self { child, _errors: errors, url, folder }
    }

    /// The folder with the certificate, key and CA of a new admin.
    fn admin(&self, name: &str) -> PathBuf {
        let invite = run(Command::new(DDROP)
            .args(["pki", "invite", name, "--admin", "--url", &self.url, "-s"])
            .arg(self.folder.path()))
        .stdout;
        let invite = String::from_utf8(invite).expect("UTF-8");
        let home = self.folder.path().join(format!("home-{name}"));
        run(ddrop(&home).args(["cert", "--configure", invite.trim()]));
        home
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ddrop(home: &Path) -> Command {
    let mut command = Command::new(DDROP);
    command.env("XDG_CONFIG_HOME", home).env("HOME", home);
    command
}

/// Signing requests and an OCSP request, which no description leads to.
fn made(server: &Server, home: &Path) -> PathBuf {
    let folder = server.folder.path().join("made");
    std::fs::create_dir(&folder).expect("made");
    for (name, algorithm) in [("p256", "prime256v1"), ("p384", "secp384r1")] {
        let curve = format!("ec_paramgen_curve:{algorithm}");
        let mut command = Command::new("openssl");
        command.args(["req", "-new", "-newkey", "ec", "-pkeyopt", &curve, "-nodes", "-subj", "/CN=any"]);
        run(command.arg("-keyout").arg(folder.join("key.pem")).arg("-out").arg(folder.join(format!("{name}.csr"))));
    }
    let chain = folder.join("chain.pem");
    let own = std::fs::read_to_string(home.join("ddrop/client.crt")).expect("readable");
    let (_, issuers) = own.split_once("-----END CERTIFICATE-----\n").expect("a chain");
    std::fs::write(&chain, issuers).expect("written");
    let mut command = Command::new("openssl");
    command.arg("ocsp").arg("-issuer").arg(&chain).arg("-cert").arg(home.join("ddrop/client.crt"));
    run(command.arg("-reqout").arg(folder.join("one.ocsp")));
    folder
}

/// Holds the description against the server as this admin; what is wrong is in the panic.
fn judge(server: &Server, home: &Path, made: &Path, arguments: &[&str]) -> String {
    let config = home.join("ddrop");
    let mut command = Command::new(schemathesis());
    // Its traces and what it remembers of other runs stay in the folder.
    command.current_dir(server.folder.path()).env("HOME", home).env("DDROP_TEST_MADE", made);
    command.env("SCHEMATHESIS_HOOKS", "hooks").env("PYTHONPATH", root().join("tests/openapi"));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg("--config-file").arg(root().join("tests/openapi/schemathesis.toml"));
    command.arg("run").arg(format!("{}/api/openapi.json", server.url)).arg("--tls-verify").arg(config.join("ca.crt"));
    command.arg("--request-cert").arg(config.join("client.crt"));
    command.arg("--request-cert-key").arg(config.join("client.key"));
    command.args(["--no-color", "--request-timeout", "120", "--max-examples", EXAMPLES]).args(arguments);
    String::from_utf8_lossy(&run(&mut command).stdout).into_owned()
}

/// The number before these words.
fn number(said: &str, words: &str) -> usize {
    let before = said.split(words).next().filter(|before| before.len() < said.len()).unwrap_or_default();
    let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or_else(|_| panic!("it says nothing of '{words}':\n{said}"))
}

#[test]
fn the_server_does_what_it_says_it_does() {
    let server = Server::start();
    let admin = server.admin("admin");
    let made = made(&server, &admin);
    // Revoking comes last and by another admin: it may hit whoever asks, and from then on nothing is tried.
    let said = judge(&server, &admin, &made, &["--exclude-path", "/pki/revoke"]);
    assert!(number(&said, " generated, ") > 700, "{said}");
    let document: serde_json::Value = serde_json::from_slice(
        &run(Command::new("curl")
            .arg("-sS")
            .arg("--cacert")
            .arg(admin.join("ddrop/ca.crt"))
            .arg(format!("{}/api/openapi.json", server.url)))
        .stdout,
    )
    .expect("JSON");
    let operations: usize =
        document["paths"].as_object().expect("paths").values().filter_map(|path| Some(path.as_object()?.len())).sum();
    // All but that one, and the description itself, which it leaves out.
    assert!(said.contains(&format!("Tested: {}\n", operations - 2)), "not all of the {operations} operations:\n{said}");
    // What it sent counted for something to the end.
    let who = run(ddrop(&admin).args(["whoami", "--json"])).stdout;
    assert!(String::from_utf8_lossy(&who).contains("\"admin\""), "{}", String::from_utf8_lossy(&who));

    let revoker = server.admin("revoker");
    let said = judge(&server, &revoker, &made, &["--include-path", "/pki/revoke"]);
    assert!(number(&said, " generated, ") > 20, "{said}");
}

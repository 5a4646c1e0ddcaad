//! PARITY D18: what is built for arm64, run by an emulator of that machine's processor.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::server::{DDROP, Server, User, words};
use crate::tools::{root, run};

const TARGET: &str = "aarch64-unknown-linux-gnu";
const EMULATOR: &str = "qemu-aarch64-static";
const HOW: &str = "apt-get install qemu-user-static";

/// Where `deploy/build.sh` leaves the program and what goes with it. It is built by the compiler that builds the release,
/// with the same flags; only that it does not optimise, which would take longer than all other tests together.
pub fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let out = root().join("target/quick");
        let mut command = Command::new(root().join("deploy/build.sh"));
        command.args(["--quick", "--target", "arm64", "--out"]).arg(&out);
        // The tests' own settings of the compiler are not those of a release.
        command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        let done = run(&mut command, "bash");
        assert!(done.status.success(), "{}", words(&done));
        out
    })
}

fn emulated(arguments: &[&str]) -> Command {
    let mut command = Command::new(EMULATOR);
    command.arg(built().join(format!("ddrop-{TARGET}"))).args(arguments);
    command
}

/// Someone whose machine is of that kind.
fn run_by(user: &User, arguments: &[&str]) -> Output {
    let mut command = emulated(arguments);
    let native = user.command(arguments);
    command.envs(native.get_envs().filter_map(|(name, value)| Some((name, value?))));
    run(&mut command, HOW)
}

#[test]
fn d18_arm64_is_one_static_file_without_symbols() {
    let binary = built().join(format!("ddrop-{TARGET}"));
    let read = run(Command::new("readelf").args(["-W", "-h", "-l", "-S"]).arg(&binary), "apt-get install binutils");
    let text = words(&read);
    assert!(text.contains("AArch64"), "{text}");
    assert!(!text.contains("INTERP") && !text.contains(".symtab") && !text.contains(".debug_info"), "{text}");
    // That it would find something: the tests themselves are neither.
    let read = run(Command::new("readelf").args(["-W", "-h", "-l", "-S", DDROP]), "apt-get install binutils");
    assert!(words(&read).contains("INTERP") && words(&read).contains(".symtab"), "{}", words(&read));
    let version = run(&mut emulated(&["--version"]), HOW);
    assert!(version.status.success(), "{}", words(&version));
    let said = words(&version);
    assert!(said.contains(TARGET) && said.contains("static") && said.contains(env!("CARGO_PKG_VERSION")), "{said}");
    let digest =
        run(Command::new("sha256sum").args(["--check", &format!("ddrop-{TARGET}.sha256")]).current_dir(built()), "");
    assert!(digest.status.success(), "{}", words(&digest));
    let parts = std::fs::read_to_string(built().join(format!("ddrop-{TARGET}.cdx.json"))).expect("a list of parts");
    assert!(parts.contains(TARGET) && parts.contains("pkg:cargo/ring@"), "{parts}");
}

#[test]
fn d18_an_arm64_server_and_client_get_on_with_those_of_this_machine() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = folder.path().join("storage").display().to_string();
    let mut serve = emulated(&["serve", "-h", "127.0.0.1", "-p", "0", "-s", &storage]);
    // Ten times slower, at least.
    serve.args(["--handshake-timeout-seconds", "120", "--header-timeout-seconds", "120"]).env("DD_LOG", "warn");
    let server = Server::try_spawn(serve).unwrap_or_else(|error| panic!("{EMULATOR}: {error} ({HOW})"));
    let there = User::nobody();
    let enrolled = run_by(&there, &["cert", "--configure", server.invite()]);
    assert!(enrolled.status.success(), "{}", words(&enrolled));
    let invited = run_by(&there, &["pki", "invite", "bob"]);
    let here = User::enrolled(String::from_utf8_lossy(&invited.stdout).trim());
    let bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    for (up, down) in [(true, false), (false, true)] {
        let ask = |emulated: bool, arguments: &[&str]| match emulated {
            true => run_by(&there, arguments),
            false => here.run(arguments),
        };
        let file = folder.path().join("file").display().to_string();
        std::fs::write(&file, &bytes).expect("written");
        let sent = ask(up, &["upload", &file]);
        assert!(sent.status.success(), "{}", words(&sent));
        let link = String::from_utf8_lossy(&sent.stdout).trim().to_owned();
        let got = ask(down, &["fetch", &link, "-o", "-"]);
        assert!(got.status.success() && got.stdout == bytes, "{}", String::from_utf8_lossy(&got.stderr));
        let ended = ask(up, &["expire", link.rsplit('/').next().expect("an id")]);
        assert!(ended.status.success(), "{}", words(&ended));
        assert_eq!(ask(down, &["fetch", &link, "-o", "-"]).status.code(), Some(3), "it has ended");
    }
    let examined = run(&mut emulated(&["doctor", "-s", &storage, "--contents"]), HOW);
    assert!(examined.status.success(), "{}", words(&examined));
    server.stop();
}

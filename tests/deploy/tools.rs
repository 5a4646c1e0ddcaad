//! Programs the tests need, and how to come by one that is missing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a program, which has to be there.
pub fn run(command: &mut Command, how: &str) -> Output {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{program}: {error} ({how})"))
}

/// A program from the Python index, in the version that is written down.
pub fn tool(name: &str) -> PathBuf {
    let path = root().join("target/deploy-tools/bin").join(name);
    assert!(
        path.exists(),
        "{name} is missing: python3 -m venv target/deploy-tools && target/deploy-tools/bin/pip install -r .ci/deploy-tools.txt"
    );
    path
}

/// The program linked statically: of what the tests were built from, in a second instead of minutes.
pub fn static_binary(into: &Path) -> PathBuf {
    let tests = std::env::current_exe().expect("a test");
    let built = tests.parent().expect("a folder");
    let is_ours = |name: &str| name.starts_with("libddrop-") && name.ends_with(".rlib");
    let newest = std::fs::read_dir(built)
        .expect("a folder")
        .flatten()
        .filter(|entry| is_ours(&entry.file_name().to_string_lossy()))
        // Whichever features it was built with: one that is older than the sources is never the newest.
        .max_by_key(|entry| entry.metadata().and_then(|facts| facts.modified()).expect("a time"))
        .expect("the library the tests were linked with");
    let binary = into.join("ddrop");
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.args(["--edition=2024", "--crate-type=bin", "-Ctarget-feature=+crt-static", "-Cstrip=symbols", "--extern"]);
    command.arg(format!("ddrop={}", newest.path().display()));
    command.arg("-L").arg(format!("dependency={}", built.display())).arg("-o").arg(&binary);
    let linked = run(command.arg("src/main.rs").current_dir(root()), "it comes with Rust");
    assert!(linked.status.success(), "{}", String::from_utf8_lossy(&linked.stderr));
    binary
}

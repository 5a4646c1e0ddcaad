//! The units, judged by systemd's own tools, and the script that puts them in place.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::server::{DDROP, Server, User, handed, socket, words};
use crate::tools::{root, run};

fn units() -> PathBuf {
    root().join("deploy/systemd")
}

/// In a file system view of its own, where the binary is where the units say.
fn where_it_is_installed(script: &str) -> Output {
    let script = format!("mount -t tmpfs none /usr/local/bin && cp {DDROP} /usr/local/bin/ddrop && {script}");
    let mut command = Command::new("unshare");
    run(command.args(["-rm", "sh", "-c", &script]).current_dir(units()), "apt-get install util-linux")
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    for verify in [
        "systemd-analyze verify ddrop.service ddrop.socket",
        "XDG_RUNTIME_DIR=/tmp systemd-analyze --user verify ddrop-renew.service ddrop-renew.timer",
    ] {
        let found = where_it_is_installed(verify);
        assert!(found.status.success() && words(&found).trim().is_empty(), "{verify}: {}", words(&found));
    }
    // That it would find something.
    let broken = "sed s/^User=.*/Usr=x/ ddrop.service >/usr/local/bin/other.service; systemd-analyze verify /usr/local/bin/other.service";
    assert!(words(&where_it_is_installed(broken)).contains("Usr"), "a slip in a unit goes unnoticed");
}

#[test]
fn the_service_is_exposed_to_little() {
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=true", "--no-pager", "--threshold=20"]).arg(units().join("ddrop.service"));
    let judged = run(&mut command, "apt-get install systemd");
    let text = words(&judged);
    assert!(judged.status.success() && text.contains("Overall exposure level"), "{text}");
    // What is left open is the network, and what comes with it.
    let open: Vec<&str> = text.lines().filter(|line| line.starts_with('✗')).collect();
    let known =
        ["@resources", "RootDirectory", "AF_UNIX", "AF_(INET", "PrivateNetwork", "DeviceAllow", "IPAddressDeny"];
    let unknown: Vec<_> = open.iter().filter(|line| !known.iter().any(|word| line.contains(word))).collect();
    assert!(!open.is_empty() && unknown.is_empty(), "open and not explained in deploy/README.md: {unknown:#?}");
    let readme = std::fs::read_to_string(units().join("../README.md")).expect("deploy/README.md");
    assert!(known.iter().all(|word| readme.contains(word)), "deploy/README.md says of each why it is open");
}

/// The system calls a line of `SystemCallFilter=` stands for.
fn calls(word: &str, all: &str) -> BTreeSet<String> {
    if !word.starts_with('@') {
        return BTreeSet::from([word.to_owned()]);
    }
    let section = all.split_once(&format!("{word}\n")).unwrap_or_else(|| panic!("{word} is no group")).1;
    let lines = section.lines().take_while(|line| line.starts_with(' ')).map(str::trim);
    lines.filter(|line| !line.starts_with('#') && !line.is_empty()).flat_map(|line| calls(line, all)).collect()
}

fn allowed() -> BTreeSet<String> {
    let listed = run(Command::new("systemd-analyze").args(["syscall-filter", "--no-pager"]), "apt-get install systemd");
    let all = words(&listed);
    let unit = std::fs::read_to_string(units().join("ddrop.service")).expect("the unit");
    let mut allowed = calls("@default", &all);
    for line in unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let (add, words) = line.strip_prefix('~').map_or((true, line), |words| (false, words));
        for call in words.split(' ').flat_map(|word| calls(word, &all)) {
            if add {
                allowed.insert(call)
            } else {
                allowed.remove(&call)
            };
        }
    }
    allowed
}

#[test]
fn the_server_makes_no_system_call_that_the_unit_forbids() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    let (socket, _) = socket();
    let inner = handed(&socket, &folder.path().join("storage"));
    // The tracer starts the shell that becomes the server, so that the socket and the process id stay what they are.
    let mut command = Command::new("strace");
    command
        .args(["-f", "-y", "-qq", "-e", "signal=none", "-o"])
        .arg(&trace)
        .arg(inner.get_program())
        .args(inner.get_args());
    command.env("DD_LOG", "warn").stdin(std::os::fd::OwnedFd::from(socket.try_clone().expect("a socket")));
    let server = Server::try_spawn(command).unwrap_or_else(|error| panic!("strace: {error} (apt-get install strace)"));
    let user = User::enrolled(server.invite());
    let file = user.file("file");
    std::fs::write(&file, vec![7; 3 << 20]).expect("written");
    let up = user.run(&["upload", &file.display().to_string()]);
    assert!(up.status.success(), "{}", words(&up));
    let link = String::from_utf8_lossy(&up.stdout).trim().to_owned();
    assert!(user.run(&["fetch", &link, "-o", "-"]).status.success());
    assert!(user.run(&["expire", link.rsplit('/').next().expect("an id")]).status.success());
    assert!(user.run(&["health", "--url", &server.url]).status.success());
    // The tracer passes nothing on: the server is its child.
    let children = format!("/proc/{0}/task/{0}/children", server.child.id());
    let child = std::fs::read_to_string(children).expect("readable");
    for signal in ["-HUP", "-TERM"] {
        assert!(Command::new("kill").args([signal, child.trim()]).status().expect("kill runs").success());
    }
    server.ended();
    let text = std::fs::read_to_string(&trace).expect("a trace");
    let (_, served) =
        text.split_once("execve(\"/").and_then(|(_, rest)| rest.split_once(DDROP)).expect("it was started");
    let made: BTreeSet<String> = served
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1)?.split_once('('))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
        .collect();
    assert!(made.contains("accept4") && made.contains("fsync") || made.contains("fdatasync"), "{made:?}");
    let mut allowed = allowed();
    // As root, which the service is not, SQLite gives its files to the owner of the database.
    allowed.insert("fchown".to_owned());
    let forbidden: Vec<_> = made.difference(&allowed).collect();
    assert!(forbidden.is_empty(), "the unit forbids {forbidden:?}");
    let log = |call: &str| served.lines().any(|line| line.contains(call) && line.contains("/links.db-wal>"));
    assert!(log(" fdatasync(") && !log(" fsync("), "a commit waits for the file system's own journal");
}

fn install(root: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("unshare");
    command.args(["-r", "sh"]).arg(units().join("install.sh")).arg("--root").arg(root).args(arguments);
    let done = run(&mut command, "apt-get install util-linux");
    assert!(done.status.success(), "{}", words(&done));
    done
}

fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder").flatten() {
            match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                true => waiting.push(entry.path()),
                false => found.push(entry.path().strip_prefix(folder).expect("below").display().to_string()),
            }
        }
    }
    found.sort();
    found
}

#[test]
fn what_is_installed_can_be_taken_away_again() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let settings = root.join("etc/ddrop/ddrop.toml");
    install(root, &[DDROP]);
    let mode = |path: &str| std::fs::metadata(root.join(path)).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode("usr/local/bin/ddrop"), mode("etc/ddrop/credentials")), (0o755, 0o700));
    // What it puts there as settings is understood.
    let checked = Command::new(DDROP).args(["serve", "--check", "--config"]).arg(&settings).env_clear().output();
    assert!(checked.expect("ddrop runs").status.success());
    std::fs::write(&settings, "max_storage_mb = 7\n").expect("written");
    let before = files(root);
    install(root, &[DDROP]);
    assert_eq!(files(root), before, "twice is once");
    assert_eq!(
        std::fs::read_to_string(&settings).expect("there"),
        "max_storage_mb = 7\n",
        "settings are the operator's"
    );
    std::fs::create_dir_all(root.join("var/lib/ddrop")).expect("made");
    std::fs::write(root.join("var/lib/ddrop/links.db"), "kept").expect("written");
    install(root, &["--uninstall"]);
    let kept = ["etc/ddrop/ddrop.toml", "etc/group", "etc/passwd", "var/lib/ddrop/links.db"];
    assert_eq!(files(root), kept);
    install(root, &["--purge"]);
    assert_eq!(files(root), ["etc/group", "etc/passwd"]);
    assert_eq!(std::fs::read_to_string(root.join("etc/passwd")).expect("there"), "");
}

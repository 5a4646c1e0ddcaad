//! The image, built and run by real programs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::ports::Port;
use crate::server::{User, words};
use crate::tools::{root, run, static_binary, tool};

const HOW: &str = "apt-get install buildah podman runc netavark aardvark-dns iptables";

/// Images and containers of a test's own.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--root").arg(self.folder.path().join("root"));
        command.arg("--runroot").arg(self.folder.path().join("run"));
        command.env("STORAGE_DRIVER", "vfs").env("BUILDAH_ISOLATION", "chroot");
        command
    }

    fn podman(&self, arguments: &[&str]) -> Output {
        let mut command = self.command("podman");
        run(command.args(["--runtime", "runc", "--cgroup-manager", "cgroupfs"]).args(arguments), HOW)
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = self.podman(arguments);
        assert!(output.status.success(), "podman {arguments:?}: {}", words(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The folder the image is built from, as `deploy/build.sh` leaves it.
    fn context(&self) -> std::path::PathBuf {
        let folder = self.folder.path().join("dist");
        std::fs::create_dir_all(folder.join("storage")).expect("made");
        let binary = static_binary(&folder);
        std::fs::rename(binary, folder.join("ddrop-amd64")).expect("renamed");
        folder
    }

    fn build(&self) {
        let mut command = self.command("buildah");
        command.args(["bud", "--format", "docker", "-t", "ddrop", "-f", "deploy/container/Containerfile"]);
        let built = run(command.arg(self.context()).current_dir(root()), HOW);
        assert!(built.status.success(), "{}", words(&built));
    }

    /// Waits until the log of a container has these words.
    fn until_logged(&self, name: &str, what: &str) -> String {
        loop {
            let output = self.podman(&["logs", name]);
            let log = words(&output);
            if log.contains(what) {
                return log;
            }
            let running = self.done(&["inspect", "--format", "{{.State.Running}}", name]);
            assert_eq!(running, "true", "it ended: {log}");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What a failed test left running; an error means there is nothing.
        let _ = self.podman(&["rm", "--all", "--force", "--time", "0"]);
        let _ = self.podman(&["volume", "rm", "--all", "--force"]);
    }
}

#[test]
fn the_image_runs_read_only_as_nobody_and_keeps_what_it_is_given() {
    let place = Place::new();
    place.build();
    let image = place.done(&[
        "image",
        "inspect",
        "--format",
        "{{.User}} {{.Config.Healthcheck.Test}} {{len .RootFS.Layers}}",
        "ddrop",
    ]);
    assert!(image.starts_with("65532:65532 [CMD /ddrop health]"), "{image}");
    let token = place.folder.path().join("token");
    std::fs::write(&token, "a-token-that-is-long-enough\n").expect("written");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o400)).expect("set");
    std::os::unix::fs::chown(&token, Some(65532), Some(65532)).expect("as root");
    let secret = format!("{}:/run/secrets/api-token:ro", token.display());
    let kept = Port::keep();
    let port = kept.number;
    let (published, url) = (format!("127.0.0.1:{port}:8443"), format!("https://localhost:{port}"));
    let public = format!("DD_PUBLIC_URL={url}");
    place.done(&[
        "run",
        "--detach",
        "--name",
        "drop",
        "--read-only",
        "--cap-drop",
        "all",
        "--security-opt",
        "no-new-privileges",
        "--ulimit",
        "nofile=1024:1024",
        "--ulimit",
        "nproc=1024:1024",
        "--publish",
        &published,
        "--env",
        &public,
        "--env",
        "DD_API_TOKEN_FILE=/run/secrets/api-token",
        "--volume",
        &secret,
        "--volume",
        "storage:/storage",
        "ddrop",
    ]);
    let log = place.until_logged("drop", "listening on");
    let (_, rest) = log.split_once("--configure ").expect("an invite");
    let user = User::enrolled(rest.lines().next().expect("a line").trim());
    let file = user.file("file");
    std::fs::write(&file, "kept over a restart").expect("written");
    let up = user.run(&["upload", &file.display().to_string()]);
    assert!(up.status.success(), "{}", words(&up));
    let link = String::from_utf8_lossy(&up.stdout).trim().to_owned();
    assert!(link.starts_with(&url), "{link}");
    // The check a container engine makes, and the operator's way in.
    let begun = std::time::Instant::now();
    while !place.podman(&["healthcheck", "run", "drop"]).status.success() {
        // It has five seconds, which on a busy machine may not do.
        assert!(begun.elapsed().as_secs() < 120, "it is not healthy");
    }
    place.done(&["exec", "drop", "/ddrop", "health"]);
    place.done(&["exec", "drop", "/ddrop", "pki", "invite", "bob", "-s", "/storage/ddrop"]);
    let examined = place.podman(&["exec", "drop", "/ddrop", "doctor"]);
    assert!(examined.status.success(), "{}", words(&examined));
    // The secret is there, and in neither the image nor the environment.
    let ca = user.file("ddrop/ca.crt").display().to_string();
    let mut asks = user.command(&["whoami", "--server", &url, "--ca-cert", &ca, "--json"]);
    asks.env("DD_API_TOKEN", "a-token-that-is-long-enough").env("XDG_CONFIG_HOME", "/nonexistent");
    let who = asks.output().expect("ddrop runs");
    assert!(words(&who).contains("\"admin\""), "{}", words(&who));
    assert!(!place.done(&["inspect", "drop"]).contains("a-token-that"));
    // There is nothing to run but the program, and nowhere to write but its folder.
    assert!(!place.podman(&["exec", "drop", "/bin/sh", "-c", "true"]).status.success());
    assert!(!place.podman(&["exec", "drop", "/ddrop", "cert", "-o", "/elsewhere"]).status.success());
    place.done(&["stop", "--time", "30", "drop"]);
    assert_eq!(place.done(&["inspect", "--format", "{{.State.ExitCode}}", "drop"]), "0", "it was asked, not killed");
    place.done(&["start", "drop"]);
    place.until_logged("drop", "listening on");
    let mut fetched = user.run(&["fetch", &link, "-o", "-"]);
    while fetched.status.code() == Some(5) {
        // The log has the line of the first start, too.
        fetched = user.run(&["fetch", &link, "-o", "-"]);
    }
    assert_eq!(fetched.stdout, b"kept over a restart", "{}", words(&fetched));
}

#[test]
fn a_linter_has_nothing_to_say_about_the_containerfile() {
    let file = root().join("deploy/container/Containerfile");
    let judged = run(Command::new(tool("hadolint")).arg(&file), "");
    assert!(judged.status.success() && words(&judged).is_empty(), "{}", words(&judged));
    let folder = tempfile::tempdir().expect("a folder");
    let slip = folder.path().join("Containerfile");
    std::fs::write(&slip, "FROM debian:latest\nRUN cd /tmp && sudo true\n").expect("written");
    assert!(!run(Command::new(tool("hadolint")).arg(&slip), "").status.success(), "it finds nothing at all");
}

#[test]
fn compose_starts_it_on_this_machine_alone() {
    let place = Place::new();
    place.build();
    let kept = Port::keep();
    let port = kept.number;
    let folder = place.folder.path().join("project/deploy/container");
    std::fs::create_dir_all(&folder).expect("made");
    let copy = |name: &str| {
        std::fs::copy(root().join("deploy/container").join(name), folder.join(name)).expect("copied");
    };
    copy("compose.yaml");
    std::fs::write(folder.join("api-token"), "a-token-that-is-long-enough\n").expect("written");
    // The program of that name with images of this test's own.
    let podman = place.folder.path().join("podman");
    let at = |name: &str| place.folder.path().join(name).display().to_string();
    let script = format!(
        "#!/bin/sh\nexec podman --root {} --runroot {} --runtime runc --cgroup-manager cgroupfs \"$@\"\n",
        at("root"),
        at("run")
    );
    write_program(&podman, &script);
    let compose = |arguments: &[&str]| {
        let mut command = Command::new(tool("podman-compose"));
        command.arg("--podman-path").arg(&podman).arg("-f").arg(folder.join("compose.yaml")).args(arguments);
        command.env("DDROP_PORT", port.to_string()).env("STORAGE_DRIVER", "vfs");
        run(&mut command, "")
    };
    let up =
        compose(&["--podman-run-args=--ulimit nofile=1024:1024 --ulimit nproc=1024:1024", "up", "-d", "--no-build"]);
    assert!(up.status.success(), "{}", words(&up));
    place.until_logged("ddrop", "listening on");
    let ports = place.done(&["port", "ddrop"]);
    assert_eq!(ports, format!("8443/tcp -> 127.0.0.1:{port}"));
    let user = User::nobody();
    let health = user.run(&["health", "--url", &format!("https://localhost:{port}")]);
    assert!(health.status.success(), "{}", words(&health));
    let how = place.done(&[
        "inspect",
        "--format",
        "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.EffectiveCaps}}",
        "ddrop",
    ]);
    assert!(how.starts_with("true ") && how.ends_with("[]"), "{how}");
    let down = compose(&["down"]);
    assert!(down.status.success(), "{}", words(&down));
}

fn write_program(path: &Path, text: &str) {
    std::fs::write(path, text).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("set");
}

#[test]
fn d18_the_same_file_makes_the_image_for_arm64() {
    let place = Place::new();
    let binary = std::fs::read(crate::arm64::built().join("ddrop-arm64")).expect("built");
    let context = place.folder.path().join("arm64");
    std::fs::create_dir_all(context.join("storage")).expect("made");
    std::fs::write(context.join("ddrop-arm64"), &binary).expect("written");
    let mut command = place.command("buildah");
    command.args(["bud", "--format", "docker", "--platform", "linux/arm64", "-t", "ddrop"]);
    command.args(["-f", "deploy/container/Containerfile"]).arg(&context).current_dir(root());
    let built = run(&mut command, HOW);
    assert!(built.status.success(), "{}", words(&built));
    let machine = place.done(&["image", "inspect", "--format", "{{.Os}}/{{.Architecture}}", "ddrop"]);
    assert_eq!(machine, "linux/arm64");
    // What is in it is that program and no other.
    let archive = place.folder.path().join("image.tar");
    place.done(&["save", "--format", "docker-archive", "-o", &archive.display().to_string(), "ddrop"]);
    let script = r#"mkdir "$1.d" && tar -xf "$1" -C "$1.d" && for layer in "$1".d/*.tar; do
        if tar -tf "$layer" | grep -qx ddrop; then tar -xOf "$layer" ddrop; fi; done"#;
    let taken = run(Command::new("sh").args(["-c", script, "sh"]).arg(&archive), "apt-get install tar");
    assert!(taken.status.success() && taken.stdout == binary, "{}", String::from_utf8_lossy(&taken.stderr));
}

#[test]
fn the_bake_file_names_both_machines() {
    let python = "import hcl2, json, sys; print(json.dumps(hcl2.load(open(sys.argv[1]))))";
    let file = root().join("deploy/container/docker-bake.hcl");
    let read = run(Command::new(tool("python3")).args(["-c", python]).arg(&file), "");
    let text = words(&read);
    assert!(read.status.success() && text.contains("linux/amd64") && text.contains("linux/arm64"), "{text}");
    assert!(text.contains("target/dist"), "{text}");
}

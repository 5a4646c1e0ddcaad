//! What would be applied to a cluster, judged against its schemas.

use std::path::Path;
use std::process::Command;

use crate::server::{DDROP, words};
use crate::tools::{root, run, tool};

/// What an overlay makes, with the secrets an operator puts beside it.
fn made(overlay: &str, folder: &Path) -> String {
    let copied = Command::new("cp").arg("-r").arg(root().join("deploy/kubernetes")).arg(folder).status();
    assert!(copied.expect("cp runs").success());
    let place = folder.join("kubernetes");
    std::fs::write(place.join("base/api-token"), "token").expect("written");
    std::fs::write(place.join("overlays").join(overlay).join("proxy-secret"), "secret").expect("written");
    let mut command = Command::new("kubectl");
    let made = run(
        command.arg("kustomize").arg(place.join("overlays").join(overlay)),
        "kubectl 1.21 or later: https://kubernetes.io/docs/tasks/tools",
    );
    assert!(made.status.success(), "{overlay}: {}", words(&made));
    String::from_utf8(made.stdout).expect("UTF-8")
}

fn judged(text: &str, folder: &Path) -> (bool, String) {
    let file = folder.join("made.yaml");
    std::fs::write(&file, text).expect("written");
    let said = run(Command::new(tool("kubernetes-validate")).arg("--strict").arg(&file), "");
    (said.status.success(), words(&said))
}

#[test]
fn every_overlay_fits_the_schemas_and_the_restricted_profile() {
    let overlays = std::fs::read_dir(root().join("deploy/kubernetes/overlays")).expect("a folder").flatten();
    let overlays: Vec<String> = overlays.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert!(overlays.iter().any(|overlay| overlay == "passthrough"));
    for overlay in &overlays {
        let folder = tempfile::tempdir().expect("a folder");
        let text = made(overlay, folder.path());
        let (fits, said) = judged(&text, folder.path());
        assert!(fits && said.matches(" passed ").count() >= 7, "{overlay}: {said}");
        // That it would find something.
        let (fits, said) = judged(&text.replace("readOnlyRootFilesystem", "readOnlyRoot"), folder.path());
        assert!(!fits, "{overlay}: {said}");
        // What the profile asks for, and what it does not.
        for needed in [
            "pod-security.kubernetes.io/enforce: restricted",
            "runAsNonRoot: true",
            "allowPrivilegeEscalation: false",
            "type: RuntimeDefault",
            "readOnlyRootFilesystem: true",
            "automountServiceAccountToken: false",
            "egress: []",
            "kind: PodDisruptionBudget",
            "path: /health/ready",
        ] {
            assert!(text.contains(needed), "{overlay} has no {needed}");
        }
        assert!(text.contains("drop:\n            - ALL"), "{overlay}");
    }
}

#[test]
fn every_setting_named_is_one() {
    let checked = Command::new(DDROP).args(["serve", "--check"]).env_clear().output().expect("ddrop runs");
    let known = words(&checked);
    let mut seen = 0;
    let mut waiting = vec![root().join("deploy")];
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("readable");
            for (at, _) in text.match_indices("DD_") {
                let name: String = text[at..].chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
                assert!(known.contains(&format!("{name}=")), "{}: {name} is no setting", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 15, "the settings are gone");
}

//! Tells the program which commit it was built of, and when: for `ddrop --version`.

use std::process::Command;

fn main() {
    for name in ["DDROP_COMMIT", "SOURCE_DATE_EPOCH"] {
        tell(&format!("rerun-if-env-changed={name}"));
    }
    // A development build does not ask git: it would be compiled anew after every commit.
    let released = variable("PROFILE").as_deref() == Some("release");
    let commit = variable("DDROP_COMMIT").or_else(|| released.then(commit)?);
    let day = variable("SOURCE_DATE_EPOCH").or_else(|| released.then(committed)?).as_deref().and_then(day);
    let features = variable("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    let parts = [
        Some(commit.unwrap_or_else(|| if released { "commit unknown" } else { "development build" }.to_owned())),
        day,
        variable("TARGET"),
        features.split(',').any(|feature| feature == "crt-static").then(|| "static".to_owned()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let version = variable("CARGO_PKG_VERSION").unwrap_or_default();
    tell(&format!("rustc-env=DDROP_VERSION={version} ({})", parts.join(", ")));
}

fn tell(line: &str) {
    println!("cargo::{line}");
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The commit that is checked out, marked if files differ from it; `None` where there is no git or no repository.
fn commit() -> Option<String> {
    // Of another repository that this folder happens to be in, as an unpacked archive may be, nothing is said.
    let root = git(&["rev-parse", "--show-toplevel"])?;
    if std::fs::canonicalize(root).ok()? != std::fs::canonicalize(variable("CARGO_MANIFEST_DIR")?).ok()? {
        return None;
    }
    for name in ["HEAD", "logs/HEAD", "index"] {
        tell(&format!("rerun-if-changed={}", git(&["rev-parse", "--git-path", name])?));
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(if changed { format!("{commit} with changes") } else { commit })
}

/// When that commit was made, in seconds.
fn committed() -> Option<String> {
    commit()?;
    git(&["log", "-1", "--format=%ct"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// The day of an instant in seconds since 1970, by Howard Hinnant's `civil_from_days`.
fn day(seconds: &str) -> Option<String> {
    let days = seconds.parse::<i64>().ok()?.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Some(format!("{year:04}-{month:02}-{day:02}"))
}

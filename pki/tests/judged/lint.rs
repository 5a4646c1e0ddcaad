//! Everything that is signed, judged by a linter: pkilint, held against RFC 5280 and RFC 6960, and where that says
//! something about a private CA, against what the CA/Browser Forum asks of public ones. A missing pkilint is a failure.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::samples::{Kind, Sample, all};
use crate::{World, assert_content};

/// Where its programs are: in the folder `PKILINT` names, else where `.ci/run` puts them.
fn folder() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/pkilint/bin");
    std::env::var_os("PKILINT").map_or_else(own, PathBuf::from)
}

/// One run of one of its programs on one sample.
struct Job<'a> {
    name: &'a str,
    program: &'static str,
    arguments: &'static [&'static str],
    pem: &'a str,
}

/// Runs each job as a command of its own would run, in one process: loading pkilint takes longer than what it does.
const RUNNER: &str = "
import contextlib, io, runpy, sys
for line in sys.stdin:
    sys.argv = line.rstrip('\\n').split('\\t')
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            runpy.run_path(sys.argv[0], run_name='__main__')
        except SystemExit:
            pass
    print(said.getvalue().replace('\\r\\n', '\\t').replace('\\n', '\\t'))
";

/// What it finds that is a warning or worse, for each job by its name.
fn findings(jobs: &[Job<'_>]) -> Vec<BTreeSet<String>> {
    let files = tempfile::tempdir().expect("a folder");
    let mut lines = String::new();
    for job in jobs {
        let file = files.path().join(format!("{}.pem", job.name));
        std::fs::write(&file, job.pem).expect("written");
        let (program, file) = (folder().join(job.program), file.display().to_string());
        let common = ["lint", "-s", "WARNING", "-f", "CSV"];
        let words = [&common[..], job.arguments, &[&file]].concat().join("\t");
        lines += &format!("{}\t{words}\n", program.display());
    }
    std::fs::write(files.path().join("jobs"), lines).expect("written");
    let input = std::fs::File::open(files.path().join("jobs")).expect("opened");
    let python = folder().join("python");
    let output = Command::new(&python).args(["-c", RUNNER]).stdin(input).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}; {INSTALL}", python.display()));
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().count(), jobs.len(), "is all of pkilint there? {INSTALL}\n{said}{errors}");
    jobs.iter()
        .zip(said.lines())
        .map(|(job, line)| {
            let mut lines = line.split('\t').filter(|line| !line.is_empty());
            let head = lines.next();
            assert_eq!(
                head,
                Some("node_path,validator,severity,code,message"),
                "{} on {}: {errors}",
                job.program,
                job.name
            );
            lines.filter_map(|line| line.split(',').nth(3).map(str::to_owned)).collect()
        })
        .collect()
}

const INSTALL: &str = "pkilint is installed at the top of the project by:\n  \
    python3 -m venv target/pkilint && target/pkilint/bin/pip install -r .ci/pkilint.txt\n\
    or PKILINT names the folder with its programs and its python";

fn job<'a>(sample: &'a Sample, program: &'static str, arguments: &'static [&'static str]) -> Job<'a> {
    Job { name: &sample.name, program, arguments, pem: &sample.pem }
}

#[test]
fn nothing_that_is_signed_breaks_a_rule_of_its_standard() {
    let jobs: Vec<Job<'_>> = all()
        .iter()
        .map(|sample| match sample.kind {
            Kind::Root | Kind::Issuing | Kind::Server | Kind::Client | Kind::Own => job(sample, "lint_pkix_cert", &[]),
            Kind::List => job(sample, "lint_crl", &["-t", "CRL", "-p", "PKIX"]),
            Kind::Response => job(sample, "lint_ocsp_response", &[]),
        })
        .collect();
    let found = findings(&jobs);
    let wrong: Vec<_> = jobs.iter().map(|job| job.name).zip(found).filter(|(_, found)| !found.is_empty()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What a public CA must have and a private one need not, by the linter's name for it, and why not here.
const POLICY: [(&str, &str); 13] = [
    ("cabf.serverauth.ca.country_attribute_absent", "a name is all that is known of who runs a private CA"),
    ("cabf.serverauth.ca.organization_name_attribute_absent", "likewise"),
    ("cabf.serverauth.ca.certificate_policies_extension_absent", "there is one policy, and nobody to tell it to"),
    ("cabf.serverauth.subscriber.certificate_policies_extension_absent", "likewise"),
    (
        "cabf.serverauth.ca.incomplete_name_constraints",
        "it wants directory names constrained, which no client looks at",
    ),
    ("cabf.serverauth.ca.crl_distribution_points_extension_absent", "the root may be offline and publishes no list"),
    ("cabf.serverauth.ca.authority_info_access_extension_absent", "likewise; whole chains are always sent"),
    ("cabf.serverauth.subscriber.ca_issuers_aia_access_method_absent", "whole chains are always sent"),
    ("cabf.serverauth.dv.common_name_attribute_present", "programs of before 2017 look for the name there"),
    ("cabf.serverauth.subscriber.subject_key_identifier_extension_present", "RFC 5280 says it should be there"),
    ("cabf.crl_prohibited_reason_code", "who revokes may say why in any way RFC 5280 has"),
    ("cabf.serverauth.root_basic_constraints_pathlenconstraint_present", "one level below it is all there is"),
    ("cabf.serverauth.root.authority_key_identifier_extension_absent", "RFC 5280 lets a self-signed one leave it out"),
];

#[test]
fn of_what_is_asked_of_public_cas_only_policy_is_missing() {
    let public = |sample: &&Sample| sample.name.starts_with("ecsecp256r1-") && !sample.is_private;
    let jobs: Vec<Job<'_>> = all()
        .iter()
        .filter(public)
        .filter_map(|sample| match sample.kind {
            Kind::Root => Some(job(sample, "lint_cabf_serverauth_cert", &["-t", "ROOT-CA"])),
            Kind::Issuing => Some(job(sample, "lint_cabf_serverauth_cert", &["-t", "INTERNAL-CONSTRAINED-TLS-CA"])),
            Kind::Server => Some(job(sample, "lint_cabf_serverauth_cert", &["-t", "DV-FINAL-CERTIFICATE"])),
            Kind::List => Some(job(sample, "lint_crl", &["-t", "CRL", "-p", "BR"])),
            Kind::Client | Kind::Own | Kind::Response => None,
        })
        .collect();
    assert!(jobs.len() >= 5, "too few samples");
    let found: BTreeSet<String> = findings(&jobs).into_iter().flatten().collect();
    let known: BTreeSet<String> = POLICY.iter().map(|(code, _)| (*code).to_owned()).collect();
    let (new, idle): (Vec<_>, Vec<_>) = (found.difference(&known).collect(), known.difference(&found).collect());
    assert!(new.is_empty(), "not a matter of policy: {new:?}");
    assert!(idle.is_empty(), "these are not found any more and need no reason: {idle:?}");
}

#[test]
fn the_linter_finds_what_is_wrong() {
    let world = World::new(pki::key::Algorithm::P256, &[]);
    let make = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x"];
    let wrong = ["-addext", "basicConstraints=CA:FALSE", "-addext", "keyUsage=keyCertSign"];
    let files = ["-keyout", "wrong.key", "-out", "wrong.pem"];
    assert_content(&[&make[..], &wrong, &files].concat(), world.folder.path());
    let pem = std::fs::read_to_string(world.path("wrong.pem")).expect("read");
    let found = findings(&[Job { name: "wrong", program: "lint_pkix_cert", arguments: &[], pem: &pem }]);
    assert!(found.iter().flatten().any(|code| code == "pkix.ee_certificate_keycertsign_keyusage_set"), "{found:?}");
}

//! Certificates that are not what they look like, or not any more, through each file of deploy/ in the real program:
//! what the proxy lets through is judged here, and what it refuses never gets here.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::deployed::{ALL, Deployed, Kind, Wish};
use super::proxies::{operator, stranger};
use super::{DDROP, Server, User, words};

/// A command three days ago. The library itself, as the program around it would stay between us and the command.
fn back_then(arguments: &[&str]) -> Command {
    let library = Command::new("faketime").args(["-f", "-3d", "printenv", "LD_PRELOAD"]).output();
    let library = words(&library.expect("faketime is installed (apt-get install faketime)"));
    let mut command = Command::new(DDROP);
    // What is waited for is waited for today.
    command.env("LD_PRELOAD", library.trim()).env("FAKETIME", "-3d").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command.args(arguments);
    command
}

/// Makes a storage folder whose server ran three days ago, when certificates were for a day; and someone who enrolled.
fn whose_certificate_is_over(storage: &Path) -> User {
    let mut command = back_then(&["serve", "-h", "127.0.0.1", "-p", "0", "--client-cert-days=1", "-s"]);
    command.arg(storage);
    let server = Server::spawn(command);
    let user = User { home: tempfile::tempdir().expect("a folder") };
    let invite = server.invite.clone().expect("an invite");
    let mut enrol = back_then(&["cert", "--configure", &invite]);
    let done = enrol.env("XDG_CONFIG_HOME", user.home.path()).stdin(Stdio::null()).output().expect("ddrop runs");
    assert!(done.status.success(), "{}", words(&done));
    server.stop();
    user
}

/// What a proxy and the server behind it make of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The proxy ends the handshake.
    NoHandshake,
    /// nginx has a page of its own for this.
    NginxSays400,
    /// ddrop says that it is over.
    Expired,
    /// ddrop says that it is revoked.
    Revoked,
    /// ddrop takes its holder for someone nobody knows.
    Unknown,
    /// ddrop knows the holder.
    Known,
}

/// Asks for one's own links, by TLS 1.2, which tells a client in the handshake what is wrong, and by 1.3.
fn verdict(deployed: &Deployed, user: &User) -> Verdict {
    let [older, newer] = ["1.2", "1.3"].map(|version| {
        let url = deployed.url("/api/links");
        let said = deployed.curl_as(user, &["--tls-max", version, "-w", "[%{http_code}]", &url]);
        let has = |text: &str| said.contains(text);
        match ["200", "400", "401", "403", "000"].into_iter().find(|code| has(&format!("[{code}]"))) {
            Some("200") if has("\"links\"") => Verdict::Known,
            Some("400") if has("nginx") => Verdict::NginxSays400,
            Some("403") if has("certificate_expired") => Verdict::Expired,
            Some("403") if has("certificate_revoked") => Verdict::Revoked,
            Some("401" | "403") if !has("\"links\"") => Verdict::Unknown,
            Some("000") if has("alert") || has("certificate") => Verdict::NoHandshake,
            // By then a client of TLS 1.3 may have begun to speak, and only find that nobody listens any more.
            Some("000") if version == "1.3" && !has("timed out") && !has("Failed to connect") => Verdict::NoHandshake,
            _ => panic!("neither let in nor refused for the certificate: {said}"),
        }
    });
    assert_eq!(older, newer, "TLS 1.3 differs from 1.2");
    older
}

/// Who ddrop says someone is; nothing where the proxy does not let them ask.
fn name(deployed: &Deployed, user: &User) -> String {
    let said = deployed.curl_as(user, &[&deployed.url("/api/whoami")]);
    let said: serde_json::Value = serde_json::from_str(said.trim()).unwrap_or_default();
    said.get("name").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

fn openssl(folder: &Path, arguments: &[&str]) -> String {
    let done = Command::new("openssl").args(arguments).current_dir(folder).stdin(Stdio::null()).output();
    let done = done.expect("openssl is installed (apt-get install openssl)");
    assert!(done.status.success(), "{arguments:?}: {}", words(&done));
    String::from_utf8(done.stdout).expect("text")
}

/// What a certificate says of itself, as openssl prints it.
fn said_of(certificate: &Path, what: &[&str]) -> String {
    let path = certificate.display().to_string();
    let text = openssl(Path::new("/"), &[&["x509", "-in", &path, "-noout"], what].concat());
    text.split_once('=').expect("a name and a value").1.trim().to_owned()
}

/// Somebody with a CA of their own, whose names and whose certificate's names and serial number are those of `like`.
fn forged(deployed: &Deployed, like: &User) -> User {
    let user = User { home: tempfile::tempdir().expect("a folder") };
    let folder = user.home.path().join("ddrop");
    std::fs::create_dir(&folder).expect("made");
    let issuing = deployed.at("storage/pki/issuing.crt");
    let [issuer, subject] =
        [&issuing, &like.file("client.crt")].map(|path: &PathBuf| said_of(path, &["-subject", "-nameopt", "compat"]));
    let serial = format!("0x{}", said_of(&like.file("client.crt"), &["-serial"]));
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let ca = ["req", "-x509", "-days", "2", "-subj", &issuer, "-keyout", "ca.key", "-out", "ca.pem"];
    openssl(&folder, &[&ca[..], &key].concat());
    let request = ["req", "-new", "-subj", &subject, "-keyout", "client.key", "-out", "client.csr"];
    openssl(&folder, &[&request[..], &key].concat());
    std::fs::write(folder.join("extensions"), "extendedKeyUsage=clientAuth\nkeyUsage=digitalSignature\n")
        .expect("written");
    let signing = ["x509", "-req", "-in", "client.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", &serial];
    openssl(&folder, &[&signing[..], &["-days", "1", "-extfile", "extensions", "-out", "leaf.pem"]].concat());
    let chain = ["leaf.pem", "ca.pem"].map(|name| std::fs::read_to_string(folder.join(name)).expect("read"));
    std::fs::write(folder.join("client.crt"), chain.concat()).expect("written");
    let own = |what: &[&str]| (said_of(&user.file("client.crt"), what), said_of(&like.file("client.crt"), what));
    for what in [&["-subject"][..], &["-issuer"], &["-serial"]] {
        let (forged, real) = own(what);
        assert_eq!(forged, real, "the test's own forgery is no good");
    }
    user
}

/// What the file of deploy/ says to put where, so that certificates of one's own are let in too.
fn lets_in_more(kind: Kind) -> &'static [(&'static str, &'static str)] {
    match kind {
        Kind::Passthrough => &[],
        Kind::Header => &[(
            "crl-file /etc/ddrop/proxy/crl.pem\n",
            "crl-file /etc/ddrop/proxy/crl.pem crt-ignore-err all ca-ignore-err all\n",
        )],
        Kind::Nginx => &[
            ("ssl_verify_client optional;", "ssl_verify_client optional_no_ca;"),
            ("    ssl_crl /etc/ddrop/proxy/crl.pem;\n", ""),
            ("X-SSL-Client-Cert $ddrop_certificate;", "X-SSL-Client-Cert $ssl_client_escaped_cert;"),
        ],
        Kind::Caddy => &[("mode verify_if_given", "mode request")],
    }
}

#[test]
fn a_certificate_that_is_over_or_of_another_ca_is_nobodys_through_each_proxy() {
    for kind in ALL {
        let over = std::cell::OnceCell::new();
        let past = |storage: &Path| assert!(over.set(whose_certificate_is_over(storage)).is_ok());
        let deployed = Deployed::start_with(kind, Wish { past: Some(&past), ..Wish::default() });
        let alice = deployed.invited("alice");
        let (forger, over) = (forged(&deployed, &alice), over.into_inner().expect("someone"));
        let (expired, unknown) = match kind {
            Kind::Passthrough => (Verdict::Expired, Verdict::Unknown),
            Kind::Header | Kind::Caddy => (Verdict::NoHandshake, Verdict::NoHandshake),
            Kind::Nginx => (Verdict::NginxSays400, Verdict::NginxSays400),
        };
        assert_eq!(verdict(&deployed, &alice), Verdict::Known, "{kind:?}");
        assert_eq!(verdict(&deployed, &over), expired, "{kind:?}: expired");
        assert_eq!(verdict(&deployed, &forger), unknown, "{kind:?}: of a CA that calls itself ours");
        assert_eq!(verdict(&deployed, &stranger()), unknown, "{kind:?}: of nobody");
        assert_eq!(name(&deployed, &alice), "alice", "{kind:?}");
        for who in [&over, &forger] {
            assert_eq!(name(&deployed, who), "", "{kind:?}");
        }
        deployed.stop();
    }
}

#[test]
fn where_a_proxy_lets_in_any_certificate_it_is_judged_here() {
    for kind in ALL {
        let over = std::cell::OnceCell::new();
        let past = |storage: &Path| assert!(over.set(whose_certificate_is_over(storage)).is_ok());
        let deployed =
            Deployed::start_with(kind, Wish { places: lets_in_more(kind), past: Some(&past), ..Wish::default() });
        let (alice, bob) = (deployed.invited("alice"), deployed.invited("bob"));
        let (forger, over, erin) = (forged(&deployed, &alice), over.into_inner().expect("someone"), stranger());
        assert_eq!(verdict(&deployed, &alice), Verdict::Known, "{kind:?}");
        // nginx has its own mind about dates, whatever it is told.
        let expired = if kind == Kind::Nginx { Verdict::NginxSays400 } else { Verdict::Expired };
        assert_eq!(verdict(&deployed, &over), expired, "{kind:?}");
        assert_eq!(verdict(&deployed, &forger), Verdict::Unknown, "{kind:?}: of a CA that calls itself ours");
        assert_eq!(name(&deployed, &forger), "", "{kind:?}");
        // A certificate of one's own becomes a client's.
        assert_eq!(verdict(&deployed, &erin), Verdict::Unknown, "{kind:?}");
        let print = said_of(&erin.file("client.crt"), &["-fingerprint", "-sha256"]).replace(':', "").to_lowercase();
        operator(&deployed.at("storage"), &["trust", &print, "erin"]);
        assert_eq!(verdict(&deployed, &erin), Verdict::Known, "{kind:?}");
        assert_eq!(name(&deployed, &erin), "erin", "{kind:?}");
        operator(&deployed.at("storage"), &["revoke", "bob"]);
        assert_eq!(verdict(&deployed, &bob), Verdict::Revoked, "{kind:?}");
        deployed.stop();
    }
}

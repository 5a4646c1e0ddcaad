//! OCSP responses, PKCS#7 and large revocation lists, judged by openssl.

use pki::crl::{self, Entry, Header};
use pki::key::{Algorithm, Key};
use pki::ocsp::{self, Failure, Request, Status};
use pki::pkcs7;
use time::Duration;

use crate::{World, assert_content, openssl};

fn serial(certificate: &pki::certificate::Certificate) -> String {
    certificate.facts().expect("facts").serial_hex
}

#[test]
fn responses_are_believed() {
    for algorithm in [Algorithm::P256, Algorithm::P384, Algorithm::Ed25519, Algorithm::Rsa(2048)] {
        let world = World::new(algorithm, &[]);
        let key = Key::generate(Algorithm::P256).expect("a key");
        let [good, bad, strange] = ["good", "bad", "strange"].map(|name| world.client(&key, name));
        for (name, certificate) in [("good.pem", &good), ("bad.pem", &bad), ("strange.pem", &strange)] {
            world.write(name, certificate.to_pem());
        }
        let ask = ["ocsp", "-issuer", "issuing.pem", "-CAfile", "root.pem"];
        let about = ["-cert", "good.pem", "-cert", "bad.pem", "-sha256", "-cert", "strange.pem"];
        assert_content(&[&ask[..], &about, &["-nonce", "-reqout", "request.der"]].concat(), world.folder.path());
        let request = Request::from_der(&std::fs::read(world.path("request.der")).expect("read")).expect("a request");
        assert!(request.asked().iter().all(|asked| asked.is_of(&world.issuing) && !asked.is_of(&world.root)));
        let statuses: Vec<Status> = request
            .asked()
            .iter()
            .map(|asked| match asked.serial_hex() {
                serial_hex if serial_hex == serial(&good) => Status::Good,
                serial_hex if serial_hex == serial(&bad) => Status::Revoked { at: world.now, reason: 1 },
                _ => Status::Unknown,
            })
            .collect();
        let response = ocsp::respond(
            &world.issuing,
            &request,
            &statuses,
            world.now - Duration::minutes(5),
            world.now + Duration::hours(1),
            world.now,
        );
        world.write("response.der", response.expect("a response"));
        // -no_nonce: do not add another nonce to the one in the request.
        let given = ["-respin", "response.der", "-reqin", "request.der", "-no_nonce"];
        let said = assert_content(&[&ask[..], &about, &given].concat(), world.folder.path());
        for fact in [
            "Response verify OK",
            "good.pem: good",
            "bad.pem: revoked",
            "Reason: keyCompromise",
            "strange.pem: unknown",
        ] {
            assert!(said.contains(fact), "{algorithm}: {fact} in {said}");
        }
        assert!(!said.to_lowercase().contains("warning"), "the nonce came back: {said}");
    }
}

#[test]
fn failures_say_what_they_are() {
    let world = World::new(Algorithm::P256, &[]);
    for (failure, word) in [
        (Failure::Malformed, "malformedrequest"),
        (Failure::Internal, "internalerror"),
        (Failure::Unauthorized, "unauthorized"),
    ] {
        world.write("failure.der", ocsp::failure(failure));
        let output = openssl(&["ocsp", "-respin", "failure.der", "-noverify"], world.folder.path());
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).to_lowercase();
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn a_damaged_request_is_refused_or_read_but_never_more() {
    let world = World::new(Algorithm::P256, &[]);
    let key = Key::generate(Algorithm::P256).expect("a key");
    world.write("client.pem", world.client(&key, "alice").to_pem());
    let ask = ["ocsp", "-issuer", "issuing.pem", "-cert", "client.pem", "-reqout", "request.der"];
    assert_content(&ask, world.folder.path());
    let der = std::fs::read(world.path("request.der")).expect("read");
    for at in 0..der.len() {
        assert!(Request::from_der(&der[..at]).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut changed = der.clone();
            changed[at] ^= 1 << bit;
            let _ = Request::from_der(&changed);
        }
    }
    assert!(Request::from_der(&[0x30, 0]).is_err());
    assert!(Request::from_der(&vec![0x30; ocsp::LONGEST + 1]).is_err());
}

#[test]
fn certificates_in_pkcs7_are_read() {
    let world = World::new(Algorithm::P256, &[]);
    let both = [world.issuing.certificate().der(), world.root.certificate().der()];
    world.write("both.p7", pkcs7::certificates(&both));
    let said = assert_content(&["pkcs7", "-inform", "DER", "-in", "both.p7", "-print_certs"], world.folder.path());
    assert_eq!(said.matches("BEGIN CERTIFICATE").count(), 2, "{said}");
    assert_content(&["cms", "-cmsout", "-inform", "DER", "-in", "both.p7", "-noout", "-print"], world.folder.path());
}

#[test]
fn a_list_of_100_000_is_made_in_seconds() {
    let world = World::new(Algorithm::P256, &[]);
    let entries: Vec<Entry> = (0..100_000)
        .map(|number| Entry { serial_hex: format!("40{number:030x}"), revoked_at: world.now, reason: 1 })
        .collect();
    let header =
        Header { number: 1, this_update: world.now, next_update: world.now + Duration::days(7), places: Vec::new() };
    let started = std::time::Instant::now();
    let der = crl::build(&world.issuing, &header, &entries).expect("a list");
    let took = started.elapsed();
    assert!(took < std::time::Duration::from_secs(120), "{took:?}, without optimisation");
    world.write("list.der", &der);
    let said = assert_content(
        &["crl", "-inform", "DER", "-in", "list.der", "-noout", "-CAfile", "issuing.pem"],
        world.folder.path(),
    );
    assert!(said.contains("verify OK"), "{said}");
}

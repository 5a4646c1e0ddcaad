use pki::certificate::self_signed_client;
use pki::crl::{self, Entry, Header};
use pki::key::{Algorithm, Key};
use pki::request::{self, Request};
use time::Duration;

use crate::{World, assert_content, assert_refused, publication};

const ALL: [Algorithm; 5] =
    [Algorithm::P256, Algorithm::P384, Algorithm::P521, Algorithm::Ed25519, Algorithm::Rsa(2048)];

fn key(algorithm: Algorithm) -> Key {
    Key::generate(algorithm).expect("a key")
}

const CHAIN: [&str; 5] = ["verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted"];

#[test]
fn chains_verify_for_their_purpose_and_no_other() {
    for algorithm in [Algorithm::P256, Algorithm::P384, Algorithm::Ed25519, Algorithm::Rsa(2048)] {
        let world = World::new(algorithm, &[]);
        world.write("client.pem", world.client(&key(Algorithm::P256), "alice").to_pem());
        world.write("server.pem", world.server(&key(Algorithm::P256), &["localhost", "127.0.0.1", "::1"]).to_pem());
        let verify = |purpose, leaf| [&CHAIN[..], &["issuing.pem", "-purpose", purpose, leaf]].concat();
        assert_content(&verify("sslclient", "client.pem"), world.folder.path());
        assert_content(&verify("sslserver", "server.pem"), world.folder.path());
        assert_refused(&verify("sslserver", "client.pem"), world.folder.path());
        assert_refused(&verify("sslclient", "server.pem"), world.folder.path());
    }
}

#[test]
fn every_kind_of_client_key_is_certified_as_it_is() {
    let world = World::new(Algorithm::P256, &[]);
    for algorithm in ALL {
        let key = key(algorithm);
        let request = request::make(&key, "alice").expect("a request");
        let judged = Request::from_pem(&request).expect("good");
        let certificate = world.issuing.client(judged.key(), "bob", crate::YEAR, &publication(), world.now);
        world.write("request.pem", &request);
        world.write("key.pem", key.to_pem().as_bytes());
        world.write("client.pem", certificate.expect("a certificate").to_pem());
        let said = assert_content(&["req", "-in", "request.pem", "-verify", "-noout"], world.folder.path());
        assert!(said.contains("verify OK"), "{algorithm}: {said}");
        assert_content(
            &[&CHAIN[..], &["issuing.pem", "-purpose", "sslclient", "client.pem"]].concat(),
            world.folder.path(),
        );
        let of_key = assert_content(&["pkey", "-in", "key.pem", "-pubout"], world.folder.path());
        let of_certificate = assert_content(&["x509", "-in", "client.pem", "-noout", "-pubkey"], world.folder.path());
        assert_eq!(of_key, of_certificate, "{algorithm}");
    }
}

#[test]
fn requests_made_by_openssl_are_judged() {
    let world = World::new(Algorithm::P256, &[]);
    let new = |kind: &[&str], more: &[&str]| {
        let all = ["req", "-new", "-nodes", "-keyout", "k.pem", "-out", "r.pem", "-subj", "/O=x/CN=carol"];
        assert_content(&[&all[..], kind, more].concat(), world.folder.path());
        Request::from_pem(&std::fs::read_to_string(world.path("r.pem")).expect("read"))
    };
    let p256 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    // The hash of a request says nothing about its key.
    for hash in ["-sha256", "-sha384"] {
        let judged = new(&p256, &[hash]).expect("good");
        assert_eq!((judged.key().algorithm(), judged.common_name()), (Algorithm::P256, Some("carol")));
        let certificate = world.issuing.client(judged.key(), "carol", crate::YEAR, &publication(), world.now);
        world.write("client.pem", certificate.expect("a certificate").to_pem());
        let of_key = assert_content(&["pkey", "-in", "k.pem", "-pubout"], world.folder.path());
        assert_eq!(assert_content(&["x509", "-in", "client.pem", "-noout", "-pubkey"], world.folder.path()), of_key);
    }
    for (kind, good) in [
        (&["-newkey", "rsa:2048"][..], true),
        (&["-newkey", "rsa:1024"], false),
        (&["-newkey", "ed25519"], true),
        (&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"], true),
        (&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521", "-sha384"], true),
        (&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521", "-sha512"], true),
        (&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521", "-sha1"], false),
        (&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"], false),
        (&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-224"], false),
        (&["-newkey", "rsa:2048", "-sha1"], false),
    ] {
        assert_eq!(new(kind, &[]).is_ok(), good, "{kind:?}");
    }
    let sha1 = new(&["-newkey", "rsa:2048", "-sha1"], &[]);
    assert!(matches!(sha1, Err(request::Error::Sha1)), "{sha1:?}");
    let weak = new(&["-newkey", "rsa:1024"], &[]);
    assert!(matches!(weak, Err(request::Error::Key(pki::key::Error::Weak(_)))), "{weak:?}");
    for (wish, good) in [
        ("basicConstraints=CA:TRUE", false),
        ("basicConstraints=CA:FALSE", true),
        ("keyUsage=keyCertSign", false),
        ("keyUsage=digitalSignature", true),
        ("subjectAltName=DNS:bank.example", true),
        ("nameConstraints=permitted;DNS:example", false),
        ("1.2.3.4=ASN1:NULL", false),
    ] {
        assert_eq!(new(&p256, &["-addext", wish]).is_ok(), good, "{wish}");
    }
}

#[test]
fn certificates_say_what_their_profile_says() {
    let world = World::new(Algorithm::P256, &["example.org"]);
    world.write("client.pem", world.client(&key(Algorithm::P256), "älice").to_pem());
    world.write("server.pem", world.server(&key(Algorithm::P256), &["drop.example.org", "10.0.0.7"]).to_pem());
    let text = |file| assert_content(&["x509", "-in", file, "-noout", "-text"], world.folder.path());
    let root = text("root.pem");
    for fact in ["CA:TRUE, pathlen:1", "X509v3 Basic Constraints: critical", "Certificate Sign, CRL Sign"] {
        assert!(root.contains(fact), "{fact} in {root}");
    }
    assert!(!root.contains("Extended Key Usage") && !root.contains("Digital Signature"), "{root}");
    let issuing = text("issuing.pem");
    for fact in [
        "CA:TRUE, pathlen:0",
        "Digital Signature, Certificate Sign, CRL Sign",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "X509v3 Name Constraints: critical",
        "DNS:example.org",
    ] {
        assert!(issuing.contains(fact), "{fact} in {issuing}");
    }
    let client = text("client.pem");
    for fact in [
        "CA:FALSE",
        "TLS Web Client Authentication",
        "Digital Signature",
        "X509v3 Authority Key Identifier",
        "http://drop.example.org/pki/crl",
        "OCSP - URI:http://drop.example.org/pki/ocsp",
    ] {
        assert!(client.contains(fact), "{fact} in {client}");
    }
    assert!(!client.contains("Server Authentication"), "{client}");
    let server = text("server.pem");
    for fact in ["DNS:drop.example.org, IP Address:10.0.0.7", "TLS Web Server Authentication"] {
        assert!(server.contains(fact), "{fact} in {server}");
    }
}

#[test]
fn revocation_lists_are_believed() {
    for algorithm in [Algorithm::P256, Algorithm::P384, Algorithm::Rsa(2048)] {
        let world = World::new(algorithm, &[]);
        let good = world.client(&key(Algorithm::P256), "good");
        let bad = world.client(&key(Algorithm::P256), "bad");
        world.write("good.pem", good.to_pem());
        world.write("bad.pem", bad.to_pem());
        let header = Header {
            number: 7,
            this_update: world.now,
            next_update: world.now + Duration::days(7),
            places: publication().crl.into_iter().collect(),
        };
        let serial_hex = bad.facts().expect("facts").serial_hex;
        let entry = Entry { serial_hex, revoked_at: world.now, reason: 1 };
        let issuing = crl::build(&world.issuing, &header, &[entry]).expect("a list");
        // The root itself names no place, so its list must name none.
        let root = crl::build(&world.root, &Header { places: Vec::new(), ..header }, &[]).expect("a list");
        let both = [issuing, root].map(|der| pki::pem::encode("X509 CRL", &der)).concat();
        world.write("lists.pem", &both);
        let with_lists = ["issuing.pem", "-crl_check_all", "-CRLfile", "lists.pem"];
        assert_content(&[&CHAIN[..], &with_lists, &["good.pem"]].concat(), world.folder.path());
        let said = assert_refused(&[&CHAIN[..], &with_lists, &["bad.pem"]].concat(), world.folder.path());
        assert!(said.contains("certificate revoked"), "{said}");
        let text = assert_content(&["crl", "-in", "lists.pem", "-noout", "-text"], world.folder.path());
        for fact in ["Key Compromise", "X509v3 CRL Number", "X509v3 Issuing Distribution Point: critical"] {
            assert!(text.contains(fact), "{fact} in {text}");
        }
    }
}

#[test]
fn names_outside_the_constraints_are_not_believed() {
    let world = World::new(Algorithm::P256, &["example.org", "10.0.0.0/8"]);
    for (names, believed) in [
        (&["drop.example.org", "10.1.2.3"][..], true),
        (&["drop.example.com"], false),
        (&["drop.example.org", "192.0.2.1"], false),
    ] {
        world.write("server.pem", world.server(&key(Algorithm::P256), names).to_pem());
        let verify = [&CHAIN[..], &["issuing.pem", "-purpose", "sslserver", "server.pem"]].concat();
        if believed {
            assert_content(&verify, world.folder.path());
        } else {
            assert!(assert_refused(&verify, world.folder.path()).contains("permitted subtree violation"), "{names:?}");
        }
    }
}

#[test]
fn a_ca_for_domains_alone_is_none_for_addresses_and_the_other_way_round() {
    let (domains, networks, both) = (&["example.org"][..], &["10.0.0.0/8"][..], &["example.org", "10.0.0.0/8"][..]);
    for (permitted, names, believed) in [
        (domains, &["drop.example.org"][..], true),
        (domains, &["drop.example.org", "192.0.2.1"], false),
        (domains, &["drop.example.org", "2001:db8::1"], false),
        (domains, &["192.0.2.1"], false),
        (domains, &["::1"], false),
        (networks, &["10.1.2.3"], true),
        (networks, &["10.1.2.3", "drop.example.org"], false),
        (networks, &["drop.example.org"], false),
        (networks, &["10.1.2.3", "::1"], false),
        (both, &["10.1.2.3"], true),
        (both, &["drop.example.org", "10.1.2.3"], true),
        (both, &["drop.example.org", "::1"], false),
    ] {
        let world = World::new(Algorithm::P256, permitted);
        let key = key(Algorithm::P256);
        world.write("server.pem", world.server(&key, names).to_pem());
        world.write("client.pem", world.client(&key, "alice").to_pem());
        let verify = |purpose, leaf| [&CHAIN[..], &["issuing.pem", "-purpose", purpose, leaf]].concat();
        assert_content(&verify("sslclient", "client.pem"), world.folder.path());
        if believed {
            assert_content(&verify("sslserver", "server.pem"), world.folder.path());
        } else {
            let said = assert_refused(&verify("sslserver", "server.pem"), world.folder.path());
            assert!(said.contains("subtree violation"), "{permitted:?} {names:?}: {said}");
        }
        assert_eq!(names.iter().all(|name| world.issuing.permits(name)), believed, "{permitted:?} {names:?}");
    }
}

#[test]
fn self_signed_certificates_are_whole() {
    let world = World::new(Algorithm::P256, &[]);
    for algorithm in ALL {
        let key = key(algorithm);
        let certificate = self_signed_client(&key, "me", world.now, 365).expect("a certificate");
        world.write("self.pem", certificate.to_pem());
        assert_content(&["verify", "-CAfile", "self.pem", "-purpose", "sslclient", "self.pem"], world.folder.path());
        let text = assert_content(&["x509", "-in", "self.pem", "-noout", "-text", "-serial"], world.folder.path());
        let facts = certificate.facts().expect("facts");
        assert!(text.contains(&format!("serial={}", facts.serial_hex.to_uppercase())), "{text}");
        assert!(text.contains("TLS Web Client Authentication") && text.contains("CA:FALSE"), "{text}");
        assert_eq!(
            (facts.common_name.as_deref(), facts.is_self_issued, facts.serial_hex.len()),
            (Some("me"), true, 32)
        );
    }
}

#[test]
fn sealed_keys_open_with_openssl() {
    let world = World::new(Algorithm::P256, &[]);
    let key = key(Algorithm::P256);
    world.write("sealed.pem", key.to_encrypted_pem(b"correct horse").expect("sealed").as_bytes());
    world.write("plain.pem", key.to_pem().as_bytes());
    let opened =
        assert_content(&["pkey", "-in", "sealed.pem", "-passin", "pass:correct horse", "-pubout"], world.folder.path());
    assert_eq!(opened, assert_content(&["pkey", "-in", "plain.pem", "-pubout"], world.folder.path()));
    assert_refused(&["pkey", "-in", "sealed.pem", "-passin", "pass:battery", "-pubout"], world.folder.path());
}

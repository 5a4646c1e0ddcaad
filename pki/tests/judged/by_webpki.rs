use std::time::Duration;

use pki::ca::{Ca, Error};
use pki::certificate::Certificate;
use pki::crl::{self, Entry, Header};
use pki::key::{Algorithm, Key};
use rustls_pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime};
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, EndEntityCert, ExtendedKeyUsageValidator, KeyUsage,
    RevocationOptionsBuilder, anchor_from_trusted_cert,
};

use crate::{World, YEAR, publication};

const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = webpki::ALL_VERIFICATION_ALGS;

fn key() -> Key {
    Key::generate(Algorithm::P256).expect("a key")
}

fn verify(
    world: &World,
    leaf: &Certificate,
    usage: impl ExtendedKeyUsageValidator,
    after: Duration,
    list: Option<&[u8]>,
) -> Result<(), webpki::Error> {
    let root = CertificateDer::from(world.root.certificate().der());
    let anchors = [anchor_from_trusted_cert(&root).expect("an anchor")];
    let issuing = [CertificateDer::from(world.issuing.certificate().der())];
    let leaf = CertificateDer::from(leaf.der());
    let leaf = EndEntityCert::try_from(&leaf)?;
    let at = UnixTime::since_unix_epoch(
        Duration::from_secs(world.now.unix_timestamp().try_into().expect("after 1970")) + after,
    );
    let lists: Vec<CertRevocationList<'_>> =
        list.into_iter().map(|der| BorrowedCertRevocationList::from_der(der).expect("a list").into()).collect();
    let lists: Vec<&CertRevocationList<'_>> = lists.iter().collect();
    let revocation = RevocationOptionsBuilder::new(&lists)
        .ok()
        .map(|options| options.with_depth(webpki::RevocationCheckDepth::EndEntity).build());
    leaf.verify_for_usage(ALGORITHMS, &anchors, &issuing, at, usage, revocation, None).map(drop)
}

#[test]
fn chains_verify_for_their_purpose_while_they_last() {
    for algorithm in [Algorithm::P256, Algorithm::P384, Algorithm::Ed25519, Algorithm::Rsa(2048)] {
        let world = World::new(algorithm, &[]);
        let client = world.client(&key(), "alice");
        let server = world.server(&key(), &["localhost"]);
        let now = Duration::ZERO;
        verify(&world, &client, KeyUsage::client_auth(), now, None).expect("a client");
        verify(&world, &server, KeyUsage::server_auth(), now, None).expect("a server");
        verify(&world, &client, KeyUsage::server_auth(), now, None).expect_err("a client is no server");
        verify(&world, &server, KeyUsage::client_auth(), now, None).expect_err("a server is no client");
        verify(&world, &client, KeyUsage::client_auth(), 2 * YEAR, None).expect_err("over");
    }
}

#[test]
fn server_names_hold_and_constraints_too() {
    let world = World::new(Algorithm::P256, &["example.org"]);
    let server = world.server(&key(), &["drop.example.org"]);
    verify(&world, &server, KeyUsage::server_auth(), Duration::ZERO, None).expect("a server");
    let der = CertificateDer::from(server.der());
    let parsed = EndEntityCert::try_from(&der).expect("a certificate");
    parsed
        .verify_is_valid_for_subject_name(&ServerName::try_from("drop.example.org").expect("a name"))
        .expect("its name");
    parsed
        .verify_is_valid_for_subject_name(&ServerName::try_from("example.org").expect("a name"))
        .expect_err("not its name");
    let outside = world.server(&key(), &["drop.example.com"]);
    verify(&world, &outside, KeyUsage::server_auth(), Duration::ZERO, None).expect_err("outside");
}

#[test]
fn a_ca_for_domains_alone_is_none_for_addresses_and_the_other_way_round() {
    for (permitted, names, believed) in [
        ("example.org", &["drop.example.org"][..], true),
        ("example.org", &["drop.example.org", "192.0.2.1"], false),
        ("example.org", &["drop.example.org", "2001:db8::1"], false),
        ("example.org", &["::1"], false),
        ("10.0.0.0/8", &["10.1.2.3"], true),
        ("10.0.0.0/8", &["10.1.2.3", "drop.example.org"], false),
        ("10.0.0.0/8", &["::1"], false),
    ] {
        let world = World::new(Algorithm::P256, &[permitted]);
        let server = world.server(&key(), names);
        let verdict = verify(&world, &server, KeyUsage::server_auth(), Duration::ZERO, None);
        let expected = if believed { Ok(()) } else { Err(webpki::Error::NameConstraintViolation) };
        assert_eq!(verdict, expected, "{permitted} {names:?}");
        verify(&world, &world.client(&key(), "alice"), KeyUsage::client_auth(), Duration::ZERO, None)
            .expect("a client");
    }
}

#[test]
fn revocation_lists_are_believed() {
    let world = World::new(Algorithm::P256, &[]);
    let (good, bad) = (world.client(&key(), "good"), world.client(&key(), "bad"));
    let entry = Entry { serial_hex: bad.facts().expect("facts").serial_hex, revoked_at: world.now, reason: 0 };
    let header = Header {
        number: 1,
        this_update: world.now,
        next_update: world.now + time::Duration::days(7),
        places: vec!["http://elsewhere/crl".into(), publication().crl.expect("a place")],
    };
    let list = crl::build(&world.issuing, &header, &[entry]).expect("a list");
    verify(&world, &good, KeyUsage::client_auth(), Duration::ZERO, Some(&list)).expect("good");
    let refused = verify(&world, &bad, KeyUsage::client_auth(), Duration::ZERO, Some(&list));
    assert!(matches!(refused, Err(webpki::Error::CertRevoked)), "{refused:?}");
}

#[test]
fn nothing_outlives_its_issuer() {
    let world = World::new(Algorithm::P256, &[]);
    let of = |ca: &Ca| ca.facts().not_after;
    let late = of(&world.issuing) - time::Duration::days(1);
    let client = world.issuing.client(key().public(), "late", YEAR, &publication(), late).expect("a day is left");
    assert_eq!(client.facts().expect("facts").not_after, of(&world.issuing));
    let over = world.issuing.client(key().public(), "late", YEAR, &publication(), of(&world.issuing));
    assert!(matches!(over, Err(Error::Ended)));
    let early =
        world.issuing.client(key().public(), "early", YEAR, &publication(), world.now - time::Duration::days(9));
    assert!(matches!(early, Err(Error::Ended)));
}

#[test]
fn lifetimes_are_capped_and_backdated_by_minutes() {
    let world = World::new(Algorithm::P256, &[]);
    let server = world.issuing.server(key().public(), &["localhost".into()], 9 * YEAR, &publication(), world.now);
    let facts = server.expect("a certificate").facts().expect("facts");
    assert!(facts.not_after - facts.not_before <= time::Duration::days(398));
    let backdated = world.now - world.root.facts().not_before;
    assert!(backdated >= time::Duration::minutes(4) && backdated <= time::Duration::minutes(6), "{backdated}");
}

#[test]
fn serial_numbers_and_ca_names_are_never_the_same() {
    let world = World::new(Algorithm::P256, &[]);
    let key = key();
    let serials: std::collections::BTreeSet<String> =
        (0..100).map(|_| world.client(&key, "same").facts().expect("facts").serial_hex).collect();
    assert_eq!(serials.len(), 100);
    let other = World::new(Algorithm::P256, &[]);
    assert_ne!(world.root.facts().subject, other.root.facts().subject);
    assert_ne!(world.issuing.facts().subject, other.issuing.facts().subject);
}

#[test]
fn what_is_no_server_name_is_refused() {
    let world = World::new(Algorithm::P256, &[]);
    for name in ["", "a b", "-a", "a..b", "*", "*.*.b", "http://a", "a/b", "1.2.3.456", "ä.example", &"a".repeat(64)] {
        let refused = world.issuing.server(key().public(), &[name.into()], YEAR, &publication(), world.now);
        assert!(matches!(refused, Err(Error::ServerName(_))), "{name}: {refused:?}");
    }
    for name in ["localhost", "*.example.org", "::1", "10.0.0.1", "a_b", "xn--bcher-kva.example"] {
        world.server(&key(), &[name]);
    }
}

#[test]
fn a_key_of_another_ca_is_refused() {
    let world = World::new(Algorithm::P256, &[]);
    assert!(matches!(Ca::load(key(), world.root.certificate().clone()), Err(Error::OtherKey)));
    let key = key();
    let client = world.client(&key, "alice");
    assert!(matches!(Ca::load(key, client), Err(Error::NoCa)));
}

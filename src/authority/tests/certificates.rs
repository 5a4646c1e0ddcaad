use super::*;

#[tokio::test]
async fn a_renewal_is_the_same_client_and_the_old_one_stays_good() {
    let world = World::new().await;
    let old = world.enrolled("alice").await;
    world.clock.advance(200 * DAY);
    let by = Actor { name: "alice".into(), address: None };
    let new = world.authority.renew(&by, &old.client.id, &request()).await.expect("renewed");
    // The answer was lost: it is simply asked for again.
    world.authority.renew(&by, &old.client.id, &request()).await.expect("renewed");
    assert_eq!(new.client, old.client);
    assert!(matches!(world.standing(&old).await, Standing::Good { .. }));
    world.clock.advance(200 * DAY);
    assert_eq!(world.standing(&old).await, Standing::Expired { not_after: old.not_after });
    assert!(matches!(world.standing(&new).await, Standing::Good { .. }));
    let stranger = ClientId::random().expect("random bytes");
    assert!(matches!(world.authority.renew(&by, &stranger, &request()).await, Err(Error::NoSuchClient(_))));
}

#[tokio::test]
async fn a_clock_that_is_behind_is_noticed() {
    let world = World::new().await;
    let issued = world.enrolled("alice").await;
    world.clock.set(world.clock.now().before(DAY));
    assert!(matches!(world.standing(&issued).await, Standing::NotYet { .. }));
}

#[tokio::test]
async fn what_is_not_a_clients_certificate_is_unknown() {
    let world = World::new().await;
    let identity = world.authority.server_identity().await.expect("an identity");
    for der in identity.chain {
        let standing = world.authority.standing(Name::Sha256(Sha256::of(&der))).await.expect("a standing");
        assert_eq!(standing, Standing::Unknown);
    }
    let status = world.authority.status().expect("a status");
    for sha256 in [status.root_fingerprint, status.issuing_fingerprint, Sha256::of(b"")] {
        assert_eq!(world.authority.standing(Name::Sha256(sha256)).await.expect("a standing"), Standing::Unknown);
    }
}

#[tokio::test]
async fn an_admin_issues_by_request_or_as_a_bundle() {
    let world = World::new().await;
    let issue = async |name: &'static str, days, csr: Option<&str>| {
        world.authority.issue(&operator(), name, days, true, csr).await
    };
    let (issued, none) = issue("carol", Some(7), Some(&request())).await.expect("issued");
    assert!(none.is_none() && issued.client.admin);
    assert!(issued.not_after <= world.clock.now().after(7 * DAY));
    assert!(matches!(issue("carol", None, None).await, Err(Error::NameTaken(_))));
    assert!(matches!(issue("dave", Some(0), None).await, Err(Error::Lifetime(_))));
    assert!(matches!(issue("dave", Some(100_000), None).await, Err(Error::Lifetime(_))));
    let (issued, bundle) = issue("dave", None, None).await.expect("issued");
    let bundle = bundle.expect("a bundle");
    std::fs::write(world.folder.path().join("dave.p12"), &bundle.pkcs12).expect("written");
    let password = format!("pass:{}", bundle.password.reveal());
    let (opened, said) =
        openssl(&["pkcs12", "-in", "dave.p12", "-passin", &password, "-nodes", "-info"], world.folder.path());
    assert!(opened && said.contains("BEGIN PRIVATE KEY"), "{said}");
    let leaf = issued.chain_pem.lines().nth(1).expect("a line");
    assert!(said.contains(leaf) && said.matches("BEGIN CERTIFICATE").count() == 3, "{said}");
    let (opened, _) = openssl(&["pkcs12", "-in", "dave.p12", "-passin", "pass:no", "-nodes"], world.folder.path());
    assert!(!opened);
}

#[tokio::test]
async fn a_trusted_fingerprint_is_a_client() {
    let world = World::new().await;
    let sha256 = Sha256::of(b"a certificate from elsewhere");
    let client = world.authority.trust_fingerprint(&operator(), sha256, "erin").await.expect("trusted");
    let standing = world.authority.standing(Name::Sha256(sha256)).await.expect("a standing");
    assert!(matches!(standing, Standing::Good { client: ref known, .. } if *known == client));
    let again = world.authority.trust_fingerprint(&operator(), sha256, "erin").await.expect("no change");
    assert_eq!(again, client);
    let other = world.authority.trust_fingerprint(&operator(), sha256, "frank").await;
    assert!(matches!(other, Err(Error::Known)));
    world.authority.revoke(&operator(), Which::Sha256(sha256), 0, None).await.expect("revoked");
    let back = world.authority.trust_fingerprint(&operator(), sha256, "erin").await;
    assert!(matches!(back, Err(Error::WasRevoked)));
    let of_nothing = world.authority.revoke(&operator(), Which::Serial(String::new()), 0, None).await;
    assert!(matches!(of_nothing, Err(Error::NoSuchCertificate)));
}

#[tokio::test]
async fn the_server_certificate_renews_in_time_and_when_names_change() {
    let mut world = World::new().await;
    let first = world.authority.server_identity().await.expect("an identity");
    let facts = pki::certificate::inspect(&first.chain[0]).expect("facts");
    assert_eq!(facts.names, ["drop.example", "127.0.0.1", "::1"]);
    assert!(first.renew_at <= world.clock.now().after(Duration::from_secs(3600)), "the OCSP response is due sooner");
    let (from, until) = (Timestamp::from(facts.not_before), Timestamp::from(facts.not_after));
    let due = from.after(until.since(from) / 3 * 2);
    world.clock.set(due.before(Duration::from_secs(1)));
    assert_eq!(world.authority.server_identity().await.expect("the same").chain, first.chain);
    world.clock.set(due);
    let second = world.authority.server_identity().await.expect("a new one");
    assert_ne!(second.chain, first.chain);
    assert!(second.renew_at > first.renew_at);
    world.config.server_names = vec!["other.example".into()];
    let renamed = world.reopened().await.expect("opened").server_identity().await.expect("an identity");
    assert_eq!(pki::certificate::inspect(&renamed.chain[0]).expect("facts").names, ["other.example"]);
    std::fs::write(world.path("server.key"), "nonsense").expect("written");
    let repaired = world.reopened().await.expect("opened").server_identity().await.expect("an identity");
    assert_ne!(repaired.chain, renamed.chain);
    world.config.server_names = vec!["no name".into()];
    assert!(matches!(world.reopened().await, Err(Error::Sign(_))));
}

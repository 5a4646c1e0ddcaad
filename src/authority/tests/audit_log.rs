use super::*;

#[tokio::test]
async fn every_change_of_trust_is_a_line_without_secrets() {
    let world = World::new().await;
    let invite = world.invite("alice").await;
    world.authority.enroll(&nobody(), &invite.secret, "nonsense").await.expect_err("refused");
    let issued = world.authority.enroll(&nobody(), &invite.secret, &request()).await.expect("enrolled");
    world.authority.renew(&nobody(), &issued.client.id, &request()).await.expect("renewed");
    world.authority.trust_fingerprint(&operator(), Sha256::of(b"x"), "erin").await.expect("trusted");
    world.authority.revoke(&operator(), Which::Client("alice".into()), 1, None).await.expect("revoked");
    let unused = world.invite("zoe").await;
    world.authority.withdraw_invite(&operator(), &unused.id).await.expect("withdrawn");
    let log = world.audit();
    let whats: Vec<&str> = log.lines().filter_map(|line| line.split("\"what\":\"").nth(1)?.split('"').next()).collect();
    let expected = [
        "server-certificate",
        "invite",
        "refuse",
        "enroll",
        "renew",
        "trust",
        "revoke",
        "revoke",
        "invite",
        "withdraw-invite",
    ];
    assert_eq!(whats, expected);
    assert!(log.contains("192.0.2.7") && log.contains(&issued.serial), "{log}");
    assert!(!log.contains(invite.secret.reveal()) && !log.contains("PRIVATE"), "{log}");
    let head = world.authority.verify_audit().await.expect("whole");
    assert_eq!(head.number, expected.len() as u64);
}

#[tokio::test]
async fn strangers_cannot_fill_the_disk_with_refusals() {
    let world = World::new().await;
    let guess = Secret::from_given("no such invite".into());
    for _ in 0..200 {
        let refused = world.authority.enroll(&nobody(), &guess, "nonsense").await;
        assert!(matches!(refused, Err(Error::InviteUnknown)));
    }
    assert!(world.audit().matches("\"refuse\"").count() < 30);
    world.clock.advance(DAY);
    world.authority.enroll(&nobody(), &guess, "nonsense").await.expect_err("refused");
    assert!(world.audit().contains("\"left-out\":\"180\""), "those without a line are counted");
    world.authority.verify_audit().await.expect("whole");
}

#[tokio::test]
async fn a_line_cut_off_the_end_is_missed() {
    let world = World::new().await;
    world.invite("alice").await;
    let log = world.audit();
    let (first, _) = log.split_once('\n').expect("two lines");
    std::fs::write(world.path("audit.log"), format!("{first}\n")).expect("cut");
    let found = world.authority.verify_audit().await;
    assert!(matches!(found, Err(Error::Audit(audit::Error::Broken { line: 2, .. }))), "{found:?}");
}

#[tokio::test]
async fn nothing_is_issued_that_cannot_be_recorded() {
    let world = World::new().await;
    let invite = world.invite("alice").await;
    std::fs::remove_file(world.path("audit.log")).expect("removed");
    std::fs::create_dir(world.path("audit.log")).expect("in the way");
    let failed = world.authority.enroll(&nobody(), &invite.secret, &request()).await;
    assert!(matches!(failed, Err(Error::Audit(audit::Error::Write { .. }))), "{failed:?}");
    assert!(!world.authority.has_clients().await.expect("known"));
    std::fs::remove_dir(world.path("audit.log")).expect("out of the way");
    world.authority.enroll(&nobody(), &invite.secret, &request()).await.expect("still good");
}

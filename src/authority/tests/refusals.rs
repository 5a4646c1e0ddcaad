use super::*;
use crate::store::trust::Revoked;
use crate::units::Timestamp;

#[tokio::test]
async fn who_registers_first_and_is_not_the_first_is_no_admin() {
    let world = World::new().await;
    world.trust.preceded.store(true, Ordering::SeqCst);
    let (issued, _) = world.authority.register(&nobody(), Some("late"), None).await.expect("registered");
    assert!(!issued.client.admin);
    let log = world.audit();
    assert!(log.contains("\"refuse\"") && log.contains(&Error::NotFirst.to_string()), "{log}");
}

#[tokio::test]
async fn a_certificate_that_was_damaged_in_the_rows_is_not_handed_out() {
    let world = World::new().await;
    let request = request();
    let register = async || world.authority.register(&nobody(), Some("carol"), Some(&request)).await;
    let (first, _) = register().await.expect("registered");
    let (again, _) = register().await.expect("the same");
    assert_eq!(again.serial, first.serial);
    world.trust.change(|certificate| certificate.der = Some(b"damaged".to_vec()));
    assert!(matches!(register().await, Err(Error::Certificate(pki::certificate::Error::Damaged))));
}

#[tokio::test]
async fn rows_that_make_no_list_make_none() {
    let world = World::new().await;
    world.enrolled("alice").await;
    let before = world.authority.crl().await.expect("a list");
    world.trust.change(|certificate| certificate.serial = "no serial".into());
    let all = world.authority.certificates(None).await.expect("rows");
    let all = all.into_iter().map(|known| known.certificate.fingerprint.sha256).collect();
    let how = Revoked { at: Timestamp::from_secs(1), reason: 1 };
    world.authority.trust.revoke(all, how).await.expect("revoked");
    for _ in 0..2 {
        let made = world.authority.crl().await;
        assert!(matches!(made, Err(Error::RevocationList(pki::crl::Error::Serial(_)))), "{made:?}");
    }
    assert!(world.authority.crl_pem().await.is_err());
    assert!(!before.bytes.is_empty());
}

#[tokio::test]
async fn invites_hold_for_a_moment_at_least_and_not_for_ever() {
    let world = World::new().await;
    for ttl in [Duration::ZERO, 91 * DAY, Duration::MAX] {
        let refused = world.authority.invite(&operator(), InviteFor { ttl, ..invitation("alice") }).await;
        let Err(Error::Lifetime(why)) = refused else { panic!("{refused:?}") };
        assert_eq!(why, "an invite holds for at least a moment and at most 90 days");
    }
    assert!(world.authority.invites().await.expect("invites").is_empty());
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_no_record() {
    let world = World::new().await;
    std::fs::remove_file(world.path("audit.log")).expect("removed");
    std::fs::create_dir(world.path("audit.log")).expect("in the way");
    let unreadable = |found: Error| matches!(found, Error::Audit(audit::Error::Read { .. }));
    assert!(unreadable(world.authority.verify_audit().await.expect_err("unreadable")));
    assert!(unreadable(world.authority.audit(5).await.expect_err("unreadable")));
}

#[tokio::test]
async fn a_server_certificate_about_which_nothing_can_be_said_is_an_error() {
    let world = World::new().await;
    let issuing = Arc::clone(&world.authority.issuers().await.expect("issuers").issuing);
    let about = world.authority.ocsp_about(&issuing, "no serial").await;
    assert!(matches!(about, Err(Error::Ocsp(pki::ocsp::Error::Malformed))), "{about:?}");
}

use super::*;

#[tokio::test]
async fn a_revocation_changes_the_epoch_and_happens_once() {
    let world = World::new().await;
    let issued = world.enrolled("alice").await;
    let before = world.authority.epoch();
    let serial = issued.serial.to_uppercase();
    let (meant, changed) = world.authority.revoke(&operator(), Which::Serial(serial), 1, None).await.expect("revoked");
    assert_eq!((meant.len(), changed), (1, 1));
    assert_ne!(world.authority.epoch(), before);
    assert_eq!(world.standing(&issued).await, Standing::Revoked { at: world.clock.now() });
    world.clock.advance(DAY);
    let (meant, changed) =
        world.authority.revoke(&operator(), Which::Client("alice".into()), 4, None).await.expect("no change");
    assert_eq!((meant[0].certificate.revoked.expect("revoked").reason, changed), (1, 0));
}

#[tokio::test]
async fn revocations_that_may_not_be_are_refused() {
    let world = World::new().await;
    let (alice, bob) = (world.enrolled("alice").await, world.enrolled("bob").await);
    let revoke = async |which, reason, only| world.authority.revoke(&operator(), which, reason, only).await;
    let of_bob = || Which::Sha1(bob.fingerprint.sha1);
    assert!(matches!(revoke(of_bob(), 0, Some(&alice.client.id)).await, Err(Error::NotYours)));
    let of_nobody = Which::Client("nobody-has-this".into());
    assert!(matches!(revoke(of_nobody, 0, Some(&alice.client.id)).await, Err(Error::NotYours)), "no name is betrayed");
    assert!(matches!(world.standing(&bob).await, Standing::Good { .. }));
    for reason in [6, 7, 8, 11, 255] {
        assert!(matches!(revoke(of_bob(), reason, None).await, Err(Error::Reason(_))), "{reason}");
    }
    let issuing = world.authority.status().expect("a status").issuing_fingerprint;
    assert!(matches!(revoke(Which::Sha256(issuing), 0, None).await, Err(Error::IsCa)));
    assert!(matches!(revoke(Which::Client("carol".into()), 0, None).await, Err(Error::NoSuchClient(_))));
    assert!(matches!(revoke(Which::Serial("00".into()), 0, None).await, Err(Error::NoSuchCertificate)));
    revoke(of_bob(), 0, Some(&bob.client.id)).await.expect("his own");
}

#[tokio::test]
async fn a_revoked_client_neither_renews_nor_uses_an_old_invite() {
    let world = World::new().await;
    let issued = world.enrolled("alice").await;
    let existing = InviteFor { existing: true, ..invitation("alice") };
    let invite = world.authority.invite(&operator(), existing.clone()).await.expect("an invite");
    world.authority.revoke(&operator(), Which::Client("alice".into()), 1, None).await.expect("revoked");
    let renewed = world.authority.renew(&nobody(), &issued.client.id, &request()).await;
    assert!(matches!(renewed, Err(Error::ClientOver(_))), "{renewed:?}");
    let enrolled = world.authority.enroll(&nobody(), &invite.secret, &request()).await;
    assert!(matches!(enrolled, Err(Error::InviteWithdrawn)), "{enrolled:?}");
    let back = world.authority.invite(&operator(), existing).await.expect("an invite");
    world.authority.enroll(&nobody(), &back.secret, &request()).await.expect("back");
}

#[tokio::test]
async fn a_renewal_under_way_does_not_survive_the_revocation() {
    let world = World::new().await;
    let issued = world.enrolled("alice").await;
    world.trust.revoked_meanwhile.store(true, Ordering::SeqCst);
    let renewed = world.authority.renew(&nobody(), &issued.client.id, &request()).await;
    assert!(matches!(renewed, Err(Error::ClientOver(_))), "{renewed:?}");
    let all = world.authority.certificates(Some(&issued.client.id)).await.expect("certificates");
    assert!(all.len() == 2 && all.iter().all(|known| known.certificate.revoked.is_some()));
}

#[tokio::test]
async fn lists_are_made_anew_when_something_changed_or_they_grow_old() {
    let world = World::new().await;
    let list = async || world.authority.crl().await.expect("a list");
    let first = list().await;
    assert_eq!(list().await, first);
    world.enrolled("alice").await;
    assert_eq!(list().await, first, "nothing was revoked");
    world.authority.revoke(&operator(), Which::Client("alice".into()), 1, None).await.expect("revoked");
    let second = list().await;
    assert_ne!(second, first);
    world.clock.advance(DAY - Duration::from_secs(1));
    assert_eq!(list().await, second);
    world.clock.advance(Duration::from_secs(1));
    let third = list().await;
    assert_ne!(third, second);
    let next = Timestamp::from(pki::crl::next_update(&third.bytes).expect("a time"));
    assert!(next > world.clock.now().after(6 * DAY), "{next}");
}

#[tokio::test]
async fn openssl_believes_chains_and_lists() {
    let world = World::new().await;
    let (good, bad) = (world.enrolled("good").await, world.enrolled("bad").await);
    world.authority.revoke(&operator(), Which::Client("bad".into()), 1, None).await.expect("revoked");
    let at = |name: &str| world.folder.path().join(name);
    std::fs::write(at("root.pem"), world.authority.root_pem()).expect("written");
    std::fs::write(at("chain.pem"), world.authority.chain_pem()).expect("written");
    std::fs::write(at("lists.pem"), world.authority.crl_pem().await.expect("lists").bytes).expect("written");
    std::fs::write(at("good.pem"), &good.chain_pem).expect("written");
    std::fs::write(at("bad.pem"), &bad.chain_pem).expect("written");
    let server = pki::pem::encode("CERTIFICATE", &world.authority.server_identity().await.expect("it").chain[0]);
    std::fs::write(at("server.pem"), server).expect("written");
    let verify = |purpose, leaf| {
        let lists = ["-crl_check_all", "-CRLfile", "lists.pem"];
        let chain = ["verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted", "chain.pem"];
        openssl(&[&chain[..], &lists, &["-purpose", purpose, leaf]].concat(), world.folder.path())
    };
    for (purpose, leaf) in [("sslclient", "good.pem"), ("sslserver", "server.pem")] {
        let (believed, said) = verify(purpose, leaf);
        assert!(believed, "{leaf}: {said}");
    }
    let (believed, said) = verify("sslclient", "bad.pem");
    assert!(!believed && said.contains("certificate revoked"), "{said}");
}

#[tokio::test]
async fn lists_name_no_place_once_a_certificate_names_none() {
    let mut world = World::new().await;
    let place = b"http://drop.example/pki/crl";
    let names = |der: &[u8]| der.windows(place.len()).any(|part| part == place);
    assert!(names(&world.authority.crl().await.expect("a list").bytes));
    world.config.public_url = None;
    let without = world.reopened().await.expect("opened");
    assert!(names(&without.crl().await.expect("a list").bytes), "nothing was issued without a place");
    without.issue(&operator(), "alice", None, false, None).await.expect("issued");
    world.enrolled("bob").await;
    assert!(!names(&world.authority.crl().await.expect("a list").bytes));
}

#[tokio::test]
async fn lists_that_have_not_changed_are_not_signed_again_for_everyone_who_asks() {
    let world = World::new().await;
    let first = world.authority.crl_pem().await.expect("lists");
    let second = world.authority.crl_pem().await.expect("lists");
    assert_eq!(first, second);
    world.clock.advance(2 * DAY);
    assert_ne!(world.authority.crl_pem().await.expect("lists"), first);
}

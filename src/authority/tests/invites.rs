use super::*;

#[tokio::test]
async fn an_invite_becomes_a_client_once() {
    let world = World::new().await;
    let invite = world.invite("alice").await;
    let issued = world.authority.enroll(&nobody(), &invite.secret, &request()).await.expect("enrolled");
    let Standing::Good { client, not_after } = world.standing(&issued).await else { panic!("good") };
    assert_eq!((client.name.as_str(), client.admin, not_after), ("alice", false, issued.not_after));
    assert_eq!(issued.chain_pem.matches("BEGIN CERTIFICATE").count(), 2);
    let again = world.authority.enroll(&nobody(), &invite.secret, &request()).await;
    assert!(matches!(again, Err(Error::InviteUsed)), "{again:?}");
    assert!(world.authority.has_clients().await.expect("known"));
    let by_sha1 = world.authority.standing(Name::Sha1(issued.fingerprint.sha1)).await.expect("a standing");
    assert!(matches!(by_sha1, Standing::Good { .. }));
}

#[tokio::test]
async fn a_bad_request_does_not_use_up_the_invite() {
    let world = World::new().await;
    let invite = world.invite("alice").await;
    for bad in ["", "nonsense", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"] {
        let refused = world.authority.enroll(&nobody(), &invite.secret, bad).await;
        assert!(matches!(refused, Err(Error::Request(_))), "{bad}: {refused:?}");
    }
    world.authority.enroll(&nobody(), &invite.secret, &request()).await.expect("still good");
}

#[tokio::test]
async fn unknown_expired_and_withdrawn_invites_are_refused() {
    let world = World::new().await;
    let enroll = async |secret: &Secret| world.authority.enroll(&nobody(), secret, &request()).await;
    let guess = Secret::random().expect("random bytes");
    assert!(matches!(enroll(&guess).await, Err(Error::InviteUnknown)));
    let late = world.invite("late").await;
    world.clock.advance(DAY);
    assert!(matches!(enroll(&late.secret).await, Err(Error::InviteExpired(at)) if at == late.expires_at));
    let withdrawn = world.invite("withdrawn").await;
    assert!(world.authority.withdraw_invite(&operator(), &withdrawn.id).await.expect("withdrawn"));
    assert!(!world.authority.withdraw_invite(&operator(), "nonsense").await.expect("asked"));
    assert!(matches!(enroll(&withdrawn.secret).await, Err(Error::InviteWithdrawn)));
    assert_eq!(world.authority.invites().await.expect("invites").len(), 2);
}

#[tokio::test]
async fn of_two_that_use_an_invite_at_once_one_is_told_so() {
    let world = World::new().await;
    let invite = world.invite("alice").await;
    world.trust.beaten.store(true, Ordering::SeqCst);
    let refused = world.authority.enroll(&nobody(), &invite.secret, &request()).await;
    assert!(matches!(refused, Err(Error::InviteUsed)), "{refused:?}");
    assert!(!world.authority.has_clients().await.expect("known"));
}

#[tokio::test]
async fn an_existing_name_needs_an_invite_for_it() {
    let world = World::new().await;
    let first = world.enrolled("alice").await;
    let taken = world.authority.invite(&operator(), invitation("alice")).await.expect_err("taken");
    assert!(taken.to_string().contains("--for"), "{taken}");
    let existing = InviteFor { existing: true, admin: true, ..invitation("alice") };
    let invite = world.authority.invite(&operator(), existing).await.expect("an invite");
    assert!(!invite.admin, "an invite for an existing client does not make it an admin");
    let second = world.authority.enroll(&nobody(), &invite.secret, &request()).await.expect("enrolled");
    assert_eq!(first.client, second.client);
    let missing = InviteFor { existing: true, ..invitation("bob") };
    assert!(matches!(world.authority.invite(&operator(), missing).await, Err(Error::NoSuchClient(_))));
}

#[tokio::test]
async fn two_invites_for_one_new_name_make_one_client() {
    let world = World::new().await;
    let [first, second] = [world.invite("alice").await, world.invite("alice").await];
    world.authority.enroll(&nobody(), &first.secret, &request()).await.expect("enrolled");
    let refused = world.authority.enroll(&nobody(), &second.secret, &request()).await;
    assert!(matches!(refused, Err(Error::NameTaken(_))), "{refused:?}");
}

#[tokio::test]
async fn names_that_deceive_or_break_things_are_refused() {
    let world = World::new().await;
    let long = "x".repeat(65);
    for name in
        ["", " a", "a ", "a/b", "a,b", "a:b", "a\nb", "a\0", "a\u{202e}b", "a\u{200b}b", "operator", "server", &long]
    {
        let refused = world.authority.invite(&operator(), invitation(name)).await;
        assert!(matches!(&refused, Err(Error::Name(shown)) if !shown.chars().any(char::is_control)), "{name:?}");
    }
    for name in ["älice@example.org", "build server 7", "李", &"x".repeat(64)] {
        world.enrolled(name).await;
    }
}

use std::os::unix::fs::PermissionsExt as _;

use super::*;

#[tokio::test]
async fn the_first_start_makes_everything_and_the_second_finds_it() {
    let world = World::new().await;
    for name in ["root.key", "root.crt", "issuing.key", "issuing.crt", "server.key", "server.crt"] {
        let mode = std::fs::metadata(world.path(name)).expect(name).permissions().mode() & 0o777;
        assert_eq!(mode, if name.ends_with("key") { 0o600 } else { 0o644 }, "{name}");
    }
    let again = world.reopened().await.expect("opened");
    assert_eq!(again.root_fingerprint(), world.authority.root_fingerprint());
    assert_eq!(again.chain_pem(), world.authority.chain_pem());
    let [first, second] = [&world.authority, &again].map(|authority| authority.server_identity());
    let (first, second) = (first.await.expect("an identity"), second.await.expect("an identity"));
    assert_eq!(first.chain, second.chain);
    assert!(!world.authority.has_clients().await.expect("known"));
}

#[tokio::test]
async fn an_incomplete_folder_is_an_error_and_stays_as_it_is() {
    for name in ["root.crt", "issuing.key", "issuing.crt"] {
        let world = World::new().await;
        std::fs::remove_file(world.path(name)).expect("removed");
        let error = world.reopened().await.err().expect(name);
        assert!(matches!(&error, Error::Missing(path) if path.ends_with(name)), "{error}");
        assert!(!world.path(name).exists());
    }
}

#[tokio::test]
async fn another_ca_than_the_rows_know_is_refused() {
    let world = World::new().await;
    let other = World::new().await;
    for name in ["root.key", "root.crt", "issuing.key", "issuing.crt"] {
        std::fs::copy(other.path(name), world.path(name)).expect("copied");
    }
    assert!(matches!(world.reopened().await, Err(Error::OtherCa { .. })));
    std::fs::remove_dir_all(&world.config.path).expect("removed");
    assert!(matches!(world.reopened().await, Err(Error::OtherCa { .. })));
    assert!(!world.path("root.key").exists(), "no second CA");
}

#[tokio::test]
async fn keys_and_certificates_that_do_not_belong_together_are_refused() {
    let world = World::new().await;
    let other = World::new().await;
    std::fs::copy(other.path("issuing.key"), world.path("issuing.key")).expect("copied");
    assert!(matches!(world.reopened().await, Err(Error::File { path, .. }) if path.ends_with("issuing.key")));
    std::fs::copy(other.path("issuing.crt"), world.path("issuing.crt")).expect("copied");
    assert!(matches!(world.reopened().await, Err(Error::File { path, .. }) if path.ends_with("issuing.crt")));
    std::fs::write(world.path("issuing.key"), "nonsense").expect("written");
    assert!(matches!(world.reopened().await, Err(Error::File { .. })));
}

#[tokio::test]
async fn a_ca_that_is_over_or_not_yet_is_refused() {
    let world = World::new().await;
    let now = world.clock.now();
    world.clock.set(now.after(2000 * DAY));
    assert!(matches!(world.reopened().await, Err(Error::Over { path, .. }) if path.ends_with("issuing.crt")));
    world.clock.set(now.before(DAY));
    assert!(matches!(world.reopened().await, Err(Error::NotYet { .. })));
}

#[tokio::test]
async fn a_first_start_that_was_broken_off_is_made_up_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path());
    std::fs::create_dir_all(config.path.join(".making")).expect("made");
    std::fs::write(config.path.join(".making/root.key"), "half").expect("written");
    let clock = Manual::at(Timestamp::from_secs(1_800_000_000));
    let authority = open(&config, &Arc::default(), &clock).await.expect("a clean new start");
    assert!(authority.status().expect("a status").root_online);
}

#[tokio::test]
async fn of_many_first_starts_one_wins() {
    let folder = tempfile::tempdir().expect("a folder");
    let (config, trust) = (config(folder.path()), Arc::<Memory>::default());
    let clock = Manual::at(Timestamp::from_secs(1_800_000_000));
    let starts = (0..4).map(|_| open(&config, &trust, &clock));
    let opened = futures_util::future::join_all(starts).await;
    let roots: Vec<Sha256> = opened.into_iter().map(|one| one.expect("opened").root_fingerprint()).collect();
    assert!(roots.windows(2).all(|pair| pair[0] == pair[1]), "{roots:?}");
}

#[tokio::test]
async fn keys_are_sealed_once_there_is_a_passphrase() {
    let mut world = World::new().await;
    let file = world.folder.path().join("passphrase");
    std::fs::write(&file, "correct horse\n").expect("written");
    world.config.passphrase_file = Some(file.clone());
    world.reopened().await.expect("opened");
    for name in ["root.key", "issuing.key", "server.key"] {
        let text = std::fs::read_to_string(world.path(name)).expect(name);
        assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"), "{name}");
    }
    world.reopened().await.expect("opened again");
    std::fs::write(&file, "battery").expect("written");
    assert!(matches!(world.reopened().await, Err(Error::File { .. })));
    std::fs::write(&file, "\n").expect("written");
    assert!(matches!(world.reopened().await, Err(Error::NoPassphrase(_))));
    world.config.passphrase_file = None;
    assert!(matches!(world.reopened().await, Err(Error::File { .. })));
}

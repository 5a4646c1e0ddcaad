use super::*;

#[tokio::test]
async fn a_new_issuing_ca_is_noticed_and_the_old_one_still_vouches() {
    let world = World::new().await;
    let (good, bad) = (world.enrolled("good").await, world.enrolled("bad").await);
    let operators = world.reopened().await.expect("opened");
    let status = |authority: &Authority| authority.status().expect("a status").issuing_fingerprint;
    let before = status(&world.authority);
    let made = operators.rotate(&operator(), &["example".into()]).await.expect("rotated");
    assert!(made != before && status(&operators) == made);
    let new = world.enrolled("new").await;
    assert_eq!(status(&world.authority), made, "the running one noticed");
    for issued in [&good, &new] {
        assert!(matches!(world.standing(issued).await, Standing::Good { .. }));
    }
    world.authority.revoke(&operator(), Which::Client("bad".into()), 1, None).await.expect("revoked");
    let lists = world.authority.crl_pem().await.expect("lists");
    assert_eq!(lists.matches("BEGIN X509 CRL").count(), 3, "new, old, root");
    let at = |name: &str| world.folder.path().join(name);
    std::fs::write(at("root.pem"), world.authority.root_pem()).expect("written");
    std::fs::write(at("lists.pem"), &lists).expect("written");
    for (issued, believed) in [(&good, true), (&bad, false), (&new, true)] {
        std::fs::write(at("chain.pem"), &issued.chain_pem).expect("written");
        let chain = ["verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted", "chain.pem"];
        let lists = ["-crl_check_all", "-CRLfile", "lists.pem", "chain.pem"];
        let (verified, said) = openssl(&[&chain[..], &lists].concat(), world.folder.path());
        assert_eq!(verified, believed, "{said}");
    }
    let identity = world.authority.server_identity().await.expect("an identity");
    assert_eq!(Sha256::of(&identity.chain[1]), made);
    assert_eq!(world.reopened().await.expect("opened").chain_pem(), world.authority.chain_pem());
}

#[tokio::test]
async fn the_root_goes_offline_and_the_rest_goes_on() {
    let world = World::new().await;
    let to = world.folder.path().join("offline.key");
    std::fs::write(&to, "something else").expect("in the way");
    assert!(matches!(world.authority.export_root(&operator(), &to).await, Err(Error::Io { .. })));
    assert!(world.authority.status().expect("a status").root_online, "still here");
    std::fs::remove_file(&to).expect("out of the way");
    world.authority.export_root(&operator(), &to).await.expect("exported");
    let again = world.reopened().await.expect("opened");
    assert!(!again.status().expect("a status").root_online);
    let key = Key::from_pem(&std::fs::read_to_string(&to).expect("read")).expect("the key");
    let root = Certificate::from_pem(again.root_pem()).expect("the root");
    assert!(pki::certificate::is_for_key(&root, key.public()));
    again.issue(&operator(), "alice", None, false, None).await.expect("issued");
    assert_eq!(again.crl_pem().await.expect("lists").matches("BEGIN X509 CRL").count(), 2);
    assert!(matches!(again.rotate(&operator(), &[]).await, Err(Error::RootOffline(_))));
    assert!(matches!(again.export_root(&operator(), &to).await, Err(Error::RootOffline(_))));
    std::fs::copy(&to, world.path("root.key")).expect("put back");
    again.rotate(&operator(), &[]).await.expect("rotated");
}

use super::*;

fn how_many(lists: &Published) -> usize {
    String::from_utf8_lossy(&lists.bytes).matches("BEGIN X509 CRL").count()
}

#[tokio::test]
async fn a_new_issuing_ca_is_noticed_and_the_old_one_still_vouches() {
    let world = World::new().await;
    let (good, bad) = (world.enrolled("good").await, world.enrolled("bad").await);
    let operators = world.reopened().await.expect("opened");
    let status = |authority: &Authority| authority.status().expect("a status").issuing_fingerprint;
    let before = status(&world.authority);
    let names = ["example", "127.0.0.0/8", "::1/128"].map(str::to_owned);
    let made = operators.rotate(&operator(), Some(&names)).await.expect("rotated");
    assert!(made != before && status(&operators) == made);
    let epoch = world.authority.epoch();
    let narrow = operators.rotate(&operator(), None).await.expect("rotated");
    assert_ne!(world.authority.epoch(), epoch, "whoever looked before it could be found looks again");
    let permitted = async |authority: &Authority| authority.issuers().await.expect("issuers").issuing.ca.permitted();
    assert_eq!(permitted(&operators).await, names, "nothing said is nothing changed");
    assert_eq!(permitted(&world.authority).await, names);
    operators.rotate(&operator(), Some(&[])).await.expect("rotated");
    assert!(permitted(&world.authority).await.is_empty(), "any");
    let made = operators.rotate(&operator(), Some(&names)).await.expect("rotated");
    assert_ne!(made, narrow);
    let new = world.enrolled("new").await;
    assert_eq!(status(&world.authority), made, "the running one noticed");
    for issued in [&good, &new] {
        assert!(matches!(world.standing(issued).await, Standing::Good { .. }));
    }
    world.authority.revoke(&operator(), Which::Client("bad".into()), 1, None).await.expect("revoked");
    let lists = world.authority.crl_pem().await.expect("lists");
    assert_eq!(how_many(&lists), 6, "every one there was, and the root");
    let at = |name: &str| world.folder.path().join(name);
    std::fs::write(at("root.pem"), world.authority.root_pem()).expect("written");
    std::fs::write(at("lists.pem"), &lists.bytes).expect("written");
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
async fn there_are_not_any_number_of_issuing_cas_at_once() {
    let world = World::new().await;
    for made in 1..32 {
        world.authority.rotate(&operator(), None).await.unwrap_or_else(|error| panic!("{made}: {error}"));
    }
    let before = world.authority.status().expect("a status");
    assert!(matches!(world.authority.rotate(&operator(), None).await, Err(Error::ManyCas(32))));
    assert_eq!(world.authority.status().expect("a status"), before);
    world.clock.advance(1000 * DAY);
    let new = world.reopened().await.expect("opened").rotate(&operator(), None).await;
    assert!(matches!(new, Err(Error::ManyCas(32))), "none of them has ended");
}

#[tokio::test]
async fn a_new_ca_may_sign_for_this_server() {
    let world = World::new().await;
    let before = world.authority.status().expect("a status");
    let rotate = async |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        world.authority.rotate(&operator(), permitted(&names)?).await
    };
    let domains_alone = rotate(&["example"]).await;
    assert!(matches!(&domains_alone, Err(Error::NotPermitted(name)) if name == "127.0.0.1"), "{domains_alone:?}");
    let outside = rotate(&["elsewhere.org"]).await;
    assert!(matches!(&outside, Err(Error::NotPermitted(name)) if name == "Drop.example"), "{outside:?}");
    assert!(matches!(rotate(&["any", "example"]).await, Err(Error::AnyAndMore)));
    assert!(matches!(rotate(&["no name"]).await, Err(Error::Sign(pki::ca::Error::ServerName(_)))));
    assert_eq!(world.authority.status().expect("a status"), before);
    assert_eq!(world.audit().matches("\"of\":\"rotate\"").count(), 3, "any and more was never a wish");
    rotate(&["any"]).await.expect("rotated");
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
    assert_eq!(how_many(&again.crl_pem().await.expect("lists")), 2);
    assert!(matches!(again.rotate(&operator(), None).await, Err(Error::RootOffline(_))));
    assert!(matches!(again.export_root(&operator(), &to).await, Err(Error::RootOffline(_))));
    std::fs::copy(&to, world.path("root.key")).expect("put back");
    again.rotate(&operator(), None).await.expect("rotated");
}

#[tokio::test]
async fn the_ca_signs_for_private_names_and_those_it_was_given() {
    let mut world = World::new().await;
    world.config.permitted_names = Permitted::Needed;
    world.config.path = world.folder.path().join("another");
    world.config.optional_names = vec!["box42".into()];
    let trust = Arc::new(Memory::default());
    let names = |identity: &ServerIdentity| pki::certificate::inspect(&identity.chain[0]).expect("a certificate").names;
    let open_with = async |config: &Config| open(config, &trust, &world.clock).await;
    let first = open_with(&world.config).await.expect("made");
    let identity = first.server_identity().await.expect("an identity");
    assert_eq!(names(&identity), ["drop.example", "127.0.0.1", "::1", "box42"]);
    let made = first.status().expect("a status").issuing_fingerprint;

    // A machine that is called otherwise today is no reason for a new CA.
    world.config.optional_names = vec!["box43".into()];
    let second = open_with(&world.config).await.expect("opened");
    let identity = second.server_identity().await.expect("an identity");
    assert_eq!(names(&identity), ["drop.example", "127.0.0.1", "::1"]);
    assert_eq!(second.status().expect("a status").issuing_fingerprint, made);

    // A name the operator wants is.
    world.config.server_names = vec!["a.drop.example".into(), "other.example".into(), "192.0.2.1".into()];
    let third = open_with(&world.config).await.expect("opened");
    let rotated = third.status().expect("a status").issuing_fingerprint;
    assert_ne!(rotated, made);
    let dotted = third.issue(&operator(), "bob.example.org", None, false, None).await.expect("issued").0;

    let at = |name: &str| world.folder.path().join(name);
    let identity = third.server_identity().await.expect("an identity");
    let chain: String = identity.chain.iter().map(|der| pki::pem::encode("CERTIFICATE", der)).collect();
    std::fs::write(at("root.pem"), third.root_pem()).expect("written");
    std::fs::write(at("server.pem"), chain).expect("written");
    std::fs::write(at("client.pem"), &dotted.chain_pem).expect("written");
    for (purpose, file) in [("sslserver", "server.pem"), ("sslclient", "client.pem")] {
        let verify = ["verify", "-x509_strict", "-purpose", purpose, "-CAfile", "root.pem", "-untrusted", file, file];
        let (verified, said) = openssl(&verify, world.folder.path());
        assert!(verified, "{said}");
    }
    let (_, said) = openssl(&["x509", "-in", "root.pem", "-noout", "-text"], world.folder.path());
    assert!(!said.contains("Name Constraints"), "only the issuing CA is constrained: {said}");

    world.config.permitted_names = Permitted::These(vec!["example".into()]);
    world.config.server_names = vec!["elsewhere.org".into()];
    assert!(matches!(open_with(&world.config).await, Err(Error::NotPermitted(name)) if name == "elsewhere.org"));
}

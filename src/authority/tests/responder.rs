use super::*;

#[tokio::test]
async fn openssl_believes_what_it_is_told() {
    let world = World::new().await;
    let at = |name: &str| world.folder.path().join(name);
    let old = world.authority.chain_pem();
    let (good, bad) = (world.enrolled("good").await, world.enrolled("bad").await);
    world.authority.revoke(&operator(), Which::Client("bad".into()), 1, None).await.expect("revoked");
    world.authority.rotate(&operator(), None).await.expect("rotated");
    std::fs::write(at("root.pem"), world.authority.root_pem()).expect("written");
    std::fs::write(at("issuing.pem"), &old).expect("written");
    for (issued, word) in [(&good, "cert.pem: good"), (&bad, "cert.pem: revoked")] {
        std::fs::write(at("cert.pem"), &issued.chain_pem).expect("written");
        let ask = ["ocsp", "-issuer", "issuing.pem", "-CAfile", "root.pem", "-cert", "cert.pem"];
        let (asked, said) = openssl(&[&ask[..], &["-reqout", "q.der"]].concat(), world.folder.path());
        assert!(asked, "{said}");
        let response = world.authority.ocsp(&std::fs::read(at("q.der")).expect("read")).await;
        std::fs::write(at("a.der"), response).expect("written");
        let given = ["-reqin", "q.der", "-respin", "a.der", "-no_nonce"];
        let (_, said) = openssl(&[&ask[..], &given].concat(), world.folder.path());
        assert!(said.contains("Response verify OK") && said.contains(word), "{said}");
    }
}

#[tokio::test]
async fn what_is_not_ours_or_not_a_request_gets_no_signature() {
    let (world, other) = (World::new().await, World::new().await);
    assert_eq!(world.authority.ocsp(b"nonsense").await, pki::ocsp::failure(pki::ocsp::Failure::Malformed));
    let issued = other.enrolled("alice").await;
    let at = |name: &str| world.folder.path().join(name);
    std::fs::write(at("issuing.pem"), other.authority.chain_pem()).expect("written");
    std::fs::write(at("cert.pem"), &issued.chain_pem).expect("written");
    let ask = ["ocsp", "-issuer", "issuing.pem", "-cert", "cert.pem", "-reqout", "q.der"];
    assert!(openssl(&ask, world.folder.path()).0);
    let response = world.authority.ocsp(&std::fs::read(at("q.der")).expect("read")).await;
    assert_eq!(response, pki::ocsp::failure(pki::ocsp::Failure::Unauthorized));
}

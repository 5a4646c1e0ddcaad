//! Long lists of the authority come in pages; the client reads all of them.

#![expect(clippy::indexing_slicing, reason = "what a JSON value does not have is null")]

use std::collections::BTreeSet;
use std::sync::Arc;

use ddrop::api;
use ddrop::client::profile::Flags;
use ddrop::client::{Client, Profile};
use serde_json::Value;

use crate::app::TestApp;
use crate::caller::{Caller, expect_problem};

/// The pages of a list, by so many.
async fn pages(who: &Caller, path: &str, limit: u32) -> Vec<Vec<Value>> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let mut page: Value = who.get(&format!("{path}?limit={limit}{after}")).await.json().await.expect("a page");
        let list = page.as_object_mut().expect("an object").remove(path.trim_start_matches("/pki/")).expect("a list");
        all.push(list.as_array().expect("a list").clone());
        let Some(next) = page["next"].as_str() else { return all };
        after = format!("&after={next}");
    }
}

#[tokio::test]
async fn the_pages_of_a_list_are_the_list() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let alice = app.client("alice").await;
    for name in ["b", "c", "d"] {
        app.client(name).await;
    }
    for path in ["/pki/certs", "/pki/invites"] {
        let whole = pages(&admin, path, 1000).await;
        assert_eq!(whole.len(), 1, "{path}");
        for limit in [1, 2, 4] {
            let parts = pages(&admin, path, limit).await;
            assert_eq!(parts.concat(), whole[0], "{path} by {limit}");
            assert!(parts.iter().all(|part| (1..=limit as usize).contains(&part.len())), "{path} by {limit}");
        }
        for wrong in ["limit=0", "limit=1001", "limit=x", "limit=-1"] {
            expect_problem(admin.get(&format!("{path}?{wrong}")).await, 400, "bad_request").await;
        }
    }
    let problem = expect_problem(admin.get("/pki/certs?limit=0").await, 400, "bad_request").await;
    assert_eq!(problem.detail, "'limit' is a number from 1 to 1000");
    let problem = expect_problem(admin.get("/pki/certs?after=x").await, 400, "bad_request").await;
    assert_eq!(problem.detail, "'after' is the 'next' of a page");
    let others = pages(&admin, "/pki/certs", 1000).await.concat();
    for one in others.iter().filter(|one| one["name"] != "alice") {
        let after = one["fingerprint_sha256"].as_str().expect("text");
        let page: api::Certificates =
            alice.get(&format!("/pki/certs?after={after}")).await.json().await.expect("a page");
        assert!(page.certs.is_empty(), "where another's certificate stands is not told");
    }
    app.close().await;
}

#[tokio::test]
async fn the_client_reads_every_page() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let rows = rusqlite::Connection::open(app.folder().join("links.db")).expect("opened");
    let numbers = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2100)";
    rows.execute_batch(&format!(
        "INSERT INTO certificates (sha256, sha1, serial, profile, subject, issuer, not_before, not_after, created_at)
           {numbers} SELECT randomblob(32), randomblob(20), printf('%032x', n), 'client', 'CN=x', randomblob(32), 0, 1, n / 7 FROM n;
         INSERT INTO invites (id, hash, name, admin, created_by, created_at, expires_at)
           {numbers} SELECT printf('%012x', n), randomblob(32), 'x', 0, 'x', n / 7, n FROM n;"
    ))
    .expect("written");
    let there: i64 = rows.query_row("SELECT count(*) FROM certificates", [], |row| row.get(0)).expect("counted");
    let there = usize::try_from(there).expect("a number");
    let home = tempfile::tempdir().expect("a folder");
    let own = admin.credentials.as_ref().expect("a certificate");
    for (name, text) in [("client.crt", &own.chain), ("client.key", &own.key), ("ca.crt", &app.root_pem())] {
        std::fs::write(home.path().join(name), text).expect("written");
    }
    let files = "client_cert = \"client.crt\"\nclient_key = \"client.key\"\nca_cert = \"ca.crt\"\n";
    let settings = format!("server = \"{}\"\n{files}", app.url("/"));
    std::fs::write(home.path().join("config.toml"), settings).expect("written");
    let profile = Profile::load(Flags::default(), |_| None, home.path().to_owned()).expect("a profile");
    let client = Client::new(&profile, Arc::new(app.clock.clone())).expect("a client");
    let certs = client.certificates().await.expect("a list").certs;
    let different: BTreeSet<&str> = certs.iter().map(|cert| cert.fingerprint_sha256.as_str()).collect();
    assert_eq!((certs.len(), different.len()), (there, there));
    let invites = client.invites().await.expect("a list");
    let different: BTreeSet<&str> = invites.iter().map(|invite| invite.id.as_str()).collect();
    assert_eq!((invites.len(), different.len()), (2101, 2101));
    let first: api::Certificates = admin.get("/pki/certs").await.json().await.expect("a page");
    assert!(first.certs.len() == 1000 && first.next.is_some(), "nobody is answered any number at once");
    drop(rows);
    app.close().await;
}

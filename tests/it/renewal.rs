//! The life of an enrolment, years long, with the program's own client: renewed in time, lost answers, the way back.

use std::sync::Arc;
use std::time::Duration;

use ddrop::authority::{Actor, InviteFor};
use ddrop::client::certificate::Facts;
use ddrop::client::profile::Flags;
use ddrop::client::{Client, Error, Profile, enroll};
use ddrop::clock::Clock;
use ddrop::identity::Tier;
use ddrop::token::{Invite, Secret};
use ddrop::units::Ttl;
use pki::key::{Algorithm, Key};
use tempfile::TempDir;

use crate::app::{Setup, TestApp};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A machine with an enrolment on it.
struct Machine {
    folder: TempDir,
    clock: Arc<dyn Clock>,
}

impl Machine {
    async fn enrolled(app: &TestApp, secret: Secret) -> Self {
        Self::enrolled_with(app, secret, Algorithm::P256).await
    }

    async fn enrolled_with(app: &TestApp, secret: Secret, algorithm: Algorithm) -> Self {
        let machine = Self { folder: tempfile::tempdir().expect("a folder"), clock: Arc::new(app.clock.clone()) };
        machine.enroll(app, secret, algorithm).await;
        machine
    }

    async fn enroll(&self, app: &TestApp, secret: Secret, algorithm: Algorithm) {
        let server = app.url("/").parse().expect("a URL");
        let invite = Invite { server, root: app.app.authority.root_fingerprint(), web: false, secret };
        let clock = Arc::clone(&self.clock);
        enroll::enroll(&invite, algorithm, self.folder.path(), clock).await.expect("enrolled");
    }

    fn profile(&self) -> Profile {
        Profile::load(Flags::default(), |_| None, self.folder.path().to_owned()).expect("a profile")
    }

    fn client(&self) -> Client {
        Client::new(&self.profile(), Arc::clone(&self.clock)).expect("a client")
    }

    /// What every command does first; whether there was something to do.
    async fn renew_if_due(&self) -> bool {
        enroll::renew_if_due(&self.profile(), Arc::clone(&self.clock)).await.expect("not refused").is_some()
    }

    fn facts(&self) -> Facts {
        let identity = self.profile().identity().expect("read").expect("an identity");
        Facts::of(identity.chain.first().expect("a leaf")).expect("a certificate")
    }
}

async fn for_ever() -> TestApp {
    let mut setup = Setup::default();
    setup.settings.lifetimes.max = Ttl::Forever;
    setup.settings.lifetimes.default = Ttl::Forever;
    TestApp::with(setup).await
}

async fn links(client: &Client) -> Vec<String> {
    client.list(false, None, None).await.expect("a list").links.into_iter().map(|link| link.id).collect()
}

#[tokio::test]
async fn a_certificate_is_renewed_when_two_thirds_are_over_and_the_links_stay() {
    let app = for_ever().await;
    let machine = Machine::enrolled(&app, app.invite("alice", false).await).await;
    assert!(!machine.renew_if_due().await, "it is new");
    app.clock.advance(DAY * 243);
    assert!(!machine.renew_if_due().await, "not two thirds of 365 days yet");
    let (old, old_client) = (machine.facts(), machine.client());
    app.clock.advance(DAY);
    assert!(machine.renew_if_due().await);
    let new = machine.facts();
    assert!(new.fingerprint != old.fingerprint && new.not_after > old.not_after);
    assert!(!machine.renew_if_due().await, "once is enough");
    for client in [machine.client(), old_client] {
        let who = client.whoami().await.expect("both work until the old one ends");
        assert_eq!((who.tier, who.name.as_deref()), (Tier::Trusted, Some("alice")));
    }
    // For many years without a word from anyone.
    for _ in 0..5 {
        app.clock.advance(DAY * 250);
        assert!(machine.renew_if_due().await);
    }
    assert_eq!(machine.client().whoami().await.expect("known").name.as_deref(), Some("alice"));
    app.close().await;
}

#[tokio::test]
async fn a_renewal_whose_answer_was_lost_is_repeated() {
    let app = for_ever().await;
    let machine = Machine::enrolled(&app, app.invite("alice", false).await).await;
    app.clock.advance(DAY * 300);
    let before = machine.facts();
    for _ in 0..3 {
        let key = Key::generate(Algorithm::P256).expect("a key");
        let request = pki::request::make(&key, "lost").expect("a request");
        // The server has answered, and nobody has heard it.
        machine.client().renew(&request).await.expect("an answer");
    }
    assert_eq!(machine.facts().fingerprint, before.fingerprint);
    assert!(machine.renew_if_due().await);
    let own = machine.client().certificates().await.expect("a list").certs;
    assert_eq!(own.len(), 5);
    assert_eq!(own.iter().filter(|cert| cert.status == "valid").count(), 5);
    app.close().await;
}

#[tokio::test]
async fn after_the_end_an_invite_for_the_same_client_is_the_way_back() {
    let app = for_ever().await;
    let machine = Machine::enrolled(&app, app.invite("alice", false).await).await;
    let link = upload(&machine).await;
    app.clock.advance(DAY * 366);
    assert!(!machine.renew_if_due().await, "it is too late to ask");
    let error = machine.client().list(false, None, None).await.expect_err("refused");
    let Error::Answer(answer) = &error else { panic!("{error}") };
    let problem = answer.problem.as_ref().expect("a problem");
    assert_eq!(problem.code, "certificate_expired");
    assert!(problem.hint.as_deref().is_some_and(|hint| hint.contains("pki invite --for")), "{problem:?}");
    let by = Actor { name: "operator".to_owned(), address: None };
    let what = InviteFor { name: "alice".to_owned(), admin: false, existing: true, ttl: DAY };
    let back = app.app.authority.invite(&by, what).await.expect("an invite").secret;
    machine.enroll(&app, back, Algorithm::P256).await;
    let client = machine.client();
    assert_eq!(links(&client).await, [link.as_str()]);
    client.expire(&link.parse().expect("an id")).await.expect("its own");
    app.close().await;
}

#[tokio::test]
async fn a_revoked_client_cannot_renew_and_keeps_its_files() {
    let app = for_ever().await;
    let machine = Machine::enrolled(&app, app.invite("alice", false).await).await;
    let by = Actor { name: "operator".to_owned(), address: None };
    let which = ddrop::authority::Which::Client("alice".to_owned());
    app.app.authority.revoke(&by, which, 1, None).await.expect("revoked");
    app.clock.advance(DAY * 300);
    let before = machine.facts();
    let outcome = enroll::renew_if_due(&machine.profile(), Arc::clone(&machine.clock)).await;
    assert!(matches!(outcome, Err(Error::Answer(_))));
    assert_eq!(machine.facts().fingerprint, before.fingerprint);
    app.close().await;
}

#[tokio::test]
async fn every_kind_of_key_the_client_makes_is_one_it_can_use_and_renew() {
    let app = for_ever().await;
    for algorithm in [Algorithm::P256, Algorithm::P384, Algorithm::P521, Algorithm::Ed25519, Algorithm::Rsa(2048)] {
        let name = format!("{algorithm:?}").replace(['(', ')'], "-");
        let machine = Machine::enrolled_with(&app, app.invite(&name, false).await, algorithm).await;
        assert_eq!(machine.client().whoami().await.expect("known").name, Some(name.clone()));
        let before = machine.facts();
        enroll::renew(&machine.profile(), None, Arc::clone(&machine.clock)).await.expect("renewed");
        assert_ne!(machine.facts().fingerprint, before.fingerprint);
        assert_eq!(machine.client().whoami().await.expect("known").name, Some(name));
    }
    app.close().await;
}

/// A link of the machine's client.
async fn upload(machine: &Machine) -> String {
    let identity = machine.profile();
    let chain = std::fs::read_to_string(machine.folder.path().join("client.crt")).expect("a chain");
    let key = std::fs::read_to_string(machine.folder.path().join("client.key")).expect("a key");
    let root = std::fs::read_to_string(machine.folder.path().join("ca.crt")).expect("a root");
    let credentials = crate::caller::Credentials { chain, key };
    let config = crate::caller::client_config(&root, Some(&credentials));
    let http = reqwest::Client::builder().tls_backend_preconfigured(config).no_proxy().build().expect("a client");
    let url = identity.server().expect("a server").join("api/upload?ttl=inf").expect("a URL");
    let answer = http.post(url).body("mine").send().await.expect("answered");
    answer.json::<ddrop::api::Link>().await.expect("a link").id
}

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pki::key::{Algorithm, Key};

use super::memory::Memory;
use super::*;
use crate::clock::Manual;

const DAY: Duration = Duration::from_secs(86_400);

/// An authority on a folder of its own, its rows in memory.
struct World {
    folder: tempfile::TempDir,
    trust: Arc<Memory>,
    clock: Manual,
    config: Config,
    authority: Authority,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let trust = Arc::new(Memory::default());
        let clock = Manual::at(Timestamp::from(time::OffsetDateTime::now_utc()));
        let config = config(folder.path());
        let authority = open(&config, &trust, &clock).await.expect("opened");
        Self { folder, trust, clock, config, authority }
    }

    async fn reopened(&self) -> Result<Authority, Error> {
        open(&self.config, &self.trust, &self.clock).await
    }

    async fn invite(&self, name: &str) -> MadeInvite {
        self.authority.invite(&operator(), invitation(name)).await.expect("an invite")
    }

    async fn enrolled(&self, name: &str) -> Issued {
        let invite = self.invite(name).await;
        self.authority.enroll(&nobody(), &invite.secret, &request()).await.expect("enrolled")
    }

    async fn standing(&self, issued: &Issued) -> Standing {
        self.authority.standing(Name::Sha256(issued.fingerprint.sha256)).await.expect("a standing")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.config.path.join(name)
    }

    fn audit(&self) -> String {
        std::fs::read_to_string(self.path("audit.log")).expect("an audit log")
    }
}

fn config(folder: &Path) -> Config {
    Config {
        path: folder.join("pki"),
        server_names: vec!["Drop.example".into(), "127.0.0.1".into(), "::1".into()],
        public_url: Some("http://drop.example".into()),
        passphrase_file: None,
        client_lifetime: 365 * DAY,
    }
}

/// As the server does at its start: it needs its own certificate, too.
async fn open(config: &Config, trust: &Arc<Memory>, clock: &Manual) -> Result<Authority, Error> {
    let trust: Arc<dyn Trust> = Arc::<Memory>::clone(trust);
    let authority = Authority::open(config.clone(), trust, Arc::new(clock.clone())).await?;
    authority.server_identity().await?;
    Ok(authority)
}

fn operator() -> Actor {
    Actor { name: "operator".into(), address: None }
}

fn nobody() -> Actor {
    Actor { name: "nobody".into(), address: Some([192, 0, 2, 7].into()) }
}

fn invitation(name: &str) -> InviteFor {
    InviteFor { name: name.into(), admin: false, existing: false, ttl: DAY }
}

fn request() -> String {
    let key = Key::generate(Algorithm::P256).expect("a key");
    pki::request::make(&key, "whatever").expect("a request")
}

fn openssl(arguments: &[&str], folder: &Path) -> (bool, String) {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output();
    let output = output.expect("the openssl command is installed (apt install openssl)");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

mod start {
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
}

mod invites {
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
        for name in [
            "",
            " a",
            "a ",
            "a/b",
            "a,b",
            "a:b",
            "a\nb",
            "a\0",
            "a\u{202e}b",
            "a\u{200b}b",
            "operator",
            "server",
            &long,
        ] {
            let refused = world.authority.invite(&operator(), invitation(name)).await;
            assert!(matches!(refused, Err(Error::Name(_))), "{name:?}");
        }
        for name in ["älice@example.org", "build server 7", "李", &"x".repeat(64)] {
            world.enrolled(name).await;
        }
    }
}

mod certificates {
    use super::*;

    #[tokio::test]
    async fn a_renewal_is_the_same_client_and_the_old_one_stays_good() {
        let world = World::new().await;
        let old = world.enrolled("alice").await;
        world.clock.advance(200 * DAY);
        let by = Actor { name: "alice".into(), address: None };
        let new = world.authority.renew(&by, &old.client.id, &request()).await.expect("renewed");
        // The answer was lost: it is simply asked for again.
        world.authority.renew(&by, &old.client.id, &request()).await.expect("renewed");
        assert_eq!(new.client, old.client);
        assert!(matches!(world.standing(&old).await, Standing::Good { .. }));
        world.clock.advance(200 * DAY);
        assert_eq!(world.standing(&old).await, Standing::Expired { not_after: old.not_after });
        assert!(matches!(world.standing(&new).await, Standing::Good { .. }));
        let stranger = ClientId::random().expect("random bytes");
        assert!(matches!(world.authority.renew(&by, &stranger, &request()).await, Err(Error::NoSuchClient(_))));
    }

    #[tokio::test]
    async fn a_clock_that_is_behind_is_noticed() {
        let world = World::new().await;
        let issued = world.enrolled("alice").await;
        world.clock.set(world.clock.now().before(DAY));
        assert!(matches!(world.standing(&issued).await, Standing::NotYet { .. }));
    }

    #[tokio::test]
    async fn what_is_not_a_clients_certificate_is_unknown() {
        let world = World::new().await;
        let identity = world.authority.server_identity().await.expect("an identity");
        for der in identity.chain {
            let standing = world.authority.standing(Name::Sha256(Sha256::of(&der))).await.expect("a standing");
            assert_eq!(standing, Standing::Unknown);
        }
        let status = world.authority.status().expect("a status");
        for sha256 in [status.root_fingerprint, status.issuing_fingerprint, Sha256::of(b"")] {
            assert_eq!(world.authority.standing(Name::Sha256(sha256)).await.expect("a standing"), Standing::Unknown);
        }
    }

    #[tokio::test]
    async fn an_admin_issues_by_request_or_as_a_bundle() {
        let world = World::new().await;
        let issue = async |name: &'static str, days, csr: Option<&str>| {
            world.authority.issue(&operator(), name, days, true, csr).await
        };
        let (issued, none) = issue("carol", Some(7), Some(&request())).await.expect("issued");
        assert!(none.is_none() && issued.client.admin);
        assert!(issued.not_after <= world.clock.now().after(7 * DAY));
        assert!(matches!(issue("carol", None, None).await, Err(Error::NameTaken(_))));
        assert!(matches!(issue("dave", Some(0), None).await, Err(Error::Lifetime(_))));
        assert!(matches!(issue("dave", Some(100_000), None).await, Err(Error::Lifetime(_))));
        let (issued, bundle) = issue("dave", None, None).await.expect("issued");
        let bundle = bundle.expect("a bundle");
        std::fs::write(world.folder.path().join("dave.p12"), &bundle.pkcs12).expect("written");
        let password = format!("pass:{}", bundle.password.reveal());
        let (opened, said) =
            openssl(&["pkcs12", "-in", "dave.p12", "-passin", &password, "-nodes", "-info"], world.folder.path());
        assert!(opened && said.contains("BEGIN PRIVATE KEY"), "{said}");
        let leaf = issued.chain_pem.lines().nth(1).expect("a line");
        assert!(said.contains(leaf) && said.matches("BEGIN CERTIFICATE").count() == 3, "{said}");
        let (opened, _) = openssl(&["pkcs12", "-in", "dave.p12", "-passin", "pass:no", "-nodes"], world.folder.path());
        assert!(!opened);
    }

    #[tokio::test]
    async fn a_trusted_fingerprint_is_a_client() {
        let world = World::new().await;
        let sha256 = Sha256::of(b"a certificate from elsewhere");
        let client = world.authority.trust_fingerprint(&operator(), sha256, "erin").await.expect("trusted");
        let standing = world.authority.standing(Name::Sha256(sha256)).await.expect("a standing");
        assert!(matches!(standing, Standing::Good { client: ref known, .. } if *known == client));
        let again = world.authority.trust_fingerprint(&operator(), sha256, "erin").await.expect("no change");
        assert_eq!(again, client);
        let other = world.authority.trust_fingerprint(&operator(), sha256, "frank").await;
        assert!(matches!(other, Err(Error::Known)));
        world.authority.revoke(&operator(), Which::Sha256(sha256), 0, None).await.expect("revoked");
        let back = world.authority.trust_fingerprint(&operator(), sha256, "erin").await;
        assert!(matches!(back, Err(Error::WasRevoked)));
        let of_nothing = world.authority.revoke(&operator(), Which::Serial(String::new()), 0, None).await;
        assert!(matches!(of_nothing, Err(Error::NoSuchCertificate)));
    }

    #[tokio::test]
    async fn the_server_certificate_renews_in_time_and_when_names_change() {
        let mut world = World::new().await;
        let first = world.authority.server_identity().await.expect("an identity");
        let facts = pki::certificate::inspect(&first.chain[0]).expect("facts");
        assert_eq!(facts.names, ["drop.example", "127.0.0.1", "::1"]);
        world.clock.set(first.renew_at.before(Duration::from_secs(1)));
        assert_eq!(world.authority.server_identity().await.expect("the same").chain, first.chain);
        world.clock.set(first.renew_at);
        let second = world.authority.server_identity().await.expect("a new one");
        assert_ne!(second.chain, first.chain);
        assert!(second.renew_at > first.renew_at);
        world.config.server_names = vec!["other.example".into()];
        let renamed = world.reopened().await.expect("opened").server_identity().await.expect("an identity");
        assert_eq!(pki::certificate::inspect(&renamed.chain[0]).expect("facts").names, ["other.example"]);
        std::fs::write(world.path("server.key"), "nonsense").expect("written");
        let repaired = world.reopened().await.expect("opened").server_identity().await.expect("an identity");
        assert_ne!(repaired.chain, renamed.chain);
        world.config.server_names = vec!["no name".into()];
        assert!(matches!(world.reopened().await, Err(Error::Sign(_))));
    }
}

mod revocation {
    use super::*;

    #[tokio::test]
    async fn a_revocation_changes_the_epoch_and_happens_once() {
        let world = World::new().await;
        let issued = world.enrolled("alice").await;
        let before = world.authority.epoch();
        let serial = issued.serial.to_uppercase();
        let (meant, changed) =
            world.authority.revoke(&operator(), Which::Serial(serial), 1, None).await.expect("revoked");
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
    async fn lists_are_made_anew_when_something_changed_or_they_grow_old() {
        let world = World::new().await;
        let list = async || world.authority.crl().await.expect("a list");
        let first = list().await;
        assert_eq!(list().await, first);
        world.enrolled("alice").await;
        world.authority.revoke(&operator(), Which::Client("alice".into()), 1, None).await.expect("revoked");
        let second = list().await;
        assert_ne!(second, first);
        world.clock.advance(DAY - Duration::from_secs(1));
        assert_eq!(list().await, second);
        world.clock.advance(Duration::from_secs(1));
        let third = list().await;
        assert_ne!(third, second);
        let next = Timestamp::from(pki::crl::next_update(&third).expect("a time"));
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
        std::fs::write(at("lists.pem"), world.authority.crl_pem().await.expect("lists")).expect("written");
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
        assert!(names(&world.authority.crl().await.expect("a list")));
        world.config.public_url = None;
        let without = world.reopened().await.expect("opened");
        assert!(names(&without.crl().await.expect("a list")), "nothing was issued without a place");
        without.issue(&operator(), "alice", None, false, None).await.expect("issued");
        world.enrolled("bob").await;
        assert!(!names(&world.authority.crl().await.expect("a list")));
    }
}

mod audit_log {
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
        let whats: Vec<&str> =
            log.lines().filter_map(|line| line.split("\"what\":\"").nth(1)?.split('"').next()).collect();
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
}

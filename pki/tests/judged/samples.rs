//! One of everything that is signed, for linters: with `PKI_SAMPLES` set, its folder gets them.

use std::sync::LazyLock;

use pki::certificate::self_signed_client;
use pki::crl::{self, Entry, Header};
use pki::key::{Algorithm, Key};
use pki::ocsp::{self, Request, Status};
use time::Duration;

use crate::{World, assert_content, publication};

/// What a sample is, which decides what it is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Root,
    Issuing,
    Server,
    Client,
    /// Self-signed.
    Own,
    List,
    Response,
}

/// Something that was signed.
pub(crate) struct Sample {
    /// Tells it from the others: the CA's kind of key, what it is, and of what kind of key.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Whether it names what no public CA may sign for.
    pub(crate) is_private: bool,
    pub(crate) pem: String,
}

/// Kinds of keys a CA may have.
const CAS: [Algorithm; 4] = [Algorithm::P256, Algorithm::P384, Algorithm::Ed25519, Algorithm::Rsa(2048)];

/// How long the server's own certificate lives.
const SERVER: std::time::Duration = std::time::Duration::from_secs(90 * 86_400);

/// Everything, made once.
pub(crate) fn all() -> &'static [Sample] {
    static ALL: LazyLock<Vec<Sample>> = LazyLock::new(make);
    &ALL
}

/// By CAs of every kind; by the usual one, for clients with keys of every kind.
fn make() -> Vec<Sample> {
    let keys = [Algorithm::P256, Algorithm::P384, Algorithm::P521, Algorithm::Ed25519].map(Key::generate);
    let keys: Vec<Key> =
        keys.into_iter().map(|key| key.expect("a key")).chain([2048, 3072, 4096].map(rsa_by_openssl)).collect();
    let mut samples = Vec::new();
    for algorithm in CAS {
        let world = World::new(algorithm, &["example.org", "10.0.0.0/8"]);
        let ca = plain(&algorithm.to_string());
        let mut add = |kind, of: &str, pem: String| {
            let name = format!("{ca}-{kind:?}-{}", plain(of)).to_lowercase();
            samples.push(Sample { name, kind, is_private: matches!(of, "address" | "unconstrained"), pem });
        };
        add(Kind::Root, "", world.root.certificate().to_pem());
        add(Kind::Issuing, "", world.issuing.certificate().to_pem());
        let unconstrained = World::new(algorithm, &[]);
        add(Kind::Issuing, "unconstrained", unconstrained.issuing.certificate().to_pem());
        for (of, permitted) in [("domains", "example.org"), ("networks", "10.0.0.0/8")] {
            add(Kind::Issuing, of, World::new(algorithm, &[permitted]).issuing.certificate().to_pem());
        }
        for key in keys.iter().filter(|key| algorithm == Algorithm::P256 || key.algorithm() == algorithm) {
            let of = key.algorithm().to_string();
            add(Kind::Client, &of, world.client(key, "älice").to_pem());
            let own = self_signed_client(key, "me", world.now, 365).expect("a certificate");
            add(Kind::Own, &of, own.to_pem());
        }
        let key = Key::generate(Algorithm::P256).expect("a key");
        for (of, names) in [("", &["drop.example.org"][..]), ("address", &["drop.example.org", "10.0.0.7"])] {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            let server = world.issuing.server(key.public(), &names, SERVER, &publication(), world.now);
            add(Kind::Server, of, server.expect("a server certificate").to_pem());
        }
        let header =
            |places| Header { number: 1, this_update: world.now, next_update: world.now + Duration::days(7), places };
        let places: Vec<String> = publication().crl.into_iter().collect();
        // Every reason there is, and none twice.
        let entries = [0, 1, 2, 3, 4, 5, 9, 10].map(|reason| Entry {
            serial_hex: format!("40{reason:02x}"),
            revoked_at: world.now,
            reason,
        });
        let list = |ca, header: &Header, entries: &[Entry]| {
            pki::pem::encode("X509 CRL", &crl::build(ca, header, entries).expect("a list"))
        };
        add(Kind::List, "full", list(&world.issuing, &header(places), &entries));
        add(Kind::List, "empty", list(&world.issuing, &header(Vec::new()), &[]));
        add(Kind::List, "root", list(&world.root, &header(Vec::new()), &[]));
        let revoked = Status::Revoked { at: world.now, reason: 1 };
        for (of, status) in [("good", Status::Good), ("revoked", revoked), ("unknown", Status::Unknown)] {
            add(Kind::Response, of, pki::pem::encode("OCSP RESPONSE", &response(&world, &key, status)));
        }
    }
    samples
}

/// Letters and digits of a name.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// openssl makes large ones sooner.
fn rsa_by_openssl(bits: u32) -> Key {
    let folder = tempfile::tempdir().expect("a folder");
    let bits = format!("rsa_keygen_bits:{bits}");
    Key::from_pem(&assert_content(&["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", &bits], folder.path()))
        .expect("a key")
}

fn response(world: &World, key: &Key, status: Status) -> Vec<u8> {
    world.write("asked.pem", world.client(key, "alice").to_pem());
    let ask = ["ocsp", "-issuer", "issuing.pem", "-cert", "asked.pem", "-reqout", "request.der"];
    assert_content(&ask, world.folder.path());
    let request = Request::from_der(&std::fs::read(world.path("request.der")).expect("read")).expect("a request");
    let until = world.now + Duration::hours(1);
    ocsp::respond(&world.issuing, &request, &[status], world.now, until, world.now).expect("a response")
}

#[test]
fn one_of_everything_can_be_made_for_every_algorithm_of_a_ca() {
    let folder = std::env::var_os("PKI_SAMPLES").map(std::path::PathBuf::from);
    let samples = all();
    let mut names: Vec<&str> = samples.iter().map(|sample| sample.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), samples.len(), "two have one name: {names:?}");
    for sample in samples {
        assert!(sample.pem.starts_with("-----BEGIN "), "{}", sample.name);
        if let Some(folder) = &folder {
            std::fs::write(folder.join(format!("{}.pem", sample.name)), &sample.pem).expect("written");
        }
    }
}

//! One of everything that is signed, for a linter: with `PKI_SAMPLES` set, its folder gets them.

use pki::certificate::self_signed_client;
use pki::crl::{self, Entry, Header};
use pki::key::{Algorithm, Key};
use pki::ocsp::{self, Request, Status};
use time::Duration;

use crate::{World, content};

#[test]
fn one_of_everything_can_be_made_for_every_algorithm_of_a_ca() {
    let folder = std::env::var_os("PKI_SAMPLES").map(std::path::PathBuf::from);
    for (name, algorithm) in [
        ("p256", Algorithm::P256),
        ("p384", Algorithm::P384),
        ("ed25519", Algorithm::Ed25519),
        ("rsa", Algorithm::Rsa(2048)),
    ] {
        let world = World::new(algorithm, &["example.org", "10.0.0.0/8"]);
        let key = Key::generate(algorithm).expect("a key");
        let entry = Entry { serial_hex: "4001".into(), revoked_at: world.now, reason: 1 };
        let header = Header {
            number: 1,
            this_update: world.now,
            next_update: world.now + Duration::days(7),
            places: vec!["http://drop.example/pki/crl".into()],
        };
        let list = crl::build(&world.issuing, &header, &[entry]).expect("a list");
        let own = self_signed_client(&key, "me", world.now, 365).expect("a certificate");
        let odd = self_signed_client(&Key::generate(Algorithm::P521).expect("a key"), "me", world.now, 365);
        let samples = [
            ("odd.pem", odd.expect("a certificate").to_pem()),
            ("response.pem", pki::pem::encode("OCSP RESPONSE", &response(&world))),
            ("root.pem", world.root.certificate().to_pem()),
            ("issuing.pem", world.issuing.certificate().to_pem()),
            ("client.pem", world.client(&key, "alice").to_pem()),
            ("server.pem", world.server(&key, &["drop.example.org", "10.0.0.7"]).to_pem()),
            ("own.pem", own.to_pem()),
            ("list.pem", pki::pem::encode("X509 CRL", &list)),
        ];
        for (kind, sample) in samples {
            assert!(sample.starts_with("-----BEGIN "), "{kind}");
            if let Some(folder) = &folder {
                std::fs::write(folder.join(format!("{name}-{kind}")), sample).expect("written");
            }
        }
    }
}

fn response(world: &World) -> Vec<u8> {
    world.write("client.pem", world.client(&Key::generate(Algorithm::P256).expect("a key"), "alice").to_pem());
    let ask = ["ocsp", "-issuer", "issuing.pem", "-cert", "client.pem", "-reqout", "request.der"];
    content(&ask, world.folder.path());
    let request = Request::from_der(&std::fs::read(world.path("request.der")).expect("read")).expect("a request");
    let until = world.now + Duration::hours(1);
    ocsp::respond(&world.issuing, &request, &[Status::Good], world.now, until, world.now).expect("a response")
}

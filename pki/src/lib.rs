//! A small certificate authority: values in, values out; no network, no database, no clock.
//!
//! # Map
//!
//! | module | one line |
//! | --- | --- |
//! | [`ca`] | a CA key with its certificate; signs each profile and reads back what it signed |
//! | [`certificate`] | certificates: read, shown, self-signed |
//! | [`request`] | signing requests: made, judged |
//! | [`crl`] | revocation lists |
//! | [`ocsp`] | OCSP requests read, responses signed |
//! | [`key`] | private and public keys |
//! | [`pkcs12`] | a key and its certificates in one file |
//! | [`pkcs7`] | certificates in one DER, as EST answers them |
//! | [`pem`] | text around DER |

pub mod ca;
pub mod certificate;
mod check;
pub mod crl;
mod ecdsa521;
mod encode;
pub mod key;

pub mod ocsp;
pub mod pem;
pub mod pkcs12;
pub mod pkcs7;
mod profile;
pub mod request;
mod sign;

//! The server from outside, over real TLS on a free port, with a clock that moves only when told to.

#![allow(unreachable_pub, reason = "one binary: what its modules share is for nobody else")]
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod abuse;
mod admission;
mod app;
mod backup;
mod caller;
mod deaddrop;
mod deadlines;
mod enroll;
mod est;
mod fetch;
mod flaskpaste;
mod flaskpaste_more;
mod flaskpaste_password;
mod header_mode;
mod identity;
mod keys;
mod limits;
mod logs;
mod metrics;
mod nss;
mod ocsp;
mod openapi;
mod owners;
mod pages;
#[path = "../planted/mod.rs"]
mod planted;
mod proxied;
mod publish;
mod refusals;
mod register;
mod renewal;
mod rotation;
mod takeover;
mod trust;
mod upload;
mod wire;

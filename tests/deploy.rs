//! What `deploy/` holds, run by the programs it is for: a missing one is a failure that says how to install it.

#![allow(unreachable_pub, reason = "one binary: what its modules share is for nobody else")]
#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[path = "deploy/arm64.rs"]
mod arm64;
#[path = "deploy/container.rs"]
mod container;
#[path = "deploy/kubernetes.rs"]
mod kubernetes;
mod ports;
#[path = "deploy/release.rs"]
mod release;
#[path = "deploy/server.rs"]
mod server;
#[path = "deploy/supervised.rs"]
mod supervised;
#[path = "deploy/systemd.rs"]
mod systemd;
#[path = "deploy/tools.rs"]
mod tools;

//! The server from outside, over real TLS on a free port, with a clock that moves only when told to.

#![allow(unreachable_pub, reason = "one binary: what its modules share is for nobody else")]
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod app;
mod caller;
mod deaddrop;
mod deadlines;
mod enroll;
mod fetch;
mod identity;
mod limits;
mod owners;
mod publish;
mod upload;
mod wire;

//! What the benchmarks share: ddrop as a process, what it costs, and a load generator's half of TLS and HTTP.
#![allow(dead_code, reason = "each benchmark uses its part of it")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it says is what a benchmark is for")]

pub(crate) mod content;
pub(crate) mod ddrop;
pub(crate) mod http;
pub(crate) mod machine;
pub(crate) mod process;
pub(crate) mod run;
pub(crate) mod target;
pub(crate) mod tls;

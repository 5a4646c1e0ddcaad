//! Parse, run, exit code.

use std::process::ExitCode;

use clap::Parser as _;
use ddrop::cli::{Cli, exit};

fn main() -> ExitCode {
    let cli = Cli::parse();
    // A client waits for one connection; a server wants every core.
    let mut builder = match cli.is_server() {
        true => tokio::runtime::Builder::new_multi_thread(),
        false => tokio::runtime::Builder::new_current_thread(),
    };
    let outcome = builder.enable_all().build().map_err(anyhow::Error::from).and_then(|runtime| {
        let outcome = runtime.block_on(cli.run());
        // What still reads standard input is not waited for.
        runtime.shutdown_background();
        outcome
    });
    outcome.unwrap_or_else(|error| exit::report(&error))
}

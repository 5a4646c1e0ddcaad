//! What the user can say: one file per command, with its arguments and what it does.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod backup;
mod cert;
mod completions;
mod connect;
mod doctor;
pub mod exit;
mod expire;
mod export;
mod fetch;
mod health;
mod import;
mod info;
mod list;
mod man;
pub mod output;
mod password;
mod paste;
mod pki;
mod restore;
pub mod serve;
mod shorten;
mod stats;
mod supervisor;
mod update;
mod upload;
mod whoami;

use connect::Connection;

/// Share files that expire, among parties known by their certificates.
#[derive(Debug, Parser)]
#[command(name = "ddrop", version = env!("DDROP_VERSION"), about, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    context: Context,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(clap::Args, Clone, Debug)]
pub struct Context {
    #[command(flatten)]
    connection: Connection,
    /// Print the result as one JSON value
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::Args),
    /// Make a client certificate, enrol with an invite, or renew
    Cert(cert::Args),
    /// Upload files and print their links
    #[command(visible_alias = "stash")]
    Upload(upload::Args),
    /// Paste what is piped in and print its link
    Paste(paste::Args),
    /// Make a short link to another address
    Shorten(shorten::Args),
    /// Save what a link leads to
    Fetch(fetch::Args),
    /// List links
    List(list::Args),
    /// Show how much there is
    Stats(stats::Args),
    /// End links now
    Expire(expire::Args),
    /// Change a link's content, lifetime or name
    Update(update::Args),
    /// Save all links to a folder, with an index
    Export(export::Args),
    /// Take over the links of an older program
    Import(import::Args),
    /// Show the server and the settings in use
    Info(info::Args),
    /// Show whom the server takes you for
    Whoami(whoami::Args),
    /// Ask whether a server is healthy
    Health(health::Args),
    /// Check an installation and say what to do
    Doctor(doctor::Args),
    /// Copy a server's whole storage into one file, while it runs
    Backup(backup::Args),
    /// Make a storage folder of a backup
    Restore(restore::Args),
    /// Run the certificate authority
    Pki(pki::Args),
    /// Print the completions for a shell
    Completions(completions::Args),
    /// Write the manual pages
    Man(man::Args),
}

/// Parse, run, exit code.
pub fn main() -> ExitCode {
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

impl Cli {
    /// Whether the command serves many at once and wants every core.
    pub fn is_server(&self) -> bool {
        matches!(self.command, Command::Serve(_))
    }

    /// Does what was said.
    ///
    /// # Errors
    /// With what failed; [`exit::report`] makes words and an exit code of it.
    pub async fn run(self) -> Result<ExitCode> {
        let context = &self.context;
        match self.command {
            Command::Serve(args) => Box::pin(serve::run(args)).await,
            Command::Cert(args) => done(Box::pin(cert::run(context, args)).await),
            Command::Upload(args) => Box::pin(upload::run(context, args)).await,
            Command::Paste(args) => Box::pin(paste::run(context, args)).await,
            Command::Shorten(args) => done(Box::pin(shorten::run(context, args)).await),
            Command::Fetch(args) => done(Box::pin(fetch::run(context, args)).await),
            Command::List(args) => done(Box::pin(list::run(context, args)).await),
            Command::Stats(args) => done(Box::pin(stats::run(context, args)).await),
            Command::Expire(args) => Box::pin(expire::run(context, args)).await,
            Command::Update(args) => done(Box::pin(update::run(context, args)).await),
            Command::Export(args) => Box::pin(export::run(context, args)).await,
            Command::Import(args) => Box::pin(import::run(context, args)).await,
            Command::Info(args) => done(Box::pin(info::run(context, args)).await),
            Command::Whoami(args) => done(Box::pin(whoami::run(context, args)).await),
            Command::Health(args) => done(Box::pin(health::run(context, args)).await),
            Command::Doctor(args) => doctor::run(context, args).await,
            Command::Backup(args) => done(backup::run(context, args).await),
            Command::Restore(args) => done(restore::run(context, args).await),
            Command::Pki(args) => done(Box::pin(pki::run(context, args)).await),
            Command::Completions(args) => done(completions::run(&args)),
            Command::Man(args) => done(man::run(&args)),
        }
    }
}

fn done(outcome: Result<()>) -> Result<ExitCode> {
    outcome.map(|()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_commands_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_documented_is_understood() {
        for line in [
            "ddrop cert -a rsa -b 4096 -d 90 -n me -o dir",
            "ddrop cert -c secp521r1 --sha1",
            "ddrop cert --configure ddrop://x",
            "ddrop cert --configure -",
            "ddrop cert --configure --server https://host",
            "ddrop cert --renew",
            "ddrop upload a b --ttl 2h",
            "ddrop stash - -n name -b --token x",
            "ddrop --server https://host upload -",
            "ddrop upload a --password",
            "ddrop upload a --password-file file",
            "ddrop upload a b --ttl 2h -n name -b -e --password",
            "ddrop stash a -e",
            "ddrop serve -p 0 -h 127.0.0.1 -s storage",
            "ddrop cert -a ed25519 -b 4096 -c secp256r1 -d 1 -n x -o dir --sha1",
            "ddrop paste",
            "ddrop paste file -b -x 60 -E --password",
            "ddrop paste --no-encrypt",
            "ddrop shorten https://example.org --ttl 2h",
            "ddrop update abcd file",
            "ddrop update abcd - --ttl 2h",
            "ddrop fetch abcd --password-file file",
            "ddrop fetch abcd -o -",
            "ddrop fetch abcd -o path --force",
            "ddrop fetch -m abcd",
            "ddrop list --all --search text --json",
            "ddrop stats",
            "ddrop expire a b c",
            "ddrop update abcd --ttl 2h -n name",
            "ddrop export dir --all --force",
            "ddrop import --deaddrop old -s storage --check",
            "ddrop import --flaskpaste pastes.db -s storage --owner 000102030405060708090a0b0c0d0e0f10111213=bob",
            "ddrop info",
            "ddrop whoami --json",
            "ddrop health --url https://localhost",
            "ddrop doctor -s storage --config file --contents --json",
            "ddrop backup file -s storage",
            "ddrop backup - --storage storage --force",
            "ddrop restore file -s storage",
            "ddrop restore - -s storage --force --json",
            "ddrop pki status -s storage",
            "ddrop pki -s storage invite bob --admin --ttl 24h --url https://host",
            "ddrop pki invite --for bob",
            "ddrop pki invites",
            "ddrop pki revoke bob --reason keyCompromise",
            "ddrop pki trust 00 bob",
            "ddrop pki issue bob --days 30 --csr file",
            "ddrop pki crl -o file --der",
            "ddrop pki list",
            "ddrop pki ca",
            "ddrop pki ca --chain",
            "ddrop pki ca --rotate --permit example.org -s storage",
            "ddrop pki ca --export-root file -s storage",
            "ddrop pki audit --last 20",
            "ddrop pki audit --verify -s storage",
            "ddrop completions bash",
            "ddrop man dir",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for line in
            ["ddrop", "ddrop upload", "ddrop nonsense", "ddrop update abcd", "ddrop pki invite", "ddrop cert -a dsa"]
        {
            let error = Cli::try_parse_from(line.split(' ')).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}

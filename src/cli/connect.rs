//! From what was said to a client that is ready: settings, warnings, and a certificate that is renewed in time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::output;
use crate::client::profile::{self, Flags, Profile};
use crate::client::{Client, enroll};
use crate::clock::{Clock, System};
use crate::token::Secret;

/// How a server is reached: before the environment and `config.toml`.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Server and identity")]
pub(super) struct Connection {
    /// The server's address [env: DD_API_URL]
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,
    /// A bearer token; others can see the command line, so rather use --token-file or the environment [env: DD_API_TOKEN]
    #[arg(long, global = true, value_name = "TOKEN", value_parser = secret, conflicts_with = "token_file")]
    token: Option<Secret>,
    /// A file with a bearer token
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The client certificate, PEM [env: DD_CLIENT_CERT]
    #[arg(long, global = true, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Its key, PEM [env: DD_CLIENT_KEY]
    #[arg(long, global = true, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The only CA to trust for the server, PEM [env: DD_CA_CERT]
    #[arg(long, global = true, value_name = "FILE")]
    ca_cert: Option<PathBuf>,
}

#[expect(clippy::unnecessary_wraps, reason = "what clap asks for")]
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::from_given(text.to_owned()))
}

/// For a renewal nobody asked for.
const QUIET_RENEWAL: Duration = Duration::from_secs(10);

impl Connection {
    /// What is in force.
    ///
    /// # Errors
    /// When a setting makes no sense or a file cannot be read.
    pub(super) fn profile(&self) -> Result<Profile> {
        let env = |name: &str| std::env::var_os(name);
        let flags = Flags {
            server: self.server.clone(),
            token: self.token.clone(),
            token_file: self.token_file.clone(),
            cert: self.cert.clone(),
            key: self.key.clone(),
            ca_cert: self.ca_cert.clone(),
        };
        Ok(Profile::load(flags, env, profile::folder(env)?)?)
    }

    /// A client with what is in force, after renewing its certificate if that is due.
    ///
    /// # Errors
    /// When there is no server, or something of the settings cannot be used.
    pub(super) async fn client(&self) -> Result<Client> {
        self.client_of(&self.profile()?).await
    }

    /// The same for a profile that is loaded already.
    ///
    /// # Errors
    /// When there is no server, or something of the settings cannot be used.
    pub(super) async fn client_of(&self, profile: &Profile) -> Result<Client> {
        if let Some(path) = profile.identity()?.and_then(|identity| identity.exposed) {
            let path = path.display();
            output::warning(&format!("others can read the key {path}: chmod 600 {path}"));
        }
        renew_if_due(profile).await;
        Ok(Client::new(profile, clock())?)
    }
}

/// The clock commands go by.
pub(super) fn clock() -> Arc<dyn Clock> {
    Arc::new(System)
}

/// Renews a certificate that is due; what was asked for goes on if that fails.
async fn renew_if_due(profile: &Profile) {
    let failure = match tokio::time::timeout(QUIET_RENEWAL, enroll::renew_if_due(profile, clock())).await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    output::warning(&format!("the client certificate is due and could not be renewed: {failure}"));
}

//! `ddrop pki`: the certificate authority, over the API or directly on the storage folder.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Subcommand;

use super::{Context, exit, output};
use crate::api;
use crate::identity::{Sha1, Sha256};
use crate::units::Ttl;

mod audit;
mod ca;
mod crl;
mod issue;
mod local;
mod show;
mod way;

use way::Way;

/// What was said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Work directly on this storage folder instead of over the API, also while the server runs
    #[arg(short, long, global = true, value_name = "STORAGE")]
    storage: Option<PathBuf>,
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Debug, Subcommand)]
enum Deed {
    /// Show the state of the CA
    Status,
    /// Print the root certificate, or change the CA
    Ca(ca::Args),
    /// Show the record of every change of trust, or check that it is whole
    Audit(audit::Args),
    /// Issue a certificate to someone
    Issue(issue::Args),
    /// List certificates
    List,
    /// Revoke certificates: all of a client, or one
    Revoke {
        /// A client's name, a serial number, or a fingerprint
        #[arg(value_name = "NAME|SERIAL|FINGERPRINT")]
        which: String,
        /// Take it for a client's name, whatever it looks like
        #[arg(long)]
        name: bool,
        /// Why: keyCompromise, superseded, cessationOfOperation, affiliationChanged, privilegeWithdrawn
        #[arg(long, value_name = "REASON")]
        reason: Option<String>,
    },
    /// Print the revocation lists of all CAs in PEM, as a proxy wants them
    Crl(crl::Args),
    /// Make an invite and print it
    Invite {
        /// The name of the client to be
        #[arg(value_name = "NAME")]
        name: String,
        /// It will be an admin
        #[arg(long)]
        admin: bool,
        /// How long the invite holds
        #[arg(long, value_name = "TTL", default_value = "24h")]
        ttl: Ttl,
        /// The server's address in the invite
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        /// One more certificate for the client that has this name already
        #[arg(long = "for")]
        existing: bool,
    },
    /// List invites
    Invites,
    /// Take an invite back
    Withdraw {
        /// The invite's id
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Make the holder of a self-signed certificate a known client
    Trust {
        /// SHA-256 of the certificate
        #[arg(value_name = "FINGERPRINT")]
        fingerprint: String,
        /// The client's name
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// Does one deed of the authority.
pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let way = Way::open(context, args.storage).await?;
    match args.deed {
        Deed::Status => show::status(context, &way.status().await.context("cannot read the CA's state")?),
        Deed::Ca(args) => ca::run(context, &way, &args).await,
        Deed::Audit(args) => audit::run(context, &way, &args).await,
        Deed::Issue(args) => issue::run(context, &way, args).await,
        Deed::List => show::certificates(context, &way.certificates().await.context("cannot list certificates")?),
        Deed::Revoke { which, name, reason } => {
            let wish = meant(&which, name, reason);
            let done = way.revoke(wish).await.with_context(|| format!("cannot revoke {which}"))?;
            show::revoked(context, &done)
        }
        Deed::Crl(args) => crl::run(context, &way, &args).await,
        Deed::Invite { name, admin, ttl, url, existing } => {
            let what = || format!("cannot invite {name}");
            let wish = api::NewInvite { name: name.clone(), admin, ttl: Some(ttl.to_string()), existing, url };
            let made = way.invite(wish).await.with_context(what)?;
            if context.json { Ok(output::json(&made)?) } else { Ok(output::line(&made.invite)?) }
        }
        Deed::Invites => show::invites(context, &way.invites().await.context("cannot list invites")?),
        Deed::Withdraw { id } => {
            way.withdraw(&id).await.with_context(|| format!("cannot withdraw the invite {id}"))?;
            show::done(context, &format!("the invite {id} is withdrawn"))
        }
        Deed::Trust { fingerprint, name } => {
            let sha256: Sha256 = fingerprint
                .parse()
                .map_err(|_| exit::Usage(format!("'{fingerprint}' is not a SHA-256 fingerprint: 64 hex digits")))?;
            way.trust(sha256, &name).await.with_context(|| format!("cannot trust {sha256}"))?;
            show::done(context, &format!("{sha256} is {name}"))
        }
    }
}

/// What is to be revoked: a fingerprint by its length, a serial number by being long and hex, else a client's name.
fn meant(which: &str, is_name: bool, reason: Option<String>) -> api::Revoke {
    let mut wish = api::Revoke { reason, ..api::Revoke::default() };
    let plain: String = which.chars().filter(|c| *c != ':').collect();
    let text = Some(which.to_owned());
    if !is_name && (which.parse::<Sha256>().is_ok() || which.parse::<Sha1>().is_ok()) {
        wish.fingerprint = Some(plain.to_ascii_lowercase());
    } else if !is_name && plain.len() >= 16 && plain.bytes().all(|b| b.is_ascii_hexdigit()) {
        wish.serial = Some(plain.to_ascii_lowercase());
    } else {
        wish.name = text;
    }
    wish
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_revoke_is_told_by_its_looks() {
        let sha256 = "ab".repeat(32);
        assert_eq!(meant(&sha256, false, None).fingerprint, Some(sha256.clone()));
        let colons = ["AB"; 20].join(":");
        assert_eq!(meant(&colons, false, None).fingerprint, Some("ab".repeat(20)));
        let serial = "0123456789abcdef0123456789abcdef";
        assert_eq!(meant(serial, false, None).serial.as_deref(), Some(serial));
        assert_eq!(meant("bob", false, None).name.as_deref(), Some("bob"));
        assert_eq!(meant("cafe", false, None).name.as_deref(), Some("cafe"));
        assert_eq!(meant(serial, true, None).name.as_deref(), Some(serial));
    }
}

//! The two ways to an authority: over the API as an admin, or on the storage folder as the operator.

use std::path::PathBuf;

use anyhow::Result;

use super::local::Local;
use crate::api;
use crate::cli::{Context, exit};
use crate::client::Client;
use crate::identity::Sha256;

/// One of them.
pub(super) enum Way {
    Api(Client),
    Storage(Box<Local>),
}

impl Way {
    pub(super) async fn open(context: &Context, storage: Option<PathBuf>) -> Result<Self> {
        match storage {
            Some(path) => Ok(Self::Storage(Box::new(Box::pin(Local::open(path)).await?))),
            None => Ok(Self::Api(context.connection.client().await?)),
        }
    }

    pub(super) async fn status(&self) -> Result<api::PkiStatus> {
        match self {
            Self::Api(client) => Ok(client.pki_status().await?),
            Self::Storage(local) => local.status(),
        }
    }

    pub(super) async fn root(&self) -> Result<String> {
        match self {
            Self::Api(client) => Ok(client.ca().await?),
            Self::Storage(local) => Ok(local.root()),
        }
    }

    pub(super) async fn chain(&self) -> Result<String> {
        match self {
            Self::Api(client) => Ok(client.ca_chain().await?),
            Self::Storage(local) => Ok(local.chain()),
        }
    }

    pub(super) async fn issue(&self, wish: api::Issue) -> Result<api::Issued> {
        match self {
            Self::Api(client) => Ok(client.issue(&wish).await?),
            Self::Storage(local) => local.issue(wish).await,
        }
    }

    pub(super) async fn certificates(&self) -> Result<api::Certificates> {
        match self {
            Self::Api(client) => Ok(client.certificates().await?),
            Self::Storage(local) => local.certificates().await,
        }
    }

    pub(super) async fn revoke(&self, wish: api::Revoke) -> Result<api::Revoked> {
        match self {
            Self::Api(client) => Ok(client.revoke(&wish).await?),
            Self::Storage(local) => local.revoke(wish).await,
        }
    }

    pub(super) async fn lists(&self) -> Result<String> {
        match self {
            Self::Api(client) => Ok(client.crl_pem().await?),
            Self::Storage(local) => local.lists().await,
        }
    }

    pub(super) async fn invite(&self, wish: api::NewInvite) -> Result<api::MadeInvite> {
        match self {
            Self::Api(client) => Ok(client.invite(&wish).await?),
            Self::Storage(local) => local.invite(wish).await,
        }
    }

    pub(super) async fn invites(&self) -> Result<Vec<api::Invite>> {
        match self {
            Self::Api(client) => Ok(client.invites().await?),
            Self::Storage(local) => local.invites().await,
        }
    }

    pub(super) async fn withdraw(&self, id: &str) -> Result<()> {
        match self {
            Self::Api(client) => Ok(client.withdraw_invite(id).await?),
            Self::Storage(local) => local.withdraw(id).await,
        }
    }

    pub(super) async fn trust(&self, fingerprint: Sha256, name: &str) -> Result<()> {
        match self {
            Self::Api(client) => Ok(client.trust(&fingerprint.to_string(), name).await?),
            Self::Storage(local) => local.trust(fingerprint, name).await,
        }
    }

    /// A new issuing CA for these server names; none said: those of the one before it. Answers its SHA-256.
    pub(super) async fn rotate(&self, permit: &[String]) -> Result<String> {
        match self {
            Self::Api(client) => Ok(client.rotate(permit).await?.issuing_fingerprint),
            Self::Storage(local) => local.rotate(permit).await,
        }
    }

    pub(super) async fn audit(&self, last: usize) -> Result<api::Audit> {
        match self {
            Self::Api(client) => Ok(client.audit(last).await?),
            Self::Storage(local) => local.audit(last).await,
        }
    }

    pub(super) async fn verify_audit(&self) -> Result<api::Verified> {
        match self {
            Self::Api(client) => Ok(client.verify_audit().await?),
            Self::Storage(local) => local.verify_audit().await,
        }
    }

    /// The authority itself: its root key never goes over a network.
    pub(super) fn on_storage(&self) -> Result<&Local> {
        match self {
            Self::Api(_) => Err(exit::Usage("this is done on the server's machine: add -s STORAGE".to_owned()).into()),
            Self::Storage(local) => Ok(local),
        }
    }
}

//! Links of another program, which keep what they have.

use std::sync::Arc;
use std::time::Duration;

use super::{Error, Store, Upload};
use crate::access::{Adopt, Permit};
use crate::identity::{Owner, Sha256};
use crate::link::{Draft, Kind, Link, LinkId};
use crate::units::Timestamp;

/// A link of another program that is to be one of ours as it is.
#[derive(Clone, Debug)]
pub struct Adopted {
    /// Its id.
    pub id: LinkId,
    /// Whose it will be.
    pub owner: Owner,
    /// What else is known; its lifetime is not told by this.
    pub draft: Draft,
    /// Its lifetime.
    pub life: Life,
}

/// The lifetime of a link that has begun elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// How long after its last reading it ends, if that is what ends it.
    pub idle: Option<Duration>,
    /// When it was last read.
    pub accessed_at: Option<Timestamp>,
}

impl Store {
    /// Reserves room for a link of another program.
    ///
    /// # Errors
    /// As [`Store::begin`]; also when there is a row of that id.
    pub async fn adopt(&self, _: &Permit<Adopt>, adopted: Adopted, declared: Option<u64>) -> Result<Upload, Error> {
        Upload::adopt(Arc::clone(&self.inner), adopted, declared).await
    }

    /// Makes a link to another address of one that another program had; false if there is a row of that id.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn adopt_target(&self, _: &Permit<Adopt>, adopted: Adopted, target: String) -> Result<bool, Error> {
        let Adopted { id, owner, draft, life } = adopted;
        let link = Link {
            id,
            kind: Kind::Url,
            owner,
            name: draft.name,
            mime: String::new(),
            size: 0,
            sha256: Sha256::of(target.as_bytes()),
            blob: String::new(),
            created_at: life.created_at,
            expires_at: life.expires_at,
            burn: false,
            idle: life.idle,
            accessed_at: life.accessed_at,
            password: None,
            target: Some(target),
        };
        let made = self.inner.links.insert(&link).await?;
        self.inner.cache.forget(&link.id);
        Ok(made)
    }
}

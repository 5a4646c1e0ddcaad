//! What happens once for every process on the same storage: a token is used, a secret is made.

use super::{Error, Store};
use crate::identity::Sha256;
use crate::units::{self, Timestamp};

/// What the challenges are signed with that each work once. What was spent after a backup is not in it, so a restored
/// storage makes all of them anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenges {
    /// For a certificate.
    Registering,
    /// For a link.
    Creating,
}

impl Challenges {
    pub(super) const ALL: [Self; 2] = [Self::Registering, Self::Creating];

    /// What its secret is kept as.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Registering => "work",
            Self::Creating => "creation",
        }
    }
}

/// Used tokens that are remembered until they expire; one is some 100 bytes.
const SPENT: u32 = 64 * 1024;

impl Store {
    /// Uses up a token that would work until `expires`, by its hash; false if it was used before, also by another
    /// process or before a restart. What there is no room to remember counts as used.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn spend(&self, token: Sha256, expires: Timestamp) -> Result<bool, Error> {
        self.inner.spent.spend(token, expires, SPENT, self.inner.clock.now()).await
    }

    /// Random bytes that are made once and then are the same for every process on this storage.
    ///
    /// # Errors
    /// When the database cannot be read or written, or there are no random bytes.
    pub async fn secret(&self, of: Challenges) -> Result<[u8; 32], Error> {
        let name = of.name();
        let mut secret = [0; 32];
        let new = hex::encode(units::random::<32>()?);
        let kept = self.inner.trust.settle_value(name, &new).await?;
        hex::decode_to_slice(kept, &mut secret).map_err(|_| Error::Damaged(format!("the secret '{name}' is none")))?;
        Ok(secret)
    }
}

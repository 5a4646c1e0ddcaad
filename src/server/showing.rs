//! Which certificate the server shows, and its renewal while the server runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::problem::chain;
use crate::authority::{self, Authority};
use crate::clock::Clock;
use crate::tls::{self, Identity, Terminator};
use crate::units::Timestamp;

/// Where the server's certificate comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// From our own authority.
    Own,
    /// From elsewhere: certificate and key.
    Files(PathBuf, PathBuf),
}

/// Between two looks at the files or the calendar.
const LOOK: Duration = Duration::from_secs(10);

/// Keeps the certificate that is shown fresh. Cheap to clone.
#[derive(Clone)]
pub struct Showing {
    source: Source,
    authority: Arc<Authority>,
    clock: Arc<dyn Clock>,
}

/// What tells that there is something new to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Due(Timestamp),
    Files([Option<SystemTime>; 2]),
}

impl Showing {
    /// From this source.
    pub fn new(source: Source, authority: Arc<Authority>, clock: Arc<dyn Clock>) -> Self {
        Self { source, authority, clock }
    }

    /// The identity to show now.
    ///
    /// # Errors
    /// When the files cannot be used, or the authority cannot make one.
    pub async fn load(&self) -> Result<Identity, Error> {
        Ok(self.look().await?.0)
    }

    async fn look(&self) -> Result<(Identity, Seen), Error> {
        match &self.source {
            Source::Own => {
                let own = self.authority.server_identity().await?;
                let identity = Identity { chain: own.chain, key: own.key, ocsp: Some(own.ocsp) };
                Ok((identity, Seen::Due(own.renew_at)))
            }
            Source::Files(certificate, key) => {
                // Before they are read: a change in between is seen at the next look.
                let seen = self.modified();
                Ok((Identity::from_files(certificate, key)?, seen))
            }
        }
    }

    fn modified(&self) -> Seen {
        let of = |path: &PathBuf| std::fs::metadata(path).and_then(|facts| facts.modified()).ok();
        match &self.source {
            Source::Files(certificate, key) => Seen::Files([of(certificate), of(key)]),
            Source::Own => Seen::Files([None, None]),
        }
    }

    /// Loads it again. What cannot be used does not replace what works, and is told loudly.
    pub async fn reload(&self, tls: &Terminator) -> bool {
        let loaded = match self.load().await {
            Ok(identity) => tls.replace(identity).map_err(Error::Tls),
            Err(error) => Err(error),
        };
        match loaded {
            Ok(()) => tracing::info!("server certificate loaded again"),
            Err(ref error) => {
                tracing::error!(
                    error = chain(error),
                    "the new server certificate cannot be used; the old one stays in use"
                );
            }
        }
        loaded.is_ok()
    }

    /// Looks now and then whether there is something new, until closing.
    pub async fn keep(self, tls: Terminator, closing: CancellationToken) {
        let mut seen = match self.look().await {
            Ok((_, seen)) => Some(seen),
            Err(_) => None,
        };
        loop {
            tokio::select! {
                () = closing.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let changed = match seen {
                Some(Seen::Due(at)) => self.clock.now() >= at,
                Some(files @ Seen::Files(_)) => self.modified() != files,
                None => true,
            };
            if changed {
                let now = self.modified();
                self.reload(&tls).await;
                seen = match self.source {
                    Source::Files(..) => Some(now),
                    Source::Own => self.look().await.ok().map(|(_, seen)| seen),
                };
            }
        }
    }
}

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// From elsewhere, and not usable.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The authority could not make one.
    #[error("cannot make the server's certificate")]
    Authority(#[from] authority::Error),
}

//! What is kept for as long as a connection is open: who is at its other end and what that was last found to be worth.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::outside::Proxies;
use crate::authority::{self, Authority, Name, Standing};
use crate::tls::Peer;

/// One connection, shared by its requests.
#[derive(Debug)]
pub(super) struct Connection {
    /// Who is at the other end.
    pub(super) peer: Peer,
    /// Who may speak for others on it: nobody where clients speak TLS with us.
    pub(super) proxies: Option<Arc<Proxies>>,
    /// Whether the peer may be one of them.
    pub(super) is_heard: bool,
    last: ArcSwapOption<(u64, Standing)>,
}

impl Connection {
    pub(super) fn new(peer: Peer, proxies: Option<Arc<Proxies>>) -> Self {
        let is_heard = proxies.as_ref().is_some_and(|proxies| proxies.may_be_at(peer.address));
        Self { peer, proxies, is_heard, last: ArcSwapOption::empty() }
    }

    /// What the peer's certificate is worth, asked again whenever trust has changed since the last request; `None`
    /// without a certificate. Its dates are for the caller to compare with the time of the request.
    pub(super) async fn standing(
        &self,
        authority: &Authority,
    ) -> Result<Option<Arc<(u64, Standing)>>, authority::Error> {
        let Some(certificate) = &self.peer.certificate else { return Ok(None) };
        // Read before the question is asked: a change in between makes the answer stale, never wrongly fresh.
        let epoch = authority.epoch();
        if let Some(last) = self.last.load_full()
            && last.0 == epoch
        {
            return Ok(Some(last));
        }
        let standing = authority.standing(Name::Sha256(certificate.fingerprint.sha256)).await?;
        authority.hand_over(certificate.fingerprint, &standing).await?;
        let fresh = Arc::new((epoch, standing));
        // What time alone can change is asked again.
        if fresh.1.is_lasting() {
            self.last.store(Some(Arc::clone(&fresh)));
        }
        Ok(Some(fresh))
    }
}

//! Reading a link, and what a reading leaves behind.

use std::sync::Arc;

use super::{Content, Error, Lookup, Span, Store, content};
use crate::access::{Permit, Read};
use crate::link::Link;

impl Store {
    /// The bytes of a link, or a span of them; for a link that burns this is its one reading: `None` when another
    /// reader was first, or when the link has ended meanwhile.
    ///
    /// # Errors
    /// [`Error::Replaced`] when the link was given other bytes since `permit` was; others when the bytes are not what the
    /// row says.
    pub async fn read(&self, permit: Permit<Read>, span: Option<Span>) -> Result<Option<Content>, Error> {
        let link = permit.into_inner().link;
        let span = span.unwrap_or(Span { start: 0, length: link.size });
        // Opened before it is claimed: from the claim on a sweeper may delete the file, which what is open survives.
        let bytes = match self.inner.blobs.open(&link.blob, link.size, span).await {
            Ok(bytes) => bytes,
            Err(error) => {
                self.inner.cache.forget(&link.id);
                // It may have been expired or given other bytes between the look-up and now.
                return match self.find(&link.id).await? {
                    Lookup::Live(now) if now.blob == link.blob => Err(error),
                    Lookup::Live(_) => Err(Error::Replaced),
                    Lookup::Gone | Lookup::Unknown => Ok(None),
                };
            }
        };
        if !link.burn {
            return Ok(Some(Content::new(bytes, span.length, None)));
        }
        let inner = Arc::clone(&self.inner);
        let claiming = async move {
            let claimed = inner.links.claim(&link.id, inner.clock.now()).await;
            inner.cache.forget(&link.id);
            let burning = claimed?.then(|| content::Burning::new(inner, &link));
            Ok(burning.map(|burning| Content::new(bytes, span.length, Some(burning))))
        };
        self.inner.to_its_end(claiming).await
    }

    /// A link was read: one that ends by idleness lives on. Costs nothing most of the time, and never a write: what is
    /// worth noting is gathered until [`Store::write_touches`].
    pub fn touch(&self, link: &Link) {
        let now = self.inner.clock.now();
        if link.is_worth_touching(now) {
            self.inner.touches.note(&link.id, now);
        }
    }
}

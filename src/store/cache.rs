//! Rows that were read lately, so that a popular link costs no query.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;

use super::Error;
use super::ledger::{Phase, Row};
use crate::identity::Owner;
use crate::link::LinkId;

/// Rows kept at most; a row is some 300 bytes.
const ROWS: usize = 16 * 1024;

/// How many independent counters tell of changes.
const STRIPES: usize = 64;

/// Ready rows by id. Whoever changes a row makes the cache forget it after the change is durable.
pub(super) struct Cache {
    rows: quick_cache::sync::Cache<LinkId, Arc<Row>>,
    hasher: RandomState,
    changes: [AtomicU64; STRIPES],
}

impl Cache {
    pub(super) fn new() -> Self {
        let changes = std::array::from_fn(|_| AtomicU64::new(0));
        Self { rows: quick_cache::sync::Cache::new(ROWS), hasher: RandomState::new(), changes }
    }

    fn stripe(&self, id: &LinkId) -> Option<&AtomicU64> {
        let hash = usize::try_from(self.hasher.hash_one(id) % STRIPES as u64).unwrap_or_default();
        self.changes.get(hash)
    }

    fn changes(&self, id: &LinkId) -> u64 {
        self.stripe(id).map_or(0, |stripe| stripe.load(Ordering::SeqCst))
    }

    /// The row of an id, from memory or by `read`.
    pub(super) async fn get_or_read<'a>(
        &self,
        id: &LinkId,
        read: impl FnOnce() -> BoxFuture<'a, Result<Option<Row>, Error>>,
    ) -> Result<Option<Arc<Row>>, Error> {
        if let Some(row) = self.rows.get(id) {
            return Ok(Some(row));
        }
        let before = self.changes(id);
        let Some(row) = read().await?.map(Arc::new) else { return Ok(None) };
        // Whose a link of a mere certificate is may change with every change of trust, also by another process.
        let lasting = row.phase == Phase::Ready && !matches!(row.link.owner, Owner::Certificate(_) | Owner::Sha1(_));
        if lasting && self.changes(id) == before {
            self.rows.insert(id.clone(), Arc::clone(&row));
            // A change between the check and the insertion would have been too early to forget this row.
            if self.changes(id) != before {
                self.rows.remove(id);
            }
        }
        Ok(Some(row))
    }

    /// The row has changed.
    pub(super) fn forget(&self, id: &LinkId) {
        if let Some(stripe) = self.stripe(id) {
            stripe.fetch_add(1, Ordering::SeqCst);
        }
        self.rows.remove(id);
    }
}

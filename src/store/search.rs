//! Lists with conditions, for those who look for something.

use super::{Error, Store};
use crate::access::{List, Permit};
use crate::link::{Kind, Link};
use crate::units::Timestamp;

/// Which links, newest first.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Of this kind.
    pub kind: Kind,
    /// At most so many.
    pub limit: u32,
    /// So many left out first.
    pub offset: u32,
    /// Whose media type is this, or begins with it and a slash.
    pub mime: Option<String>,
    /// Made then or later.
    pub since: Option<Timestamp>,
    /// Made then or before.
    pub until: Option<Timestamp>,
    /// Only those with this in their name, ASCII letters of either case.
    pub search: Option<String>,
}

impl Store {
    /// Live links that are as asked for, and how many there are in all.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn search(&self, permit: &Permit<List>, filter: Filter) -> Result<(Vec<Link>, u64), Error> {
        // What they say of their last reading is to be true.
        self.write_touches().await?;
        self.inner.links.search(permit.owner.clone(), filter, self.inner.clock.now()).await
    }
}

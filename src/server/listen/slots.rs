//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::abuse::network;

/// Room for connections. The table of addresses never holds more entries than there are connections.
#[derive(Clone, Debug)]
pub(in crate::server) struct Slots {
    all: Arc<Semaphore>,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    per_address: usize,
}

impl Slots {
    pub(in crate::server) fn new(all: usize, per_address: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), by_address: Arc::default(), per_address }
    }

    /// Waits until there is room for one more.
    pub(super) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.all).acquire_owned().await.ok()
    }

    /// Takes a slot that counts for no address: a proxy's own.
    pub(super) fn take_uncounted(&self, room: OwnedSemaphorePermit) -> Slot {
        Slot { slots: self.clone(), address: None, _room: room }
    }

    /// Takes a slot for `address`; `None` if it has all it may have.
    pub(super) fn take(&self, address: IpAddr, room: OwnedSemaphorePermit) -> Option<Slot> {
        let address = network(address);
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_address.entry(address).or_insert(0);
        if *count >= self.per_address {
            return None;
        }
        *count += 1;
        Some(Slot { slots: self.clone(), address: Some(address), _room: room })
    }
}

/// One connection's place.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Slots,
    address: Option<IpAddr>,
    _room: OwnedSemaphorePermit,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut by_address = self.slots.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_address_has_its_share_and_gives_it_back() {
        let slots = Slots::new(10, 2);
        let take = async |address: &str| {
            let room = slots.room().await.expect("room");
            slots.take(address.parse().expect("an address"), room)
        };
        let first = take("192.0.2.1").await.expect("a slot");
        let _second = take("::ffff:192.0.2.1").await.expect("a slot");
        assert!(take("192.0.2.1").await.is_none());
        assert!(take("192.0.2.2").await.is_some());
        drop(first);
        assert!(take("192.0.2.1").await.is_some());
        let _one = take("2001:db8::1").await.expect("a slot");
        let _other = take("2001:db8::ffff").await.expect("a slot");
        assert!(take("2001:db8::2:0:0:1").await.is_none(), "one /64 is one address");
        assert_eq!(slots.by_address.lock().expect("whole").len(), 2, "addresses without connections are forgotten");
    }
}

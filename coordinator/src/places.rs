//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Descriptors that are kept for files, when connections take what the system allows.
const DESCRIPTORS_RESERVED: usize = 128;

/// Places for connections. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    taken: Arc<Mutex<Taken>>,
    total_max: usize,
    address_max: usize,
    /// Whether this machine's own addresses may have all.
    spares_this_machine: bool,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One connection's place; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    address: IpAddr,
}

impl Places {
    pub(crate) fn new(total_max: usize, address_max: usize) -> Self {
        Self { taken: Arc::default(), total_max, address_max, spares_this_machine: true }
    }

    /// The same for this machine's own addresses as for others.
    pub(crate) fn sparing_nobody(self) -> Self {
        Self { spares_this_machine: false, ..self }
    }

    /// As many as `total_max`, or fewer where the system gives this process fewer descriptors.
    pub(crate) fn as_the_system_allows(total_max: usize, address_max: usize) -> Self {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let open_files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let soft = open_files.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
        let descriptors = soft.map(|soft| soft.saturating_sub(DESCRIPTORS_RESERVED).max(1));
        Self::new(descriptors.map_or(total_max, |descriptors| total_max.min(descriptors)), address_max)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Counts change together, without anything between that could panic.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place; none is left for an address that has its share. This machine's own share is everything unless
    /// somebody says otherwise, as whole clusters are simulated on one.
    pub(crate) fn take(&self, address: IpAddr) -> Option<Place> {
        let mut taken = self.lock();
        let own = taken.by_address.get(&address).copied().unwrap_or(0);
        let is_spared = self.spares_this_machine && address.is_loopback();
        if taken.total >= self.total_max || (own >= self.address_max && !is_spared) {
            return None;
        }
        taken.total += 1;
        taken.by_address.insert(address, own + 1);
        drop(taken);
        Some(Place { places: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.total -= 1;
        if let Some(own) = taken.by_address.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let places = Places::new(3, 2);
        let [near, far, other]: [IpAddr; 3] =
            ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|text| text.parse().unwrap());

        let held = [places.take(near).unwrap(), places.take(near).unwrap()];
        assert!(places.take(near).is_none());
        let last = places.take(far).unwrap();
        assert!(places.take(other).is_none());
        drop((held, last));

        assert!(places.take(near).is_some());
        assert!(places.lock().by_address.is_empty());
    }

    #[test]
    fn this_machine_may_have_all_there_are() {
        let places = Places::new(3, 1);
        let here: IpAddr = "127.0.0.1".parse().unwrap();

        let held: Vec<_> = (0..3).map(|_| places.take(here).unwrap()).collect();

        assert!(places.take(here).is_none());
        drop(held);
    }
}

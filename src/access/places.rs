//! The places of those whose passwords are checked: bounded, and so that no client can take them all.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The places.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    most_per_source: usize,
    /// How many are taken, by source; a source that has none is not here.
    taken: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    source: IpAddr,
    taken: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

impl Places {
    pub(super) fn new(most: usize, most_per_source: usize) -> Self {
        Self { most, most_per_source, taken: Arc::default() }
    }

    /// A place for somebody at this address; `None` when all are taken, or all that one source may have.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let source = source(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_source = taken.get(&source).copied().unwrap_or_default();
        if of_source >= self.most_per_source || taken.values().sum::<usize>() >= self.most {
            return None;
        }
        taken.insert(source, of_source + 1);
        Some(Place { source, taken: self.taken.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.source) {
            Some(places) if *places > 1 => *places -= 1,
            Some(_) | None => drop(taken.remove(&self.source)),
        }
    }
}

/// Whom an address stands for: with IPv6 everybody has a network of 64 bits to choose addresses from.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(places: &Places, address: &str) -> Option<Place> {
        places.take(address.parse().unwrap())
    }

    #[test]
    fn one_source_takes_no_more_than_its_share_and_all_no_more_than_there_are() {
        let places = Places::new(3, 2);
        let first = take(&places, "192.0.2.1").unwrap();
        let _second = take(&places, "::ffff:192.0.2.1").unwrap();
        assert!(take(&places, "192.0.2.1").is_none());
        let _other = take(&places, "2001:db8::1").unwrap();
        assert!(take(&places, "192.0.2.2").is_none());
        drop(first);
        let _third = take(&places, "2001:db8::ffff").unwrap();
        assert!(take(&places, "2001:db8::2").is_none());
    }

    #[test]
    fn a_place_that_is_left_is_free_again_and_its_source_forgotten() {
        let places = Places::new(3, 2);
        let held = [take(&places, "192.0.2.1"), take(&places, "192.0.2.1")];
        drop(held);
        assert!(places.taken.lock().unwrap().is_empty());
    }
}

//! Random sources that depend on the seed and on what they are for, and on nothing else.
//!
//! Every operation and every answer has a source of its own, so that what one request draws
//! never depends on which other requests came between.

use rand::SeedableRng;
use rand::rngs::StdRng;

/// The odd number nearest to 2⁶⁴ divided by the golden ratio: its multiples spread evenly over all 64-bit numbers.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// A seed, from which further seeds and random sources are derived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed(u64);

impl Seed {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed of the `number`th thing below this one. Different numbers give different seeds.
    pub(super) const fn child(self, number: u64) -> Self {
        Self(mix(self.0.wrapping_add(SPREAD.wrapping_mul(number.wrapping_add(1)))))
    }

    pub(super) const fn number(self) -> u64 {
        self.0
    }

    pub(super) fn source(self) -> StdRng {
        StdRng::seed_from_u64(self.0)
    }
}

/// The output step of SplitMix64: neighbouring inputs give unrelated outputs, and no two inputs the same one.
const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn siblings_differ_and_the_same_path_leads_to_the_same_seed() {
        let seeds: BTreeSet<u64> = (0..10_000).map(|n| Seed::new(7).child(n).number()).collect();
        assert_eq!(seeds.len(), 10_000);
        assert_eq!(Seed::new(7).child(3).child(1).number(), Seed::new(7).child(3).child(1).number());
        assert_ne!(Seed::new(7).child(3).number(), Seed::new(8).child(3).number());
    }
}

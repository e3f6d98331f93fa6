//! The random numbers of the tests.

#![allow(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "scaled numbers are rounded")]

/// A seeded generator (`SplitMix64`).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % most
    }

    pub(super) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// Each order of magnitude is equally likely.
    pub(super) fn scaled(&mut self, least: u64, most: u64) -> u64 {
        let scale = (most as f64 / least as f64).powf(self.below(1001) as f64 / 1000.0);
        (least as f64 * scale) as u64
    }

    pub(super) fn one_of<V: Copy>(&mut self, values: &[V]) -> V {
        values[self.below(values.len() as u64) as usize]
    }

    pub(super) fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

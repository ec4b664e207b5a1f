//! Random choices that a seed decides, equal on every machine: SplitMix64 (Steele et al., "Fast
//! Splittable Pseudorandom Number Generators", OOPSLA 2014).

/// A generator of choices.
pub(super) struct Dice {
    state: u64,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `least` to `most`, both included.
    pub(super) fn between(&mut self, least: usize, most: usize) -> usize {
        let span = (most.saturating_sub(least) as u64).saturating_add(1);
        least + usize::try_from(self.next() % span).unwrap_or_default()
    }

    /// True once in that many times.
    pub(super) fn one_in(&mut self, times: usize) -> bool {
        self.between(1, times.max(1)) == 1
    }

    /// One of the list; none when it is empty.
    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let last = from.len().checked_sub(1)?;
        from.get(self.between(0, last))
    }
}

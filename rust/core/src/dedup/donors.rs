//! Optimal densification (Shrivastava 2017): from which full bin an empty one borrows.

use std::sync::OnceLock;

use super::sketch::EMPTY;
use crate::ngram::mix;

/// Up to this many bins, turns fit a byte and the tables fit the cache.
const TABLED: usize = 256;

/// For every bin a random order of all bins in which it asks for a value. The order depends on the bin
/// alone, so rows whose bins agree borrow alike, and each full bin is as likely as any other to lend.
pub(super) struct Donors {
    bins: usize,
    seed: u64,
    tables: OnceLock<Tables>,
}

/// Both directions of the orders, a row of `bins` bytes for each bin.
struct Tables {
    /// `asked[bin][turn]` is the bin that `bin` asks at that turn.
    asked: Vec<u8>,
    /// `turns[donor][bin]` is the turn at which `bin` asks `donor`.
    turns: Vec<u8>,
}

impl Donors {
    pub(super) fn new(bins: usize, seed: u64) -> Self {
        Self { bins, seed, tables: OnceLock::new() }
    }

    /// Fills the empty bins of a sketch of which `own` bins, at least one, are full.
    pub(super) fn fill(&self, sketch: &mut [u32], own: usize) {
        if own == self.bins {
            return;
        }
        if self.bins > TABLED {
            return self.fill_by_hash(sketch);
        }
        let tables = self.tables.get_or_init(|| self.tables());
        // Asking one by one costs more the fewer are full; then the full ones are gone through instead.
        if 2 * (self.bins - own) < own {
            tables.fill_by_asking(sketch);
        } else {
            tables.fill_by_offering(sketch);
        }
    }

    fn tables(&self) -> Tables {
        let bins = self.bins;
        let mut tables = Tables { asked: vec![0; bins * bins], turns: vec![0; bins * bins] };
        let mut state = self.seed;
        for (bin, asked) in tables.asked.chunks_exact_mut(bins).enumerate() {
            asked.iter_mut().enumerate().for_each(|(turn, donor)| *donor = turn as u8);
            for last in (1..bins).rev() {
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                asked.swap(last, ((mix(state) >> 32) as usize * (last + 1)) >> 32);
            }
            for (turn, &donor) in asked.iter().enumerate() {
                tables.turns[usize::from(donor) * bins + bin] = turn as u8;
            }
        }
        tables
    }

    /// Without tables: draws until a full bin comes up.
    fn fill_by_hash(&self, sketch: &mut [u32]) {
        let known = sketch.to_vec();
        for (bin, value) in sketch.iter_mut().enumerate().filter(|(_, value)| **value == EMPTY) {
            let mut state = mix(self.seed ^ (bin as u64 + 1));
            while *value == EMPTY {
                *value = known[((state >> 32) as usize * self.bins) >> 32];
                state = mix(state.wrapping_add(0x9e37_79b9_7f4a_7c15));
            }
        }
    }
}

impl Tables {
    fn fill_by_asking(&self, sketch: &mut [u32]) {
        let bins = sketch.len();
        let mut known = [EMPTY; TABLED];
        known[..bins].copy_from_slice(sketch);
        let empty =
            sketch.iter_mut().zip(self.asked.chunks_exact(bins)).filter(|(value, _)| **value == EMPTY);
        for (value, asked) in empty {
            let full = asked.iter().map(|&donor| known[usize::from(donor)]).find(|&known| known != EMPTY);
            *value = full.unwrap_or(EMPTY);
        }
    }

    /// The same donors: the full bin with the earliest turn, which is a minimum over rows of bytes.
    fn fill_by_offering(&self, sketch: &mut [u32]) {
        let bins = sketch.len();
        let mut known = [EMPTY; TABLED];
        known[..bins].copy_from_slice(sketch);
        // A list of the full ones first: no branch on what is as good as random.
        let (mut full, mut count) = ([0_u8; TABLED], 0_usize);
        for (bin, &value) in sketch.iter().enumerate() {
            full[count & (TABLED - 1)] = bin as u8;
            count += usize::from(value != EMPTY);
        }
        let mut earliest = [u8::MAX; TABLED];
        let earliest = &mut earliest[..bins];
        for &donor in &full[..count] {
            let turns = &self.turns[usize::from(donor) * bins..][..bins];
            earliest.iter_mut().zip(turns).for_each(|(least, &turn)| *least = (*least).min(turn));
        }
        for ((value, asked), &turn) in sketch.iter_mut().zip(self.asked.chunks_exact(bins)).zip(&*earliest) {
            let borrowed = known[usize::from(asked[usize::from(turn)])];
            *value = if *value == EMPTY { borrowed } else { *value };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_and_offering_find_the_same_donors() {
        for bins in [1, 2, 100, 128, 256] {
            let tables = Donors::new(bins, 7).tables();
            for own in [1, bins.div_ceil(8), bins.div_ceil(2), bins] {
                let mut asking: Vec<u32> = vec![EMPTY; bins];
                (0..own).for_each(|i| asking[(mix(i as u64) % bins as u64) as usize] = i as u32);
                let (known, mut offering) = (asking.clone(), asking.clone());
                tables.fill_by_asking(&mut asking);
                tables.fill_by_offering(&mut offering);
                assert_eq!(asking, offering);
                assert!(asking.iter().zip(&known).all(|(value, known)| *known == EMPTY || value == known));
                assert!(!asking.contains(&EMPTY));
            }
        }
    }

    #[test]
    fn many_bins_are_filled_without_tables() {
        let mut sketch = vec![EMPTY; 1000];
        (sketch[3], sketch[700]) = (1, 2);
        Donors::new(1000, 7).fill(&mut sketch, 2);
        let ones = sketch.iter().filter(|&&value| value == 1).count();
        assert!((400..600).contains(&ones) && !sketch.contains(&EMPTY), "{ones}");
    }
}

//! The exact Jaccard similarity of two rows as sets of n-grams.

use rayon::prelude::*;

use crate::error::Error;
use crate::ngram::{fold, for_each_window, hash_row, hashes};
use crate::rows::Stop;

/// Windows of a pair that one table takes; longer pairs are counted class by class, in parallel.
const TABLE: usize = 1 << 21;

/// Calls `visit` with a number for every n-gram of a row that is not empty, in no order; a row shorter
/// than `n` is one shingle, itself.
pub(super) fn for_each_shingle(tokens: &[u32], n: usize, mut visit: impl FnMut(u64)) {
    if tokens.len() < n {
        visit(hash_row(tokens));
    } else {
        for_each_window(tokens, n, visit);
    }
}

/// The same in order, until `visit` has seen enough and says false; whether it saw all.
pub(super) fn for_each_of(tokens: &[u32], n: usize, mut visit: impl FnMut(u64) -> bool) -> bool {
    if tokens.len() < n { visit(hash_row(tokens)) } else { hashes(tokens, n).all(visit) }
}

/// Windows of a row, which are at least as many as its shingles.
fn windows(tokens: &[u32], n: usize) -> usize {
    (tokens.len() + 1).saturating_sub(n).max(1)
}

/// Who has a shingle: the two lowest bits of a slot. The others are the shingle's hash.
const WHO: u64 = 3;
const NOBODY: u64 = 0;
const FIRST: u64 = 1;
const BOTH: u64 = 2;
const SECOND: u64 = 3;

/// Who has it once the second row does, two bits for each who had it before: no branch to mispredict.
const AND_SECOND: u64 =
    SECOND << (2 * NOBODY) | BOTH << (2 * FIRST) | BOTH << (2 * BOTH) | SECOND << (2 * SECOND);

/// Sizes of two sets and of what they share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    first: usize,
    common: usize,
    second_only: usize,
}

impl Counts {
    fn add(self, other: Self) -> Self {
        Self {
            first: self.first + other.first,
            common: self.common + other.common,
            second_only: self.second_only + other.second_only,
        }
    }

    fn reach(self, threshold: f64) -> bool {
        self.common as f64 / (self.first + self.second_only) as f64 >= threshold
    }
}

/// Room in which pairs of rows are compared, used again for the next pair.
#[derive(Default)]
pub(super) struct Comparer {
    slots: Vec<u64>,
}

impl Comparer {
    /// Whether two rows, not empty, have a Jaccard similarity of at least `threshold`.
    pub(super) fn reaches(
        &mut self,
        pair: [&[u32]; 2],
        n: usize,
        threshold: f64,
        stop: &Stop,
    ) -> Result<bool, Error> {
        let most = pair.map(|tokens| windows(tokens, n));
        let classes = (most[0] + most[1]).div_ceil(TABLE);
        if classes == 1 {
            return Ok(self.count(pair, n, most[0].max(most[1]), |_| true).reach(threshold));
        }
        // Shingles of different classes are different: the counts of the classes add up.
        let counts = (0..classes as u64)
            .into_par_iter()
            .map_init(Self::default, |own, class| {
                stop.check()?;
                let in_class = |hash: u64| ((hash & 0xffff_ffff) * classes as u64) >> 32 == class;
                Ok(own.count(pair, n, most[0].max(most[1]) / classes, in_class))
            })
            .try_reduce(Counts::default, |a, b| Ok(a.add(b)))?;
        Ok(counts.reach(threshold))
    }

    /// Counts the shingles that `taken` accepts, about `expected` of either row.
    fn count(&mut self, pair: [&[u32]; 2], n: usize, expected: usize, taken: impl Fn(u64) -> bool) -> Counts {
        self.start(expected);
        let mut counts = Counts::default();
        for_each_shingle(pair[0], n, |window| {
            let hash = slot_hash(window);
            if taken(hash) {
                let slot = self.find(hash);
                counts.first += usize::from(*slot == 0);
                *slot = (hash & !WHO) | FIRST;
                if counts.first > self.slots.len() / 2 {
                    self.grow();
                }
            }
        });
        let mut held = counts.first;
        for_each_shingle(pair[1], n, |window| {
            let hash = slot_hash(window);
            if taken(hash) {
                let slot = self.find(hash);
                let who = *slot & WHO;
                counts.common += usize::from(who == FIRST);
                counts.second_only += usize::from(who == NOBODY);
                held += usize::from(who == NOBODY);
                *slot = (hash & !WHO) | (AND_SECOND >> (2 * who)) & WHO;
                if held > self.slots.len() / 2 {
                    self.grow();
                }
            }
        });
        counts
    }

    /// Empties the slots, enough of them for two rows of `expected` windows that are alike.
    fn start(&mut self, expected: usize) {
        self.slots.clear();
        self.slots.resize((4 * expected).next_power_of_two().max(16), 0);
    }

    /// The slot that has `hash`, or the empty one that waits for it.
    fn find(&mut self, hash: u64) -> &mut u64 {
        let last = self.slots.len() - 1;
        let mut at = (hash >> 32) as usize & last;
        while self.slots[at] != 0 && (self.slots[at] ^ hash) & !WHO != 0 {
            at = (at + 1) & last;
        }
        &mut self.slots[at]
    }

    fn grow(&mut self) {
        let held = std::mem::take(&mut self.slots);
        self.slots.resize(2 * held.len(), 0);
        for slot in held.into_iter().filter(|&slot| slot != 0) {
            *self.find(slot) = slot;
        }
    }
}

/// What stands for a shingle in a slot: one multiplication more spreads the window's sum.
fn slot_hash(window: u64) -> u64 {
    fold(window ^ 0x2545_f491_4f6c_dd1d, 0xd6e8_feb8_6659_fd93)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ngram::mix;

    fn reaches(pair: [&[u32]; 2], n: usize, threshold: f64) -> bool {
        Comparer::default().reaches(pair, n, threshold, &Stop::new()).unwrap()
    }

    fn counts(pair: [&[u32]; 2], n: usize) -> (usize, usize, usize) {
        let counts = Comparer::default().count(pair, n, 1, |_| true);
        (counts.first, counts.common, counts.second_only)
    }

    #[test]
    fn repeated_ngrams_count_once() {
        assert_eq!(counts([&[1, 1, 1, 1], &[1, 1]], 2), (1, 1, 0));
        assert_eq!(counts([&[1, 2, 3, 4, 1, 2], &[9, 1, 2, 9, 1, 2]], 2), (4, 1, 2));
    }

    #[test]
    fn a_short_row_is_one_shingle_of_its_own_length() {
        assert_eq!(counts([&[1, 2], &[1, 2, 3]], 5), (1, 0, 1));
        assert_eq!(counts([&[1, 2], &[1, 2]], 5), (1, 1, 0));
        assert_eq!(counts([&[1, 2], &[1, 2]], 2), (1, 1, 0));
    }

    #[test]
    fn jaccard_is_common_over_all() {
        assert!(reaches([&[1, 2, 3, 4], &[5, 4, 3, 2]], 1, 0.6));
        assert!(!reaches([&[1, 2, 3, 4], &[5, 4, 3, 2]], 1, 0.61));
        assert!(reaches([&[1], &[1]], 1, 1.0));
        assert!(!reaches([&[1], &[1, 2, 3]], 1, 0.5));
    }

    #[test]
    fn counts_equal_those_of_sets() {
        use std::collections::HashSet;
        for (length, n) in [(30, 1), (500, 2), (3000, 5)] {
            let row = |seed: u64| -> Vec<u32> {
                (0..length).map(|i| (mix(seed ^ (i as u64 / 40)) ^ mix(i as u64)) as u32 % 5).collect()
            };
            let (a, b) = (row(1), row(2));
            let set =
                |tokens: &[u32]| -> HashSet<Vec<u32>> { tokens.windows(n).map(<[u32]>::to_vec).collect() };
            let (sa, sb) = (set(&a), set(&b));
            let wanted = (sa.len(), sa.intersection(&sb).count(), sb.difference(&sa).count());
            assert_eq!(counts([&a, &b], n), wanted);
        }
    }

    #[test]
    fn long_rows_are_counted_in_classes() {
        let a: Vec<u32> = (0..TABLE as u32).collect();
        // J = 7/9 with one-token shingles.
        let b: Vec<u32> = a.iter().map(|token| token + TABLE as u32 / 8).collect();
        assert!(reaches([&a, &b], 1, 0.7777));
        assert!(!reaches([&a, &b], 1, 0.7778));
    }
}

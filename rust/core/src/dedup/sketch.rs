//! One-permutation `MinHash` (Li, Owen, Zhang 2012) with optimal densification (Shrivastava 2017).

use super::shingle::shingle_hashes;
use crate::ngram::mix;

/// No shingle fell into the bin; a value is 32 bits wide, so none is equal to this.
const EMPTY: u64 = u64::MAX;

/// Sketches rows: the smallest hash in each of `bins` bins.
pub(super) struct Sketcher {
    bins: usize,
    seed: u64,
}

impl Sketcher {
    pub(super) fn new(bins: usize, seed: u64) -> Self {
        // Spread, so that seeds 0 and 1 have nothing in common.
        Self { bins, seed: mix(seed ^ 0x6a09_e667_f3bc_c909) }
    }

    /// Puts the sketch of a row that is not empty into `sketch`.
    pub(super) fn sketch(&self, tokens: &[u32], ngram: usize, sketch: &mut Vec<u64>) {
        sketch.clear();
        sketch.resize(self.bins, EMPTY);
        for hash in shingle_hashes(tokens, ngram) {
            let permuted = mix(hash ^ self.seed);
            // The upper half picks the bin, the lower half is the value in it.
            let bin = ((permuted >> 32) * self.bins as u64) >> 32;
            let smallest = &mut sketch[bin as usize];
            *smallest = (*smallest).min(permuted & 0xffff_ffff);
        }
        self.fill_empty(sketch);
    }

    /// An empty bin borrows from a full one; which it asks depends on the bin alone, so rows whose
    /// bins agree borrow alike.
    fn fill_empty(&self, sketch: &mut [u64]) {
        let full: Vec<bool> = sketch.iter().map(|&value| value != EMPTY).collect();
        for bin in (0..self.bins).filter(|&bin| !full[bin]) {
            let mut state = mix(self.seed ^ (bin as u64 + 1));
            let donor = loop {
                let candidate = (((state >> 32) * self.bins as u64) >> 32) as usize;
                if full[candidate] {
                    break candidate;
                }
                state = mix(state.wrapping_add(0x9e37_79b9_7f4a_7c15));
            };
            sketch[bin] = sketch[donor];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Share of bins in which two rows of `n` one-token shingles agree, `common` of them shared.
    fn agreement(n: u32, common: u32, seeds: u64) -> f64 {
        let rows: [Vec<u32>; 2] = [(0..n).collect(), (n - common..2 * n - common).collect()];
        let mut pair = [Vec::new(), Vec::new()];
        let agreeing: usize = (0..seeds)
            .map(|seed| {
                let sketcher = Sketcher::new(128, seed);
                for (row, sketch) in rows.iter().zip(&mut pair) {
                    sketcher.sketch(row, 1, sketch);
                }
                pair[0].iter().zip(&pair[1]).filter(|(x, y)| x == y).count()
            })
            .sum();
        agreeing as f64 / (128 * seeds) as f64
    }

    #[test]
    fn agreement_estimates_jaccard_for_short_and_long_rows() {
        for (n, common) in [(5, 4), (40, 30), (1000, 900), (1000, 100)] {
            let jaccard = f64::from(common) / f64::from(2 * n - common);
            let estimate = agreement(n, common, 400);
            assert!((estimate - jaccard).abs() < 0.03, "{n} {common}: {estimate} for {jaccard}");
        }
    }

    #[test]
    fn one_shingle_fills_every_bin() {
        let mut sketch = Vec::new();
        Sketcher::new(128, 0).sketch(&[1, 2], 5, &mut sketch);
        assert!(sketch.iter().all(|&value| value == sketch[0] && value != EMPTY));
    }
}

//! One-permutation `MinHash` (Li, Owen, Zhang 2012).

use rayon::prelude::*;

use super::donors::Donors;
use super::jaccard::for_each_shingle;
use crate::error::Error;
use crate::ngram::{fold, mix};
use crate::rows::Stop;

/// No shingle fell into the bin. A hash that is equal to this leaves its bin empty, in any row alike.
pub(super) const EMPTY: u32 = u32::MAX;

/// Rows longer than this are sketched in stretches of this many windows, by as many threads as are free.
const STRETCH: usize = 1 << 16;

/// Sketches rows: the smallest hash in each of `bins` bins.
pub(super) struct Sketcher {
    ngram: usize,
    offset: u64,
    factor: u64,
    donors: Donors,
}

impl Sketcher {
    pub(super) fn new(bins: usize, ngram: usize, seed: u64) -> Self {
        // Spread, so that seeds 0 and 1 have nothing in common.
        let seed = mix(seed ^ 0x6a09_e667_f3bc_c909);
        Self {
            ngram,
            offset: mix(seed ^ 0xbb67_ae85_84ca_a73b),
            factor: mix(seed ^ 0x3c6e_f372_fe94_f82b) | 1,
            donors: Donors::new(bins, mix(seed ^ 0xa54f_f53a_5f1d_36f1)),
        }
    }

    /// Puts the sketch of a row that is not empty into `sketch`, as long as there are bins, and says
    /// how many bins are its own.
    pub(super) fn sketch(&self, tokens: &[u32], sketch: &mut [u32], stop: &Stop) -> Result<usize, Error> {
        sketch.fill(EMPTY);
        stop.check()?;
        if tokens.len() <= 2 * STRETCH {
            self.add(tokens, sketch);
        } else {
            self.add_in_parallel(tokens, sketch, stop)?;
        }
        let own = sketch.iter().filter(|&&value| value != EMPTY).count();
        self.donors.fill(sketch, own);
        Ok(own)
    }

    /// Adds the shingles of `tokens` to bins that are empty or have others' smallest hashes.
    pub(super) fn add(&self, tokens: &[u32], sketch: &mut [u32]) {
        // The upper half picks the bin, the lower half is the value in it. Multiplications are what
        // bounds the loop; a power of two of bins, the usual case, does without one of them.
        let bins = sketch.len() as u64;
        if bins.is_power_of_two() {
            let shift = 32 - bins.ilog2();
            self.add_to(tokens, sketch, |upper| upper >> shift);
        } else {
            self.add_to(tokens, sketch, |upper| (upper * bins) >> 32);
        }
    }

    fn add_to(&self, tokens: &[u32], sketch: &mut [u32], bin: impl Fn(u64) -> u64 + Copy) {
        let (offset, factor) = (self.offset, self.factor);
        for_each_shingle(tokens, self.ngram, move |window| {
            // Twice: windows that count up would leave once a regular pattern, and far from random minima.
            let permuted = fold(fold(window ^ offset, factor), factor ^ offset);
            let smallest = &mut sketch[bin(permuted >> 32) as usize];
            *smallest = (*smallest).min(permuted as u32);
        });
    }

    /// The smallest of the whole is the smallest of the stretches' smallest, whoever takes which.
    fn add_in_parallel(&self, tokens: &[u32], sketch: &mut [u32], stop: &Stop) -> Result<(), Error> {
        let windows = (tokens.len() + 1).saturating_sub(self.ngram).max(1);
        let empty = || vec![EMPTY; sketch.len()];
        let found = (0..windows.div_ceil(STRETCH))
            .into_par_iter()
            .try_fold(empty, |mut part, stretch| {
                stop.check()?;
                let start = stretch * STRETCH;
                let end = tokens.len().min((start + STRETCH - 1).saturating_add(self.ngram));
                self.add(&tokens[start..end], &mut part);
                Ok(part)
            })
            .try_reduce(empty, |mut a, b| {
                a.iter_mut().zip(&b).for_each(|(a, &b)| *a = (*a).min(b));
                Ok(a)
            })?;
        sketch.copy_from_slice(&found);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sketch(sketcher: &Sketcher, tokens: &[u32], bins: usize) -> (Vec<u32>, usize) {
        let mut sketch = vec![0; bins];
        let own = sketcher.sketch(tokens, &mut sketch, &Stop::new()).unwrap();
        (sketch, own)
    }

    /// Share of bins in which two rows of `n` one-token shingles agree, `common` of them shared.
    fn agreement(n: u32, common: u32, seeds: u64) -> f64 {
        let rows: [Vec<u32>; 2] = [(0..n).collect(), (n - common..2 * n - common).collect()];
        let agreeing: usize = (0..seeds)
            .map(|seed| {
                let sketcher = Sketcher::new(128, 1, seed);
                let [a, b] = [&rows[0], &rows[1]].map(|row| sketch(&sketcher, row, 128).0);
                a.iter().zip(&b).filter(|(x, y)| x == y).count()
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
        let (sketch, own) = sketch(&Sketcher::new(128, 5, 0), &[1, 2], 128);
        assert_eq!(own, 1);
        assert!(sketch.iter().all(|&value| value == sketch[0] && value != EMPTY));
    }

    #[test]
    fn a_long_row_in_stretches_has_the_sketch_of_the_whole() {
        let tokens: Vec<u32> = (0..3 * STRETCH as u32 + 7).map(|i| mix(u64::from(i)) as u32).collect();
        let sketcher = Sketcher::new(100, 5, 3);
        let (mut whole, own) = (vec![EMPTY; 100], 100);
        sketcher.add(&tokens, &mut whole);
        assert_eq!(sketch(&sketcher, &tokens, 100), (whole, own));
    }
}

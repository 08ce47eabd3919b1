//! Finer sketches, made only for rows in a crowd, where the coarse ones cannot tell who is alike.

use std::sync::OnceLock;

use super::sketch::{EMPTY, Sketcher};

/// Bins of a fine sketch, a byte each: with what else is kept, a row stays below 1 KiB.
const BINS: usize = 768;

/// Fine sketches, each made when it is first asked for.
pub(super) struct FineSketches<'a> {
    documents: &'a [&'a [u32]],
    sketcher: Sketcher,
    sketches: Vec<OnceLock<Box<[u8]>>>,
}

impl<'a> FineSketches<'a> {
    pub(super) fn new(documents: &'a [&'a [u32]], ngram: usize, seed: u64) -> Self {
        let sketches = documents.iter().map(|_| OnceLock::new()).collect();
        Self { documents, sketcher: Sketcher::new(BINS, ngram, seed), sketches }
    }

    /// Whether fine sketches are worth making for two documents: short ones are compared exactly in less
    /// time than it takes to sketch them finely.
    pub(super) fn suit(&self, a: u32, b: u32) -> bool {
        [a, b].iter().all(|&document| self.documents[document as usize].len() >= BINS / 2)
    }

    /// Not 0, which is an empty bin.
    fn make(&self, document: u32) -> Box<[u8]> {
        let mut bins = [EMPTY; BINS];
        self.sketcher.add(self.documents[document as usize], &mut bins);
        bins.iter().map(|&value| if value == EMPTY { 0 } else { (value % 255) as u8 + 1 }).collect()
    }

    fn sketch(&self, document: u32) -> &[u8] {
        self.sketches[document as usize].get_or_init(|| self.make(document))
    }

    /// Whether the estimated similarity of two documents is so many standard deviations above (below,
    /// if negative) that of rows at the threshold, or better.
    pub(super) fn reach(&self, a: u32, b: u32, threshold: f64, deviations: f64) -> bool {
        let (agreeing, filled) = agreeing(self.sketch(a), self.sketch(b));
        let filled = filled as f64;
        let wanted = threshold + deviations * (threshold * (1.0 - threshold) / filled).sqrt();
        // One bin in 255 that differs passes for equal, which takes less than a quarter of a deviation.
        agreeing as f64 >= wanted.min(1.0) * filled
    }
}

/// Bins that are full in both and equal, and bins that are full in either.
fn agreeing(a: &[u8], b: &[u8]) -> (usize, usize) {
    let (mut agreeing, mut filled) = ([0_u8; 16], [0_u8; 16]);
    // 48 rounds at most fit the byte of a lane.
    for (a, b) in a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0) {
        for lane in 0..16 {
            let full = u8::from(a[lane] | b[lane] != 0);
            filled[lane] += full;
            agreeing[lane] += full & u8::from(a[lane] == b[lane]);
        }
    }
    let sum = |lanes: [u8; 16]| lanes.iter().map(|&lane| usize::from(lane)).sum();
    (sum(agreeing), sum(filled))
}

/// Work of comparing two fine sketches, in the unit of one token's sketching.
pub(super) const WORK: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ngram::mix;

    #[test]
    fn the_estimate_is_sharp_for_tokens_that_count_up_too() {
        let scattered = |token: u32| mix(u64::from(token)) as u32;
        for (length, shared) in [(600_u32, 540), (5000, 4500)] {
            for token in [|token| token, scattered] {
                // J = 0.818.
                let starts = [0, length - shared];
                let rows: [Vec<u32>; 2] = starts.map(|start| (start..start + length).map(token).collect());
                let documents = [&rows[0][..], &rows[1][..]];
                for seed in 0..50 {
                    let fine = FineSketches::new(&documents, 1, seed);
                    let within = fine.reach(0, 1, 0.82, -4.0) && !fine.reach(0, 1, 0.82, 4.0);
                    assert!(within, "{length} {seed}");
                }
            }
        }
    }
}

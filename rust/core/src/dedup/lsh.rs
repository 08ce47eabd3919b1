//! Banding: which rows share a bucket and are worth comparing.

use super::meet::repeated;
use crate::ngram::mix;

/// Wanted probability of proposing a pair that is alike exactly to the threshold.
const RECALL: f64 = 0.997;

/// A sketch cut into bands of equal width; two rows meet where one band agrees in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Banding {
    pub(super) bands: usize,
    /// A factor for each value of a band: multilinear hashing, one multiplication a value.
    factors: Vec<u64>,
}

impl Banding {
    /// The widest bands, which propose the fewest wrong pairs, that still propose a pair of
    /// similarity `threshold` with probability [`RECALL`]: `1 - (1 - threshold^width)^bands`.
    pub(super) fn choose(num_hashes: usize, threshold: f64) -> Self {
        let recall = |width: usize| {
            let bands = (num_hashes / width) as f64;
            1.0 - (1.0 - threshold.powf(width as f64)).powf(bands)
        };
        let width = (1..=num_hashes).rev().find(|&width| recall(width) >= RECALL).unwrap_or(1);
        Self { bands: num_hashes / width, factors: (1..=width as u64).map(|at| mix(at) | 1).collect() }
    }

    /// One key a band.
    pub(super) fn keys(&self, sketch: &[u32]) -> impl Iterator<Item = u32> {
        let key = |band: &[u32]| {
            let terms =
                band.iter().zip(&self.factors).map(|(&value, &factor)| factor.wrapping_mul(u64::from(value)));
            (terms.fold(0, u64::wrapping_add) >> 32) as u32
        };
        sketch.chunks_exact(self.factors.len()).take(self.bands).map(key)
    }
}

/// A document in a bucket: the key in the upper half, so that buckets sort together, its number below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry(u64);

impl Entry {
    fn new(key: u32, document: u32) -> Self {
        Self(u64::from(key) << 32 | u64::from(document))
    }

    pub(super) fn document(self) -> u32 {
        self.0 as u32
    }

    pub(super) fn meets(self, other: Self) -> bool {
        self.0 >> 32 == other.0 >> 32
    }
}

/// The documents that may meet another in a band, given the keys of all: those of one bucket next to
/// one another and in row order. Most documents that meet nobody are left out.
pub(super) fn buckets(keys: impl ExactSizeIterator<Item = u32> + Clone) -> Vec<Entry> {
    let mut entries =
        repeated(keys.enumerate().map(|(document, key)| (key, Entry::new(key, document as u32))));
    entries.sort_unstable();
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(banding: &Banding) -> (usize, usize) {
        (banding.bands, banding.factors.len())
    }

    #[test]
    fn the_default_finds_a_pair_at_the_threshold_with_0_998() {
        assert_eq!(shape(&Banding::choose(128, 0.8)), (21, 6));
    }

    #[test]
    fn extremes() {
        assert_eq!(shape(&Banding::choose(128, 1.0)), (1, 128));
        assert_eq!(shape(&Banding::choose(128, 0.01)), (128, 1));
        assert_eq!(shape(&Banding::choose(1, 0.5)), (1, 1));
    }

    #[test]
    fn rows_meet_where_a_band_agrees() {
        let banding = Banding { bands: 2, factors: vec![mix(1), mix(2)] };
        let [a, b] = [[1, 2, 3, 4], [1, 2, 4, 3]].map(|sketch| banding.keys(&sketch).collect::<Vec<_>>());
        assert!(a[0] == b[0] && a[1] != b[1]);
        let met = buckets([a[0], 7, b[0]].into_iter());
        let together: Vec<u32> = met
            .iter()
            .filter(|entry| entry.meets(Entry::new(a[0], 0)))
            .map(|entry| entry.document())
            .collect();
        assert_eq!(together, vec![0, 2]);
    }
}

//! Banding: which rows share a bucket and are worth comparing.

use rayon::prelude::*;

use crate::ngram::mix;

/// Wanted probability of proposing a pair that is alike exactly to the threshold.
const RECALL: f64 = 0.997;

/// A sketch cut into bands of equal width; two rows meet where one band agrees in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Banding {
    pub(super) bands: usize,
    width: usize,
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
        Self { bands: num_hashes / width, width }
    }

    /// One key a band.
    pub(super) fn keys(&self, sketch: &[u64]) -> Vec<u64> {
        let bands = sketch.chunks_exact(self.width).take(self.bands);
        bands
            .map(|band| band.iter().fold(0, |key, &value| mix(key ^ value.wrapping_add(0x9e37_79b9))))
            .collect()
    }
}

/// The documents in order of their key in `band`, equal keys next to one another and in row order.
pub(super) fn buckets(keys: &[Vec<u64>], band: usize) -> Vec<(u64, u32)> {
    let mut sorted: Vec<(u64, u32)> =
        keys.par_iter().enumerate().map(|(document, keys)| (keys[band], document as u32)).collect();
    sorted.par_sort_unstable();
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_finds_a_pair_at_the_threshold_with_0_998() {
        assert_eq!(Banding::choose(128, 0.8), Banding { bands: 21, width: 6 });
    }

    #[test]
    fn extremes() {
        assert_eq!(Banding::choose(128, 1.0), Banding { bands: 1, width: 128 });
        assert_eq!(Banding::choose(128, 0.01), Banding { bands: 128, width: 1 });
        assert_eq!(Banding::choose(1, 0.5), Banding { bands: 1, width: 1 });
    }

    #[test]
    fn rows_meet_where_a_band_agrees() {
        let banding = Banding { bands: 2, width: 2 };
        let (a, b) = (banding.keys(&[1, 2, 3, 4]), banding.keys(&[1, 2, 4, 3]));
        assert!(a[0] == b[0] && a[1] != b[1]);
        let sorted = buckets(&[a, b], 0);
        assert_eq!(sorted.iter().map(|entry| entry.1).collect::<Vec<_>>(), vec![0, 1]);
    }
}

//! Rows as sets of n-grams.

use std::cmp::Ordering;

use crate::ngram::{hash_row, hashes};

/// Hashes of the n-grams of a row that is not empty; a row shorter than `n` is one shingle, itself.
pub(super) fn shingle_hashes(tokens: &[u32], n: usize) -> impl Iterator<Item = u64> {
    let whole = (tokens.len() < n).then(|| hash_row(tokens));
    whole.into_iter().chain(hashes(tokens, n))
}

/// The set of shingles, as sorted distinct hashes.
pub(super) fn shingles(tokens: &[u32], n: usize) -> Vec<u64> {
    let mut set: Vec<u64> = shingle_hashes(tokens, n).collect();
    set.sort_unstable();
    set.dedup();
    set
}

/// Whether two sets (sorted, not empty) have a Jaccard similarity of at least `threshold`.
pub(super) fn jaccard_reaches(a: &[u64], b: &[u64], threshold: f64) -> bool {
    let ratio = |part: usize, whole: usize| part as f64 / whole as f64;
    // The similarity is never above the ratio of the sizes.
    if ratio(a.len().min(b.len()), a.len().max(b.len())) < threshold {
        return false;
    }
    let (mut i, mut j, mut common) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        let order = a[i].cmp(&b[j]);
        common += usize::from(order == Ordering::Equal);
        i += usize::from(order != Ordering::Greater);
        j += usize::from(order != Ordering::Less);
    }
    ratio(common, a.len() + b.len() - common) >= threshold
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_ngrams_count_once() {
        assert_eq!(shingles(&[1, 1, 1, 1], 2).len(), 1);
        assert_eq!(shingles(&[1, 2, 3, 4], 2).len(), 3);
    }

    #[test]
    fn a_short_row_is_one_shingle_of_its_own_length() {
        assert_eq!(shingles(&[1, 2], 5).len(), 1);
        assert_ne!(shingles(&[1, 2], 5), shingles(&[1, 2, 3], 5));
        assert_ne!(shingles(&[1, 2], 3), shingles(&[1, 2], 2));
    }

    #[test]
    fn jaccard_is_common_over_all() {
        assert!(jaccard_reaches(&[1, 2, 3, 4], &[2, 3, 4, 5], 0.6));
        assert!(!jaccard_reaches(&[1, 2, 3, 4], &[2, 3, 4, 5], 0.61));
        assert!(jaccard_reaches(&[1], &[1], 1.0));
        assert!(!jaccard_reaches(&[1], &[1, 2, 3], 0.5));
    }
}

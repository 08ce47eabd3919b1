//! Rows of so few shingles that only a row of the same shingles can be alike: they need no sketch.

use super::jaccard::for_each_of;
use crate::error::Error;
use crate::ngram::mix;
use crate::rows::{Stop, map_blocks};

/// The largest set looked for; a larger one costs more to recognise than it saves.
const MOST: usize = 8;

/// The largest number of shingles such that one more or one fewer is already below the threshold.
pub(super) fn few(threshold: f64) -> usize {
    (1..=MOST).take_while(|&size| (size as f64 / (size + 1) as f64) < threshold).last().unwrap_or(0)
}

/// The set of shingles of a row that is not empty, sorted in front of zeros, and its size; nothing if
/// there are more than `few` (of [`few`]). Ordinary rows show one more within their first windows, and
/// are read no further.
fn small_set(tokens: &[u32], n: usize, few: usize) -> Option<([u64; MOST], usize)> {
    let mut set = [0_u64; MOST];
    let mut size = 0;
    let complete = for_each_of(tokens, n, |window| {
        if set[..size].contains(&window) {
            return true;
        }
        if size == few {
            return false;
        }
        set[size] = window;
        size += 1;
        true
    });
    set[..size].sort_unstable();
    complete.then_some((set, size))
}

/// Small sets' hashes with their rows' numbers, and the numbers of the other rows.
type Split = (Vec<(u64, u32)>, Vec<u32>);

/// Each of the numbered rows that has at most `few` shingles, with a hash of the set they are; those
/// with more, apart.
pub(super) fn split(rows: &[(u32, &[u32])], n: usize, few: usize, stop: &Stop) -> Result<Split, Error> {
    let blocks = map_blocks(rows.len(), stop, |block| {
        let hash = |tokens| {
            let (set, size) = small_set(tokens, n, few)?;
            Some(set[..size].iter().fold(size as u64, |sum, &window| mix(sum ^ mix(window))))
        };
        let (mut small, mut large) = (Vec::new(), Vec::new());
        for &(row, tokens) in &rows[block] {
            match hash(tokens) {
                Some(hash) => small.push((hash, row)),
                None => large.push(row),
            }
        }
        Ok((small, large))
    })?;
    let (small, large): (Vec<_>, Vec<_>) = blocks.into_iter().unzip();
    Ok((small.concat(), large.concat()))
}

/// Whether two rows have the same set of at most `few` shingles.
pub(super) fn same_small_set(a: &[u32], b: &[u32], n: usize, few: usize) -> bool {
    let set = small_set(a, n, few);
    set.is_some() && set == small_set(b, n, few)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_so_few_that_one_more_is_too_many() {
        assert_eq!([0.1, 0.5, 0.51, 0.75, 0.8, 0.81, 0.9, 1.0].map(few), [0, 0, 1, 2, 3, 4, 8, 8]);
    }

    #[test]
    fn equal_sets_are_the_same_and_large_ones_are_not_small() {
        let same = |a: &[u32], b: &[u32]| same_small_set(a, b, 2, 3);
        assert!(same(&[1, 2, 1], &[2, 1, 2, 1, 2, 1, 2]));
        assert!(same(&[7; 3], &[7; 3000]));
        assert!(!same(&[7, 7], &[7]));
        assert!(!same(&[1, 2, 3], &[1, 2, 3, 4]));
        assert!(same(&[1, 2, 3, 4], &[1, 2, 3, 4]));
        assert!(!same(&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5]));
        assert!(!same_small_set(&[1], &[1], 2, 0));
    }

    #[test]
    fn rows_are_split_by_the_size_of_their_sets() {
        let rows: [(u32, &[u32]); 4] = [(3, &[7; 3]), (5, &[1, 2, 3, 4, 5]), (6, &[7; 9]), (9, &[8])];
        let (small, large) = split(&rows, 2, 3, &Stop::new()).unwrap();
        assert_eq!(large, vec![5]);
        assert_eq!(small.iter().map(|entry| entry.1).collect::<Vec<_>>(), vec![3, 6, 9]);
        assert!(small[0].0 == small[1].0 && small[0].0 != small[2].0);
    }
}

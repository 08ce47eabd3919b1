//! Packing of sequences into bins of one capacity: best-fit decreasing.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::rows::{Stop, check_numbered};

/// Sequences placed between two looks at [`Stop`].
const CHECK_EVERY: usize = 4096;

/// The bin of each sequence; bins are numbered in order of creation.
///
/// Longest first (equal lengths in row order), each into the bin with the least room that still
/// takes it (of equal bins the oldest), or into a new one. `O(n log n)`.
pub fn pack(lengths: &[u32], capacity: u32, stop: &Stop) -> Result<Vec<u32>, Error> {
    check_numbered(lengths.len())?;
    if let Some(row) = lengths.iter().position(|&length| length > capacity) {
        let problem = format!("wanted a length of at most {capacity}, the capacity, got {}", lengths[row]);
        return Err(Error::row(row, problem));
    }
    let mut order: Vec<u32> = (0..lengths.len() as u32).collect();
    order.sort_by_key(|&row| std::cmp::Reverse(lengths[row as usize]));

    let mut bins = vec![0; lengths.len()];
    // (room left, bin): the first entry at or above (length, 0) is the best fit.
    let mut open: BTreeSet<(u32, u32)> = BTreeSet::new();
    let mut created = 0;
    for (done, row) in order.into_iter().enumerate() {
        if done.is_multiple_of(CHECK_EVERY) {
            stop.check()?;
        }
        let length = lengths[row as usize];
        let fit = open.range((length, 0)..).next().copied();
        let (room, bin) = fit.unwrap_or((capacity, created));
        if fit.is_some() {
            open.remove(&(room, bin));
        } else {
            created += 1;
        }
        bins[row as usize] = bin;
        open.insert((room - length, bin));
    }
    Ok(bins)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(lengths: &[u32], capacity: u32) -> Vec<u32> {
        pack(lengths, capacity, &Stop::new()).unwrap()
    }

    #[test]
    fn best_fit_takes_the_fullest_bin_that_has_room() {
        // 7 -> bin 0 (room 3), 6 -> bin 1 (room 4), 3 fits both and goes to the fuller bin 0.
        assert_eq!(packed(&[3, 6, 7, 4], 10), vec![0, 1, 0, 1]);
    }

    #[test]
    fn ties_go_to_the_oldest_bin_and_keep_row_order() {
        assert_eq!(packed(&[6, 6, 6, 4, 4], 10), vec![0, 1, 2, 0, 1]);
    }

    #[test]
    fn edges() {
        assert_eq!(packed(&[], 10), Vec::<u32>::new());
        assert_eq!(packed(&[10, 10], 10), vec![0, 1]);
        assert_eq!(packed(&[0, 10, 0], 10), vec![0, 0, 0]);
        assert_eq!(packed(&[0, 0], 0), vec![0, 0]);
        assert_eq!(packed(&[u32::MAX, 1], u32::MAX), vec![0, 1]);
    }

    #[test]
    fn too_long_names_the_row() {
        let message = pack(&[1, 11], 10, &Stop::new()).unwrap_err().to_string();
        assert_eq!(message, "row 1: wanted a length of at most 10, the capacity, got 11");
    }

    #[test]
    fn a_stop_ends_it() {
        let stop = Stop::new();
        stop.request();
        assert_eq!(pack(&[1], 1, &stop), Err(Error::Interrupted));
    }
}

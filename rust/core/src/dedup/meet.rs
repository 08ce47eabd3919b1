//! Finding what occurs more than once without sorting what occurs once.

use rayon::prelude::*;

use crate::error::Error;
use crate::rows::Stop;

/// Slots an entry: with four, about a fifth of the entries that are alone share a slot and stay in.
const SLOTS: usize = 4;

/// The entries whose hash may occur more than once: all that do, and few that do not. Nearly all rows
/// of an ordinary corpus are alone, and counting is far cheaper than sorting.
pub(super) fn repeated<T>(entries: impl ExactSizeIterator<Item = (u32, T)> + Clone) -> Vec<T> {
    let bits = (SLOTS * entries.len().max(2)).next_power_of_two().ilog2().min(32);
    // Two bits a slot, four slots a byte: the lower one says once, the upper one again.
    let place = |hash: u32| {
        let slot = (u64::from(hash) << bits) >> 32;
        ((slot >> 2) as usize, 1_u8 << (2 * (slot & 3)))
    };
    let mut seen = vec![0_u8; (1 << bits) / 4];
    for (hash, _) in entries.clone() {
        let (byte, once) = place(hash);
        seen[byte] |= (seen[byte] & once) << 1 | once;
    }
    let again = |hash: u32| {
        let (byte, once) = place(hash);
        seen[byte] & once << 1 != 0
    };
    entries.filter(|&(hash, _)| again(hash)).map(|(_, entry)| entry).collect()
}

/// Rows of one hash that are worth more than one thread.
const PARALLEL: usize = 1024;

/// The rows, of those given with their hashes in ascending order, that are the same as an earlier one,
/// each with the first such row. The hash only brings rows together: `same` is what counts.
pub(super) fn repeats(
    hashed: &[(u64, u32)],
    same: impl Fn(u32, u32) -> bool + Sync,
    stop: &Stop,
) -> Result<Vec<(u32, u32)>, Error> {
    // The upper half picks the slot, as it is as good as the whole for telling most rows apart.
    let mut meeting = repeated(hashed.iter().map(|&(hash, row)| ((hash >> 32) as u32, (hash, row))));
    meeting.par_sort_unstable();
    stop.check()?;
    let groups = meeting.par_chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1);
    let repeats = groups.map(|group| repeats_in(group, &same, stop)).collect::<Result<Vec<_>, Error>>()?;
    Ok(repeats.concat())
}

fn repeats_in(
    group: &[(u64, u32)],
    same: &(impl Fn(u32, u32) -> bool + Sync),
    stop: &Stop,
) -> Result<Vec<(u32, u32)>, Error> {
    let mut repeats = Vec::with_capacity(group.len() - 1);
    let mut left: Vec<u32> = group.iter().map(|&(_, row)| row).collect();
    // One round, unless different rows collide. A million equal rows are compared in parallel.
    while let [first, others @ ..] = &left[..] {
        stop.check()?;
        let (equal, different): (Vec<u32>, Vec<u32>) = if others.len() < PARALLEL {
            others.iter().partition(|&&row| same(*first, row))
        } else {
            others.par_iter().partition(|&&row| same(*first, row))
        };
        repeats.extend(equal.into_iter().map(|row| (row, *first)));
        left = different;
    }
    Ok(repeats)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ngram::mix;

    #[test]
    fn every_repeated_entry_stays_and_most_others_go() {
        let hashes: Vec<u32> = (0..4000_u64).map(|i| mix(i.min(3000)) as u32).collect();
        let kept = repeated(hashes.iter().enumerate().map(|(at, &hash)| (hash, at)));
        assert!((3000..4000_usize).all(|entry| kept.binary_search(&entry).is_ok()));
        assert!(kept.len() < 2000, "{} of 4000", kept.len());
        assert!(repeated([(u32::MAX, 0)].into_iter()).is_empty());
        assert!(repeated([(0, 0); 0].into_iter()).is_empty());
        assert_eq!(repeated([(u32::MAX, 0), (u32::MAX, 1)].into_iter()), vec![0, 1]);
    }
}

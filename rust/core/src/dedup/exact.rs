//! Clusters of equal rows.

use rayon::prelude::*;

use crate::error::Error;
use crate::ngram::hash_row;
use crate::rows::{Row, Stop, check_numbered, map_blocks};

/// The number of the first row equal to each row; null rows give `None`. Empty rows are equal.
pub fn exact_duplicates(rows: &[Row<'_, u32>], stop: &Stop) -> Result<Vec<Option<u32>>, Error> {
    exact_duplicates_by(rows, hash_row, stop)
}

/// The same under any hash: it only brings rows together, equality is what counts.
fn exact_duplicates_by(
    rows: &[Row<'_, u32>],
    hash: impl Fn(&[u32]) -> u64 + Sync,
    stop: &Stop,
) -> Result<Vec<Option<u32>>, Error> {
    check_numbered(rows.len())?;
    let hashed = map_blocks(rows.len(), stop, |block| {
        let hashed = block.filter_map(|row| rows[row].map(|tokens| (hash(tokens), row as u32)));
        Ok(hashed.collect::<Vec<_>>())
    })?;
    let mut hashed = hashed.concat();
    hashed.par_sort_unstable();
    stop.check()?;

    let repeats: Vec<(u32, u32)> = hashed
        .par_chunk_by(|a, b| a.0 == b.0)
        .filter(|group| group.len() > 1)
        .map(|group| {
            stop.check()?;
            Ok(repeats_in(group, rows))
        })
        .collect::<Result<Vec<_>, Error>>()?
        .concat();
    let mut first: Vec<Option<u32>> =
        rows.iter().enumerate().map(|(row, tokens)| tokens.map(|_| row as u32)).collect();
    for (row, equal) in repeats {
        first[row as usize] = Some(equal);
    }
    Ok(first)
}

/// Rows of one hash, in order, that equal an earlier one, each with the first such row.
fn repeats_in(group: &[(u64, u32)], rows: &[Row<'_, u32>]) -> Vec<(u32, u32)> {
    // One entry, unless different rows collide.
    let mut distinct: Vec<u32> = Vec::new();
    let mut repeats = Vec::new();
    for &(_, row) in group {
        match distinct.iter().find(|&&first| rows[first as usize] == rows[row as usize]) {
            Some(&first) => repeats.push((row, first)),
            None => distinct.push(row),
        }
    }
    repeats
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: [Row<'_, u32>; 8] =
        [Some(&[1, 2]), Some(&[]), None, Some(&[2, 1]), Some(&[1, 2]), Some(&[]), None, Some(&[1, 2])];
    const FIRST: [Option<u32>; 8] = [Some(0), Some(1), None, Some(3), Some(0), Some(1), None, Some(0)];

    #[test]
    fn the_first_equal_row_names_the_cluster() {
        assert_eq!(exact_duplicates(&ROWS, &Stop::new()).unwrap(), FIRST);
        assert_eq!(exact_duplicates(&[], &Stop::new()).unwrap(), vec![]);
    }

    #[test]
    fn colliding_hashes_link_nothing() {
        assert_eq!(exact_duplicates_by(&ROWS, |_| 7, &Stop::new()).unwrap(), FIRST);
    }
}

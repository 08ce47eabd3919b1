//! Clusters of equal rows.

use super::meet::repeats;
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
    let hashed = hashed.concat();
    let repeats = repeats(&hashed, |a, b| rows[a as usize] == rows[b as usize], stop)?;
    let mut first: Vec<Option<u32>> =
        rows.iter().enumerate().map(|(row, tokens)| tokens.map(|_| row as u32)).collect();
    for (row, equal) in repeats {
        first[row as usize] = Some(equal);
    }
    Ok(first)
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

    #[test]
    fn a_group_shared_by_threads_is_told_apart_too() {
        let tokens: Vec<[u32; 1]> = (0..5000).map(|row| [row % 3]).collect();
        let rows: Vec<Row<'_, u32>> = tokens.iter().map(|row| Some(&row[..])).collect();
        let wanted: Vec<Option<u32>> = tokens.iter().map(|row| Some(row[0])).collect();
        for hash in [hash_row, |_: &[u32]| 7] {
            assert_eq!(exact_duplicates_by(&rows, hash, &Stop::new()).unwrap(), wanted);
        }
    }
}

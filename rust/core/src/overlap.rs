//! Contamination: the share of a row's n-grams that occur in a reference set.

use hashbrown::HashTable;

use crate::error::Error;
use crate::ngram::hashes;
use crate::rows::{Row, Stop, map_blocks};

/// Share of each row's n-grams that occur in `reference`, each position counted.
///
/// A hash only proposes: n-grams are then compared token by token. A row without n-grams (shorter
/// than `ngram`) has share 0; null rows give `None`, null reference rows are passed over.
pub fn overlap(
    rows: &[Row<'_, u32>],
    reference: &[Row<'_, u32>],
    ngram: usize,
    stop: &Stop,
) -> Result<Vec<Option<f32>>, Error> {
    if ngram == 0 {
        return Err(Error::setting("ngram", "at least 1 token", &ngram));
    }
    let known = Known::new(reference, ngram, stop)?;
    let blocks = map_blocks(rows.len(), stop, |block| {
        let shares = rows[block].iter().map(|row| Ok(row.map(|tokens| known.share(tokens))));
        shares.collect::<Result<Vec<_>, _>>()
    })?;
    Ok(blocks.concat())
}

/// The distinct n-grams of the reference, each with its hash.
struct Known<'a> {
    ngram: usize,
    table: HashTable<(u64, &'a [u32])>,
}

impl<'a> Known<'a> {
    fn new(reference: &[Row<'a, u32>], ngram: usize, stop: &Stop) -> Result<Self, Error> {
        let mut table = HashTable::new();
        for tokens in reference.iter().copied().flatten() {
            stop.check()?;
            for (hash, gram) in hashes(tokens, ngram).zip(tokens.windows(ngram)) {
                table.entry(hash, |&known| known == (hash, gram), |&(hash, _)| hash).or_insert((hash, gram));
            }
        }
        Ok(Self { ngram, table })
    }

    fn share(&self, tokens: &[u32]) -> f32 {
        let grams = (tokens.len() + 1).saturating_sub(self.ngram);
        if grams == 0 || self.table.is_empty() {
            return 0.0;
        }
        let found = hashes(tokens, self.ngram)
            .zip(tokens.windows(self.ngram))
            .filter(|&(hash, gram)| self.table.find(hash, |&known| known == (hash, gram)).is_some())
            .count();
        (found as f64 / grams as f64) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(tokens: &[u32], reference: &[u32], ngram: usize) -> f32 {
        overlap(&[Some(tokens)], &[Some(reference)], ngram, &Stop::new()).unwrap()[0].unwrap()
    }

    #[test]
    fn each_position_counts() {
        // 1 2, 2 1, 1 2, 2 9: three of four are known.
        assert!((one(&[1, 2, 1, 2, 9], &[2, 1, 2], 2) - 0.75).abs() < 1e-7);
        assert!((one(&[1, 2, 3], &[1, 2, 3], 3) - 1.0).abs() < 1e-7);
    }

    #[test]
    fn rows_too_short_on_either_side_find_nothing() {
        assert!(one(&[1, 2], &[1, 2, 3], 3).abs() < f32::EPSILON);
        assert!(one(&[1, 2, 3], &[1, 2], 3).abs() < f32::EPSILON);
        assert!(one(&[], &[], 1).abs() < f32::EPSILON);
    }

    #[test]
    fn nulls_and_settings() {
        let got = overlap(&[None, Some(&[1])], &[None, Some(&[1])], 1, &Stop::new()).unwrap();
        assert_eq!(got, vec![None, Some(1.0)]);
        assert!(matches!(overlap(&[], &[], 0, &Stop::new()), Err(Error::Setting { name: "ngram", .. })));
    }
}

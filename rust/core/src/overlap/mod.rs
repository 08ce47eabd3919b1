//! Contamination: the share of a row's n-grams that occur in a reference set.

mod known;

use crate::error::Error;
use crate::rows::{Row, Stop, map_blocks};

use known::Known;

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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

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

    #[test]
    fn no_ngram_spans_two_rows_of_the_reference() {
        let reference: [Row<'_, u32>; 3] = [Some(&[1, 2, 3]), Some(&[9]), Some(&[4, 5])];
        let got = overlap(&[Some(&[1, 2, 3, 4, 5])], &reference, 2, &Stop::new()).unwrap();
        // 1 2, 2 3 and 4 5; 3 4 begins in one row and ends in another.
        assert_eq!(got, vec![Some(0.75)]);
    }

    #[test]
    fn a_reference_of_many_pieces_and_parts_finds_what_a_set_of_slices_finds() {
        let noise = |seed: u64, length: u64, tokens: u64| -> Vec<u32> {
            (0..length).map(|i| (crate::ngram::mix(seed << 32 | i) % tokens) as u32).collect()
        };
        // Few tokens, so that n-grams come again; rows about the length of a piece, and one long.
        let mut reference: Vec<Vec<u32>> = (0..40).map(|row| noise(row, 1000 + row, 8)).collect();
        reference.push(noise(99, 60_000, 12));
        let mut rows: Vec<Vec<u32>> = (100..120).map(|row| noise(row, 700, 8)).collect();
        rows.push(reference[40][1000..3000].to_vec());
        rows.push([&reference[3][..], &reference[4]].concat());
        let ngram = 6;
        let known: HashSet<&[u32]> = reference.iter().flat_map(|row| row.windows(ngram)).collect();
        let share = |row: &Vec<u32>| {
            let found = row.windows(ngram).filter(|gram| known.contains(gram)).count();
            Some((found as f64 / row.windows(ngram).count() as f64) as f32)
        };
        let wanted: Vec<Option<f32>> = rows.iter().map(share).collect();
        assert!(wanted.iter().any(|share| share.is_some_and(|share| share > 0.01 && share < 0.99)));
        let rows: Vec<Row<'_, u32>> = rows.iter().map(|row| Some(&row[..])).collect();
        let reference: Vec<Row<'_, u32>> = reference.iter().map(|row| Some(&row[..])).collect();
        let got = overlap(&rows, &reference, ngram, &Stop::new()).unwrap();
        assert_eq!(got, wanted);
    }
}

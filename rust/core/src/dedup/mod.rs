//! Exact and near duplicates among rows of tokens.

mod cluster;
mod donors;
mod effort;
pub mod exact;
mod few;
mod fine;
mod jaccard;
mod link;
mod lsh;
mod meet;
mod signature;
mod sketch;

use crate::error::Error;
use crate::rows::{Row, Stop, check_numbered};
use link::Linker;

/// Settings of [`near_duplicates`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NearSettings {
    /// Jaccard similarity that links two rows: above 0, at most 1.
    pub threshold: f64,
    /// Tokens in a shingle.
    pub ngram: usize,
    /// Length of a sketch.
    pub num_hashes: usize,
    /// Seed of the sketch's hash functions.
    pub seed: u64,
}

impl Default for NearSettings {
    fn default() -> Self {
        Self { threshold: 0.8, ngram: 5, num_hashes: 128, seed: 0 }
    }
}

impl NearSettings {
    fn check(&self) -> Result<(), Error> {
        if !(self.threshold > 0.0 && self.threshold <= 1.0) {
            return Err(Error::setting(
                "threshold",
                "a Jaccard similarity above 0 and at most 1",
                &self.threshold,
            ));
        }
        if self.ngram == 0 {
            return Err(Error::setting("ngram", "at least 1 token", &self.ngram));
        }
        if !(1..=4096).contains(&self.num_hashes) {
            return Err(Error::setting("num_hashes", "1 to 4096 hashes", &self.num_hashes));
        }
        Ok(())
    }
}

/// The smallest row number of each row's cluster of rows that are alike; null rows give `None`.
///
/// Equal rows are collapsed first. Sketches and banding then propose pairs, and each is linked only
/// if its exact Jaccard similarity reaches the threshold. An empty row is alike to none.
pub fn near_duplicates(
    rows: &[Row<'_, u32>],
    settings: NearSettings,
    stop: &Stop,
) -> Result<Vec<Option<u32>>, Error> {
    settings.check()?;
    check_numbered(rows.len())?;
    let equal = exact::exact_duplicates(rows, stop)?;
    // One row of each set of equal ones; the rest have nothing to add.
    let filled = |row: usize| rows[row].filter(|tokens| !tokens.is_empty());
    let distinct: Vec<(u32, &[u32])> = (0..rows.len())
        .filter(|&row| equal[row] == Some(row as u32))
        .filter_map(|row| Some((row as u32, filled(row)?)))
        .collect();

    let mut alike: Vec<u32> = (0..rows.len() as u32).collect();
    // A row of few shingles is alike to rows of the same shingles and to no others.
    let few = few::few(settings.threshold);
    let (small, large) = few::split(&distinct, settings.ngram, few, stop)?;
    let tokens = |row: u32| rows[row as usize].unwrap_or_default();
    let same = |a, b| few::same_small_set(tokens(a), tokens(b), settings.ngram, few);
    for (row, first) in meet::repeats(&small, same, stop)? {
        alike[row as usize] = first;
    }
    let documents: Vec<&[u32]> = large.iter().map(|&row| tokens(row)).collect();
    for (document, smallest) in cluster_documents(&documents, settings, stop)?.into_iter().enumerate() {
        alike[large[document] as usize] = large[smallest as usize];
    }

    let cluster = |(row, first): (usize, Option<u32>)| match (first, filled(row)) {
        (Some(_), None) => Some(row as u32),
        (first, _) => first.map(|first| alike[first as usize]),
    };
    Ok(equal.into_iter().enumerate().map(cluster).collect())
}

/// The smallest member of each document's cluster. Documents are distinct and not empty.
fn cluster_documents(documents: &[&[u32]], settings: NearSettings, stop: &Stop) -> Result<Vec<u32>, Error> {
    let (signatures, bands) = signature::sketch_all(documents, settings, stop)?;
    let mut linker = Linker::new(documents, &signatures, settings);
    for (band, entries) in bands.into_iter().enumerate() {
        linker.band(band, &entries, stop)?;
    }
    Ok(linker.smallest_members())
}

#[cfg(test)]
mod tests;

//! Exact and near duplicates among rows of tokens.

mod cluster;
pub mod exact;
mod lsh;
mod shingle;
mod sketch;

use rayon::prelude::*;

use crate::error::Error;
use crate::rows::{Row, Stop, check_numbered};
use cluster::Clusters;
use lsh::Banding;
use shingle::{jaccard_reaches, shingles};
use sketch::Sketcher;

/// In a bucket, a row is compared with this many rows before it and with this many at the front: all
/// of them in any ordinary bucket, and a bound where a template puts a whole corpus into one.
const REACH: usize = 128;

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
    let filled = |row: usize| rows[row].filter(|tokens| !tokens.is_empty());
    // One row of each set of equal ones; the rest have nothing to add.
    let distinct: Vec<u32> = (0..rows.len() as u32)
        .filter(|&row| equal[row as usize] == Some(row) && filled(row as usize).is_some())
        .collect();
    let documents: Vec<&[u32]> = distinct.iter().filter_map(|&row| filled(row as usize)).collect();

    let clusters = cluster_documents(&documents, settings, stop)?;
    let mut document_of = vec![0_u32; rows.len()];
    for (document, &row) in distinct.iter().enumerate() {
        document_of[row as usize] = document as u32;
    }
    let cluster_of = |row: usize| match (equal[row], filled(row)) {
        (None, _) => None,
        (Some(_), None) => Some(row as u32),
        (Some(first), Some(_)) => Some(distinct[clusters[document_of[first as usize] as usize] as usize]),
    };
    Ok((0..rows.len()).map(cluster_of).collect())
}

/// The smallest member of each document's cluster. Documents are distinct and not empty.
fn cluster_documents(documents: &[&[u32]], settings: NearSettings, stop: &Stop) -> Result<Vec<u32>, Error> {
    let banding = Banding::choose(settings.num_hashes, settings.threshold);
    let sketcher = Sketcher::new(settings.num_hashes, settings.seed);
    let keys: Vec<Vec<u64>> = documents
        .par_iter()
        .map_init(Vec::new, |sketch, tokens| {
            stop.check()?;
            sketcher.sketch(tokens, settings.ngram, sketch);
            Ok(banding.keys(sketch))
        })
        .collect::<Result<_, Error>>()?;

    let clusters = Clusters::new(documents.len());
    for band in 0..banding.bands {
        stop.check()?;
        let buckets = lsh::buckets(&keys, band);
        buckets
            .par_chunk_by(|a, b| a.0 == b.0)
            .filter(|bucket| bucket.len() > 1)
            .try_for_each(|bucket| link_bucket(bucket, documents, settings, &clusters, stop))?;
    }
    Ok(clusters.smallest_members())
}

/// Links the pairs of one bucket that are really alike. Pairs already linked through others are
/// passed over: that changes the work, never the clusters.
fn link_bucket(
    bucket: &[(u64, u32)],
    documents: &[&[u32]],
    settings: NearSettings,
    clusters: &Clusters,
    stop: &Stop,
) -> Result<(), Error> {
    let member = |rank: usize| bucket[rank].1;
    let mut kept: Vec<Option<Vec<u64>>> = vec![None; bucket.len()];
    let compare = |kept: &mut [Option<Vec<u64>>], rank: usize, other: usize| {
        if clusters.linked(member(rank), member(other)) {
            return;
        }
        for document in [rank, other] {
            kept[document]
                .get_or_insert_with(|| shingles(documents[member(document) as usize], settings.ngram));
        }
        if let (Some(a), Some(b)) = (&kept[rank], &kept[other])
            && jaccard_reaches(a, b, settings.threshold)
        {
            clusters.link(member(rank), member(other));
        }
    };
    // Members linked_from..rank are one cluster: a link to the last of them is one to all.
    let mut linked_from = 0;
    for rank in 1..bucket.len() {
        stop.check()?;
        let near = rank.saturating_sub(REACH);
        let mut other = rank;
        while other > near {
            other -= 1;
            compare(&mut kept, rank, other);
            if other == rank - 1 && clusters.linked(member(rank), member(other)) {
                other = linked_from.max(near);
            }
        }
        let one_cluster = linked_from == 0 && clusters.linked(member(rank), member(rank - 1));
        if !one_cluster {
            (0..near.min(REACH)).for_each(|other| compare(&mut kept, rank, other));
        }
        if !clusters.linked(member(rank), member(rank - 1)) {
            linked_from = rank;
        }
        // Out of reach of all that follow, unless it is at the front.
        if rank >= 2 * REACH {
            kept[rank - REACH] = None;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

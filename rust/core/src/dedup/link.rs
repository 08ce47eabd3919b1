//! Linking the rows of a bucket that are really alike.

use std::collections::HashSet;

use rayon::prelude::*;

use super::NearSettings;
use super::cluster::Clusters;
use super::effort::{Backed, Budget, Effort, Efforts, Work, agreement_work, exact_work};
use super::fine::{self, FineSketches};
use super::jaccard::Comparer;
use super::lsh::Entry;
use super::signature::Signatures;
use crate::error::Error;
use crate::rows::Stop;

/// Rows of a bucket that one thread takes; a bucket that has more is shared.
const SHARE: usize = 1024;

/// Fine sketches that a row is compared with in a bucket.
const ASKED: usize = 4;

/// What one band brought: a function of the buckets and of what was known before the band, whatever
/// thread took which bucket. So the effort that the next band deserves does not depend on the threads.
#[derive(Default)]
struct Found {
    links: Vec<(u32, u32)>,
    refused: Vec<(u32, u32)>,
    work: Work,
}

impl Found {
    fn join(mut self, mut other: Self) -> Self {
        self.links.append(&mut other.links);
        self.refused.append(&mut other.refused);
        self.work.add(other.work);
        self
    }
}

/// What the buckets of one band have in common.
struct Pass {
    band: usize,
    efforts: Efforts,
}

/// Links documents band by band.
pub(super) struct Linker<'a> {
    documents: &'a [&'a [u32]],
    signatures: &'a Signatures,
    settings: NearSettings,
    budget: Budget,
    fine: FineSketches<'a>,
    clusters: Clusters,
    /// Pairs that were compared and are not alike, so that they are compared once.
    refused: HashSet<u64>,
}

fn pair_key(a: u32, b: u32) -> u64 {
    u64::from(a.min(b)) << 32 | u64::from(a.max(b))
}

impl<'a> Linker<'a> {
    pub(super) fn new(
        documents: &'a [&'a [u32]],
        signatures: &'a Signatures,
        settings: NearSettings,
    ) -> Self {
        Self {
            documents,
            signatures,
            settings,
            budget: Budget::new(documents),
            fine: FineSketches::new(documents, settings.ngram, settings.seed),
            clusters: Clusters::new(documents.len()),
            refused: HashSet::new(),
        }
    }

    /// Links what is alike in the buckets of one band.
    pub(super) fn band(&mut self, band: usize, entries: &[Entry], stop: &Stop) -> Result<(), Error> {
        let pass = Pass { band, efforts: self.budget.efforts(self.settings) };
        let known = &*self;
        let found = entries
            .par_chunk_by(|a, b| a.meets(*b))
            .filter(|bucket| bucket.len() > 1)
            .try_fold(Bench::default, |mut bench, bucket| {
                stop.check()?;
                known.bucket(bucket, &pass, &mut bench, stop)?;
                Ok(bench)
            })
            .map(|bench| bench.map(|bench| bench.found))
            .try_reduce(Found::default, |a, b| Ok(a.join(b)))?;
        found.links.iter().for_each(|&(a, b)| self.clusters.link(a, b));
        self.refused.extend(found.refused.iter().map(|&(a, b)| pair_key(a, b)));
        self.budget.spend(found.work);
        Ok(())
    }

    /// The smallest member of each document's cluster.
    pub(super) fn smallest_members(&self) -> Vec<u32> {
        self.clusters.smallest_members()
    }

    fn bucket(&self, bucket: &[Entry], pass: &Pass, bench: &mut Bench, stop: &Stop) -> Result<(), Error> {
        let effort = pass.efforts.of(bucket.len());
        let mut members: Vec<u32> = bucket.iter().map(|entry| entry.document()).collect();
        if members.len() > 2 * effort.reach {
            // Not all will be compared: what is alike elsewhere too is brought together.
            members.sort_by_cached_key(|&document| self.signatures.order(document, pass.band));
        }
        if members.len() <= SHARE {
            return self.share(&members, effort, bench, stop);
        }
        // Later shares bring along the rows at the front and those before them, to be compared with.
        // They are compared with one another again: that they are alike saves more than it costs.
        let found = (0..members.len().div_ceil(SHARE))
            .into_par_iter()
            .try_fold(Bench::default, |mut bench, share| {
                let own = share * SHARE..members.len().min((share + 1) * SHARE);
                if share == 0 {
                    self.share(&members[own], effort, &mut bench, stop)?;
                } else {
                    let before = own.start - effort.reach..own.end;
                    let list = [&members[..effort.reach], &members[before]].concat();
                    self.share(&list, effort, &mut bench, stop)?;
                }
                Ok(bench)
            })
            .map(|bench| bench.map(|bench| bench.found))
            .try_reduce(Found::default, |a, b| Ok(a.join(b)))?;
        bench.found = std::mem::take(&mut bench.found).join(found);
        Ok(())
    }

    /// Compares the members with those before them.
    fn share(&self, members: &[u32], effort: &Effort, bench: &mut Bench, stop: &Stop) -> Result<(), Error> {
        let mut roots: Vec<(u32, u32)> =
            members.iter().zip(0..).map(|(&document, rank)| (self.clusters.root(document), rank)).collect();
        if roots.iter().all(|(root, _)| *root == roots[0].0) {
            return Ok(());
        }
        let local = Clusters::new(members.len());
        roots.sort_unstable();
        roots.windows(2).filter(|two| two[0].0 == two[1].0).for_each(|two| local.link(two[0].1, two[1].1));
        let mut share = Share { linker: self, members, local, effort, bench, stop };
        // Whether all before the row are one cluster, so that a link to one of them is one to all.
        let mut united = true;
        for rank in 1..members.len() {
            stop.check()?;
            share.row(rank, united)?;
            united = united && share.linked(rank - 1, rank);
        }
        Ok(())
    }
}

/// A thread's room to work in, and what it found so far.
#[derive(Default)]
struct Bench {
    comparer: Comparer,
    /// Agreement and rank of those a row may be alike to.
    candidates: Vec<(usize, usize)>,
    found: Found,
}

/// Members of a bucket under comparison; ranks are places among them.
struct Share<'a> {
    linker: &'a Linker<'a>,
    members: &'a [u32],
    /// The clusters of the ranks as far as this share knows.
    local: Clusters,
    effort: &'a Effort,
    bench: &'a mut Bench,
    stop: &'a Stop,
}

impl Share<'_> {
    fn linked(&self, a: usize, b: usize) -> bool {
        self.local.linked(a as u32, b as u32)
    }

    /// Compares a row with those in reach before it, the likeliest first, until one comparison is
    /// refused: the next band where the row meets others has the next one.
    fn row(&mut self, rank: usize, united: bool) -> Result<(), Error> {
        if united && self.linked(rank - 1, rank) {
            return Ok(());
        }
        let near = rank.saturating_sub(self.effort.reach);
        let mut candidates = std::mem::take(&mut self.bench.candidates);
        candidates.clear();
        let mut work = 0;
        for other in (near..rank).rev().chain(0..near.min(self.effort.reach)) {
            work += 1;
            if self.linked(rank, other) {
                continue;
            }
            work += agreement_work(self.linker.settings.num_hashes);
            if let Some(agreement) = self.worth_comparing(rank, other) {
                candidates.push((agreement, other));
                // Among rows that are all alike, the first likely one will do.
                if united && agreement > self.effort.likely {
                    break;
                }
            }
        }
        candidates.sort_unstable_by(|a, b| b.cmp(a));
        let (mut links, mut asked) = (false, 0);
        for &(_, other) in &candidates {
            if self.linked(rank, other) {
                continue;
            }
            if let Some(backed) = self.backed(rank, other) {
                asked += 1;
                if asked > ASKED {
                    break;
                }
                work += fine::WORK;
                let (linker, a, b) = (self.linker, self.members[rank], self.members[other]);
                if !linker.fine.reach(a, b, linker.settings.threshold, backed.deviations) {
                    continue;
                }
            }
            if !self.compare(rank, other)? {
                break;
            }
            links = true;
        }
        // A search that ends in a link is not counted: there are fewer of them than rows.
        self.bench.found.work.search += if links { 0 } else { work };
        self.bench.candidates = candidates;
        Ok(())
    }

    /// The demands on two rows whose fine sketches are asked.
    fn backed(&self, a: usize, b: usize) -> Option<&Backed> {
        let suit = |_: &&Backed| self.linker.fine.suit(self.members[a], self.members[b]);
        self.effort.backed.as_ref().filter(suit)
    }

    /// In how many bins two rows agree, if in enough and if they were not refused in an earlier band.
    fn worth_comparing(&self, a: usize, b: usize) -> Option<usize> {
        let least = self.backed(a, b).map_or(&self.effort.least, |backed| &backed.least);
        let (linker, a, b) = (self.linker, self.members[a], self.members[b]);
        let agreement = linker.signatures.agreement(a, b);
        let worth =
            agreement >= least[linker.signatures.own(a, b)] && !linker.refused.contains(&pair_key(a, b));
        worth.then_some(agreement)
    }

    /// Links two rows if their exact similarity reaches the threshold; says whether it did.
    fn compare(&mut self, rank: usize, other: usize) -> Result<bool, Error> {
        let (linker, a, b) = (self.linker, self.members[rank], self.members[other]);
        let pair = [a, b].map(|document| linker.documents[document as usize]);
        let settings = linker.settings;
        let alike = self.bench.comparer.reaches(pair, settings.ngram, settings.threshold, self.stop)?;
        let found = &mut self.bench.found;
        if alike {
            self.local.link(rank as u32, other as u32);
            found.links.push((a, b));
        } else {
            found.refused.push((a, b));
            found.work.exact += exact_work(pair[0], pair[1]);
        }
        Ok(alike)
    }
}

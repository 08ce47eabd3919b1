//! The n-grams of the reference rows: a filter that most others fail, and a table behind it.

use std::ops::Range;

use rayon::prelude::*;

use crate::error::Error;
use crate::ngram::hashes;
use crate::rows::{Row, Stop};

/// N-grams that are read in one go: a row is cut into such pieces.
const PIECE: usize = 1 << 10;

/// Pieces that a thread takes at a time, and between two looks at [`Stop`]. One n-gram of them is
/// named by as many bits as a hash can spare.
const PIECES: usize = 1 << (SPARE_BITS - PIECE.ilog2());
const SPARE_BITS: u32 = 16;

/// A part of the table is for this many n-grams or more, so that it fits in a core's own cache...
const PART: usize = 1 << 14;

/// ... as long as there are no more than 2 to this power of them.
const MOST_PART_BITS: u32 = 8;

/// Look-ups that are under way together, so that a core waits for many cache lines at a time.
const BATCH: usize = 64;

/// The distinct n-grams of the reference.
pub(super) struct Known {
    ngram: usize,
    /// The reference rows that have an n-gram, one behind the other.
    tokens: Vec<u32>,
    /// For each token but the last ones, whether an n-gram begins there: none spans two rows.
    begins: Vec<bool>,
    /// A Bloom filter, all of an n-gram's bits in one word: a miss costs one cache line.
    filter: Vec<u64>,
    /// By the first bits of the hash.
    parts: Vec<Part>,
}

/// The first `bits` bits of `hash`.
fn first_bits(hash: u64, bits: u32) -> usize {
    // In two steps, as there may be no bits at all.
    ((hash >> 1) >> (u64::BITS - 1 - bits)) as usize
}

/// The three bits of an n-gram in its word of the filter.
fn filter_bits(hash: u64) -> u64 {
    let bits = hash >> SPARE_BITS;
    1 << (bits & 63) | 1 << (bits >> 6 & 63) | 1 << (bits >> 12 & 63)
}

impl Known {
    pub(super) fn new(reference: &[Row<'_, u32>], ngram: usize, stop: &Stop) -> Result<Self, Error> {
        let (mut tokens, mut begins) = (Vec::new(), Vec::new());
        let mut pieces = Vec::new();
        for row in reference.iter().copied().flatten().filter(|row| row.len() >= ngram) {
            stop.check()?;
            let begin = tokens.len();
            tokens.extend_from_slice(row);
            let end = tokens.len() - ngram + 1;
            begins.resize(begin, false);
            begins.resize(end, true);
            pieces.extend((begin..end).step_by(PIECE).map(|at| at..end.min(at + PIECE)));
        }
        if tokens.len() as u64 >= POSITION {
            return Err(Error::setting("reference", "less than 2**40 - 1 tokens", &tokens.len()));
        }
        let count: usize = pieces.iter().map(ExactSizeIterator::len).sum();
        let part_bits = (count / PART).max(1).ilog2().min(MOST_PART_BITS);
        // N-grams are dealt out to the parts first; then each part is filled by one thread, without
        // locks, and mostly in the cache.
        let blocks = pieces.par_chunks(PIECES).map(|pieces| {
            stop.check()?;
            Ok((pieces, Dealt::new(pieces, ngram, part_bits, &tokens)))
        });
        let blocks = blocks.collect::<Result<Vec<_>, Error>>()?;
        // 16 to 32 bits an n-gram.
        let words = (count / 4).next_power_of_two().max(1 << part_bits);
        let mut filter = vec![0; words];
        let filters = filter.par_chunks_mut(words >> part_bits).enumerate();
        let parts = filters.map(|(part, filter)| {
            stop.check()?;
            let of_part = blocks.iter().map(|(pieces, dealt)| (pieces, dealt.part(part)));
            let mut table = Part::new(of_part.clone().map(|(_, hashes)| hashes.len()).sum(), part_bits);
            for (pieces, hashes) in of_part {
                for &hash in hashes {
                    filter[first_bits(hash, words.ilog2()) % filter.len()] |= filter_bits(hash);
                    table.insert(hash, position(hash, pieces), ngram, &tokens);
                }
            }
            Ok(table)
        });
        let parts = parts.collect::<Result<_, _>>()?;
        Ok(Self { ngram, tokens, begins, filter, parts })
    }

    /// Share of the n-grams of `tokens` that are known; 0 if there are none.
    pub(super) fn share(&self, tokens: &[u32]) -> f32 {
        let grams = (tokens.len() + 1).saturating_sub(self.ngram);
        if grams == 0 || self.tokens.is_empty() {
            return 0.0;
        }
        let word_bits = self.filter.len().ilog2();
        let part_bits = self.parts.len().ilog2();
        let mut rolled = hashes(tokens, self.ngram);
        let mut batch = [0; BATCH];
        let mut likely = [0; BATCH];
        let mut found = 0;
        // The n-gram found last: where it begins in the row and in the reference.
        let mut trail: Option<(usize, usize)> = None;
        for first in (0..grams).step_by(BATCH) {
            let length = BATCH.min(grams - first);
            batch.iter_mut().zip(rolled.by_ref().take(length)).for_each(|(slot, hash)| *slot = hash);
            let mut count = 0;
            for (offset, &hash) in batch[..length].iter().enumerate() {
                // Written always and counted sometimes: no branch to be foretold.
                likely[count] = offset;
                let word = self.filter[first_bits(hash, word_bits)];
                count += usize::from(word & filter_bits(hash) == filter_bits(hash));
            }
            for &offset in &likely[..count] {
                let (hash, start) = (batch[offset], first + offset);
                let gram = &tokens[start..start + self.ngram];
                // What is copied from the reference is mostly copied on: one token to compare.
                let next = trail.filter(|&(before, _)| before + 1 == start).map(|(_, known)| known + 1);
                trail = if let Some(known) = next.filter(|&known| self.goes_on(known, gram)) {
                    Some((start, known))
                } else {
                    let part = &self.parts[first_bits(hash, part_bits)];
                    part.find(hash, gram, &self.tokens).ok().map(|known| (start, known))
                };
                found += usize::from(trail.is_some());
            }
        }
        (found as f64 / grams as f64) as f32
    }

    /// Whether the n-gram at `known` in the reference is `gram`, given that all but its last token are.
    fn goes_on(&self, known: usize, gram: &[u32]) -> bool {
        self.begins.get(known) == Some(&true) && gram.last() == self.tokens[known..].get(self.ngram - 1)
    }
}

/// The n-grams of some pieces in the order of the parts that they belong to. Each is its hash, the
/// last bits of which give way to its place: the piece, then where in it.
struct Dealt {
    hashes: Vec<u64>,
    /// Where each part ends in `hashes`.
    ends: Vec<usize>,
}

impl Dealt {
    fn new(pieces: &[Range<usize>], ngram: usize, part_bits: u32, tokens: &[u32]) -> Self {
        let mut read = Vec::with_capacity(pieces.iter().map(ExactSizeIterator::len).sum());
        let mut ends = vec![0; 1 << part_bits];
        for (number, piece) in pieces.iter().enumerate() {
            let rolled = hashes(&tokens[piece.start..piece.end + ngram - 1], ngram);
            for (hash, place) in rolled.zip(number * PIECE..) {
                ends[first_bits(hash, part_bits)] += 1;
                read.push(hash >> SPARE_BITS << SPARE_BITS | place as u64);
            }
        }
        // From how many to where they begin; dealing moves that on to where they end.
        let mut begin = 0;
        for end in &mut ends {
            begin += std::mem::replace(end, begin);
        }
        let mut dealt = vec![0; read.len()];
        for hash in read {
            let end = &mut ends[first_bits(hash, part_bits)];
            dealt[*end] = hash;
            *end += 1;
        }
        Self { hashes: dealt, ends }
    }

    fn part(&self, part: usize) -> &[u64] {
        let begin = part.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.hashes[begin..self.ends[part]]
    }
}

/// Where among the tokens a dealt n-gram begins.
fn position(hash: u64, pieces: &[Range<usize>]) -> usize {
    let place = (hash % (1 << SPARE_BITS)) as usize;
    pieces[place / PIECE].start + place % PIECE
}

/// Bits of a slot that hold a position; the others hold bits of the hash.
const POSITION_BITS: u32 = 40;
const POSITION: u64 = (1 << POSITION_BITS) - 1;

/// A hash table with open addressing. A slot has 1 + where the n-gram begins among the tokens, and
/// some bits of its hash; 0 is free.
struct Part {
    slots: Vec<u64>,
    /// The bits of the hash that all of this part have in common.
    part_bits: u32,
}

impl Part {
    /// Room for `count` n-grams: however their hashes fall, slots stay free.
    fn new(count: usize, part_bits: u32) -> Self {
        Self { slots: vec![0; (count + count / 2).next_power_of_two().max(2)], part_bits }
    }

    fn tag(hash: u64) -> u64 {
        (hash >> SPARE_BITS) << POSITION_BITS
    }

    /// Where the n-gram begins among the tokens, or the free slot where it would be.
    fn find(&self, hash: u64, gram: &[u32], tokens: &[u32]) -> Result<usize, usize> {
        let mask = self.slots.len() - 1;
        let mut at = first_bits(hash << self.part_bits, self.slots.len().ilog2());
        loop {
            let slot = self.slots[at & mask];
            if slot == 0 {
                return Err(at & mask);
            }
            let known = (slot & POSITION) as usize - 1;
            if (slot ^ Self::tag(hash)) >> POSITION_BITS == 0 && tokens[known..].starts_with(gram) {
                return Ok(known);
            }
            at += 1;
        }
    }

    fn insert(&mut self, hash: u64, known: usize, ngram: usize, tokens: &[u32]) {
        if let Err(free) = self.find(hash, &tokens[known..known + ngram], tokens) {
            self.slots[free] = Self::tag(hash) | (known as u64 + 1);
        }
    }
}

//! The n-grams of one row: for each, where the first equal one begins.

use crate::ngram::hashes;

/// A table of n-grams, kept from row to row for its memory.
#[derive(Default)]
pub(super) struct Grams {
    /// Open addressing: 32 bits of the hash, then 1 + where the n-gram begins; 0 is free. At most half
    /// of the slots are taken, so a look-up seldom needs a second cache line.
    slots: Vec<u64>,
    /// For each n-gram in order, where its first equal begins: itself, if it is new.
    pub(super) first: Vec<u32>,
    /// Tokens of an n-gram.
    pub(super) length: usize,
}

impl Grams {
    /// Reads a row of less than 2^32 tokens. N-grams are equal when their tokens are, not their hashes.
    pub(super) fn read(&mut self, tokens: &[u32], length: usize) {
        let count = (tokens.len() + 1).saturating_sub(length);
        let size = (2 * count).next_power_of_two().max(2);
        let shift = u64::BITS - size.ilog2();
        self.length = length;
        self.first.clear();
        self.first.reserve(count);
        self.slots.clear();
        self.slots.resize(size, 0);
        for (start, hash) in hashes(tokens, length).enumerate() {
            let gram = &tokens[start..start + length];
            let before = start.checked_sub(1).map(|before| (before, self.first[before] as usize));
            // What is said again mostly goes on as it did: one token to compare, no look-up.
            let again = before.filter(|&(before, first)| {
                first != before && tokens[first + length] == tokens[before + length]
            });
            let first = match again {
                Some((_, first)) => self.first[first + 1],
                None => look_up(&mut self.slots, (hash >> shift) as usize, hash << 32, start, gram, tokens),
            };
            self.first.push(first);
        }
    }

    /// Stretches of tokens, as long as possible, covered by n-grams that began earlier too.
    pub(super) fn repeated(&self) -> impl Iterator<Item = (usize, usize)> {
        let mut starts = self.first.iter().enumerate().filter(|&(start, &first)| first != start as u32);
        let mut open: Option<(usize, usize)> = None;
        std::iter::from_fn(move || {
            loop {
                let Some((start, _)) = starts.next() else { return open.take() };
                let stretch = (start, start + self.length);
                match &mut open {
                    Some((_, end)) if start <= *end => *end = stretch.1,
                    _ => {
                        if let Some(done) = open.replace(stretch) {
                            return Some(done);
                        }
                    }
                }
            }
        })
    }
}

/// Where the first n-gram equal to `gram`, which begins at `start`, begins; `start` is noted if it is new.
fn look_up(slots: &mut [u64], mut at: usize, tag: u64, start: usize, gram: &[u32], tokens: &[u32]) -> u32 {
    let mask = slots.len() - 1;
    loop {
        let slot = slots[at & mask];
        if slot == 0 {
            slots[at & mask] = tag | (start as u64 + 1);
            return start as u32;
        }
        let known = (slot as u32).wrapping_sub(1);
        if (slot ^ tag) >> 32 == 0 && tokens[known as usize..].starts_with(gram) {
            return known;
        }
        at += 1;
    }
}

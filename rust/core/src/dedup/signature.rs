//! What is kept of every row: a key a band, and a byte a bin to tell far-off pairs by.

use rayon::prelude::*;

use super::NearSettings;
use super::lsh::{Banding, Entry, buckets};
use super::sketch::Sketcher;
use crate::error::Error;
use crate::rows::Stop;

/// Rows a thread takes at a time; their keys of one band fill a cache line.
const BLOCK: usize = 16;

/// The lowest byte of every bin of every row's sketch: 128 bytes a row with the default settings.
pub(super) struct Signatures {
    bins: usize,
    bytes: Vec<u8>,
    /// How many bins of each row are its own and not borrowed.
    own: Vec<u16>,
}

impl Signatures {
    /// Bins in which two documents agree. Equal sketches agree in all; bins that differ pass for equal
    /// once in 256 times, so the number is never too small.
    pub(super) fn agreement(&self, a: u32, b: u32) -> usize {
        let of = |document: u32| &self.bytes[document as usize * self.bins..][..self.bins];
        agreeing(of(a), of(b))
    }

    /// A number whose first digits are equal where two documents agree in some bins, in others for every
    /// `band`: sorting by it brings rows that are alike next to one another.
    pub(super) fn order(&self, document: u32, band: usize) -> u128 {
        let bytes = &self.bytes[document as usize * self.bins..][..self.bins];
        let from = band * 16 % self.bins;
        bytes.iter().cycle().skip(from).take(16).fold(0, |order, &byte| order << 8 | u128::from(byte))
    }

    /// The smaller number of own bins of two documents.
    pub(super) fn own(&self, a: u32, b: u32) -> usize {
        usize::from(self.own[a as usize].min(self.own[b as usize]))
    }
}

/// Equal bytes, counted in 16 lanes of a byte each, emptied before they are full.
fn agreeing(a: &[u8], b: &[u8]) -> usize {
    let mut sum = 0;
    for (a, b) in a.chunks(128 * 16).zip(b.chunks(128 * 16)) {
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
        let mut lanes = [0_u8; 16];
        for (a, b) in a.iter().zip(b) {
            for lane in 0..16 {
                lanes[lane] += u8::from(a[lane] == b[lane]);
            }
        }
        sum += lanes.iter().map(|&lane| usize::from(lane)).sum::<usize>();
        sum += a_rest.iter().zip(b_rest).filter(|(a, b)| a == b).count();
    }
    sum
}

/// Sketches all documents (none is empty): their signatures, and each band's buckets.
pub(super) fn sketch_all(
    documents: &[&[u32]],
    settings: NearSettings,
    stop: &Stop,
) -> Result<(Signatures, Vec<Vec<Entry>>), Error> {
    let bins = settings.num_hashes;
    let banding = Banding::choose(bins, settings.threshold);
    let sketcher = Sketcher::new(bins, settings.ngram, settings.seed);
    // In one piece each: a row's part is written once and needs no allocation of its own. Keys lie
    // block by block, and in a block band by band, as one band is read at a time.
    let bands = banding.bands;
    let mut keys = vec![0_u32; documents.len().next_multiple_of(BLOCK) * bands];
    let mut bytes = vec![0_u8; documents.len() * bins];
    let mut own = vec![0_u16; documents.len()];
    let blocks = (
        documents.par_chunks(BLOCK),
        keys.par_chunks_mut(BLOCK * bands),
        bytes.par_chunks_mut(BLOCK * bins),
        own.par_chunks_mut(BLOCK),
    );
    blocks.into_par_iter().try_for_each_init(
        || vec![0_u32; bins],
        |sketch, (documents, keys, bytes, own)| {
            let rows = documents.iter().zip(bytes.chunks_exact_mut(bins)).zip(own);
            for (at, ((tokens, bytes), own)) in rows.enumerate() {
                *own = sketcher.sketch(tokens, sketch, stop)? as u16;
                bytes.iter_mut().zip(&*sketch).for_each(|(byte, &value)| *byte = value as u8);
                for (band, key) in banding.keys(sketch).enumerate() {
                    keys[band * BLOCK + at] = key;
                }
            }
            Ok(())
        },
    )?;
    let met = (0..bands)
        .into_par_iter()
        .map(|band| {
            stop.check()?;
            let key = |document: usize| keys[(document / BLOCK * bands + band) * BLOCK + document % BLOCK];
            Ok(buckets((0..documents.len()).map(key)))
        })
        .collect::<Result<_, Error>>()?;
    Ok((Signatures { bins, bytes, own }, met))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_counts_equal_bytes_of_any_length() {
        for length in [1, 15, 16, 128, 131, 4096] {
            let a: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            assert_eq!(agreeing(&a, &a), length as usize);
            let b: Vec<u8> = a.iter().enumerate().map(|(i, &x)| if i % 5 == 0 { x ^ 1 } else { x }).collect();
            assert_eq!(agreeing(&a, &b), (0..length).filter(|i| i % 5 != 0).count());
        }
    }

    #[test]
    fn keys_of_all_blocks_meet() {
        let rows: Vec<[u32; 1]> = (0..100_u32).map(|row| [row % 50]).collect();
        let documents: Vec<&[u32]> = rows.iter().map(|row| &row[..]).collect();
        let (signatures, met) = sketch_all(&documents, NearSettings::default(), &Stop::new()).unwrap();
        assert_eq!(signatures.agreement(3, 53), 128);
        for band in met {
            let together = band.chunk_by(|a, b| a.meets(*b)).filter(|bucket| bucket.len() == 2);
            assert_eq!(together.filter(|two| two[0].document() + 50 == two[1].document()).count(), 50);
        }
    }
}

//! Kernels over rows of tokens, and packing.

use std::collections::HashSet;

use dasd_core::dedup::{NearSettings, exact::exact_duplicates, near_duplicates};
use dasd_core::{
    Stop, overlap::overlap as overlaps, pack::pack as packed, repetition::repetition as repeats,
};

use super::bytes::{Bytes, borrowed};

/// Rows whose pairs the reference of near duplicates looks at, at most.
const FEW_ROWS: usize = 40;
/// Tokens of a row that the quadratic references look at, at most.
const FEW_TOKENS: usize = 400;

fn shingles(tokens: &[u32], ngram: usize) -> HashSet<&[u32]> {
    if tokens.len() < ngram { HashSet::from([tokens]) } else { tokens.windows(ngram).collect() }
}

/// Exact clusters are the first equal rows; near ones join equal rows, and only rows that a chain of pairs at the
/// threshold joins.
pub fn duplicates(data: &[u8]) {
    let mut bytes = Bytes(data);
    let settings = NearSettings {
        threshold: (f64::from(bytes.byte()) + 1.0) / 256.0,
        ngram: 1 + usize::from(bytes.byte() % 6),
        num_hashes: [1, 7, 128, 256][usize::from(bytes.byte() % 4)],
        seed: bytes.byte().into(),
    };
    let rows = bytes.rows();
    let rows = borrowed(&rows);
    let exact = exact_duplicates(&rows, &Stop::new()).unwrap();
    let first = |row: &[u32]| rows.iter().position(|other| *other == Some(row)).map(|at| at as u32);
    let wanted: Vec<_> = rows.iter().map(|row| row.and_then(first)).collect();
    assert_eq!(exact, wanted);

    let near = near_duplicates(&rows, settings, &Stop::new()).unwrap();
    for (row, cluster) in near.iter().enumerate() {
        assert_eq!(cluster.is_none(), rows[row].is_none());
        let Some(cluster) = *cluster else { continue };
        assert!(cluster as usize <= row && near[cluster as usize] == Some(cluster), "{near:?}");
        if rows[row].is_some_and(|tokens| !tokens.is_empty()) {
            assert_eq!(near[exact[row].unwrap() as usize], Some(cluster), "equal rows apart");
        }
    }
    if rows.len() > FEW_ROWS {
        return;
    }
    let sets: Vec<_> = rows.iter().map(|row| row.map(|tokens| shingles(tokens, settings.ngram))).collect();
    let mut component: Vec<usize> = (0..rows.len()).collect();
    for b in 0..rows.len() {
        for a in 0..b {
            let (Some(x), Some(y)) = (&sets[a], &sets[b]) else { continue };
            let common = x.intersection(y).count();
            let jaccard = common as f64 / (x.len() + y.len() - common) as f64;
            if jaccard >= settings.threshold && component[a] != component[b] {
                let (from, to) = (component[b], component[a]);
                component.iter_mut().filter(|each| **each == from).for_each(|each| *each = to);
            }
        }
    }
    for (row, cluster) in near.iter().enumerate() {
        if let Some(cluster) = cluster {
            assert_eq!(
                component[row], component[*cluster as usize],
                "joined rows that are not alike: {near:?}"
            );
        }
    }
}

/// The share of n-grams that a set of slices finds.
pub fn overlap(data: &[u8]) {
    let mut bytes = Bytes(data);
    let (ngram, of_reference) = (1 + usize::from(bytes.byte() % 14), usize::from(bytes.byte()));
    let rows = bytes.rows();
    let (reference, rows) = rows.split_at(of_reference.min(rows.len()));
    let known: HashSet<&[u32]> =
        reference.iter().flatten().flat_map(|tokens| tokens.windows(ngram)).collect();
    let share = |tokens: &Vec<u32>| {
        let found = tokens.windows(ngram).filter(|gram| known.contains(gram)).count();
        let all = tokens.windows(ngram).count();
        if all == 0 { 0.0 } else { (found as f64 / all as f64) as f32 }
    };
    let wanted: Vec<_> = rows.iter().map(|row| row.as_ref().map(share)).collect();
    assert_eq!(overlaps(&borrowed(rows), &borrowed(reference), ngram, &Stop::new()), Ok(wanted));
}

/// Runs, repeated 8-grams and ending loops by their definitions.
pub fn repetition(data: &[u8]) {
    let rows = Bytes(data).rows();
    let got = repeats(&borrowed(&rows), &Stop::new()).unwrap();
    for (row, got) in rows.iter().zip(got) {
        assert_eq!(row.is_none(), got.is_none());
        let (Some(tokens), Some(got)) = (row, got) else { continue };
        let n = tokens.len();
        if n > FEW_TOKENS {
            continue;
        }
        let mut longest = 0;
        for period in 1..n {
            let mut length = 0;
            for at in period..n {
                length = if tokens[at] == tokens[at - period] { length + 1 } else { 0 };
                longest = if length >= period { longest.max(length) } else { longest };
            }
        }
        let (mut seen, mut inside) = (HashSet::new(), HashSet::new());
        for (at, gram) in tokens.windows(8).enumerate() {
            if !seen.insert(gram) {
                inside.extend(at..at + 8);
            }
        }
        let ends_in = |p: &usize| tokens[n - 3 * p..n - p] == tokens[n - 2 * p..];
        let period = (1..=n / 3).find(ends_in).unwrap_or(0);
        let mut ending = period;
        while period > 0 && ending < n && tokens[n - 1 - ending] == tokens[n - 1 - ending + period] {
            ending += 1;
        }
        let loops = (got.loop_period as usize, got.loop_tokens as usize);
        assert_eq!((got.longest_run as usize, loops), (longest, (period, ending)), "{tokens:?}");
        let share = if n == 0 { 0.0 } else { inside.len() as f64 / n as f64 };
        assert!((f64::from(got.repeated_share) - share).abs() < 1e-6, "{tokens:?}");
    }
}

/// Best fit, longest first; one that is longer than the capacity is refused.
pub fn pack(data: &[u8]) {
    let mut bytes = Bytes(data);
    let capacity = bytes.token();
    let mut lengths = Vec::new();
    while !bytes.is_empty() {
        lengths.push(bytes.token());
    }
    let got = packed(&lengths, capacity, &Stop::new());
    if lengths.iter().any(|&length| length > capacity) {
        assert!(got.is_err());
        return;
    }
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&row| std::cmp::Reverse(lengths[row]));
    let (mut bins, mut rooms) = (vec![0; lengths.len()], Vec::new());
    for row in order {
        let fits = (0..rooms.len()).filter(|&bin| rooms[bin] >= lengths[row]);
        let bin = fits.min_by_key(|&bin| rooms[bin]).unwrap_or_else(|| {
            rooms.push(capacity);
            rooms.len() - 1
        });
        rooms[bin] -= lengths[row];
        bins[row] = bin as u32;
    }
    assert_eq!(got, Ok(bins));
}

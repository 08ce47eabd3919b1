//! Exact and near duplicates: without any, with a few, and the inputs that are hard on a hash table.

mod corpus;

use std::hint::black_box;

use corpus::{borrowed, items, rows};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dasd_core::Stop;
use dasd_core::dedup::exact::exact_duplicates;
use dasd_core::dedup::{NearSettings, near_duplicates};

const SETTINGS: NearSettings = NearSettings { threshold: 0.8, ngram: 5, num_hashes: 128, seed: 0 };

fn corpora() -> Vec<(&'static str, Vec<Vec<u32>>)> {
    let plain = rows(0, 1000.0);
    let mut planted = plain.clone();
    // One row in ten is a copy of the one before it, but for its last tokens.
    for row in (10..planted.len()).step_by(10) {
        let source = &planted[row - 1];
        planted[row] = source[..source.len() - source.len() / 40].to_vec();
    }
    let mut tiny: Vec<Vec<u32>> = (0..200_000).map(|i| vec![i % 1000, i / 1000, 7]).collect();
    tiny.push(vec![7; 1_000_000]);
    vec![
        ("no duplicates", plain),
        ("planted duplicates", planted),
        ("a huge constant row among tiny ones", tiny),
        ("equal rows", vec![vec![1, 2, 3, 4, 5, 6, 7, 8]; 200_000]),
    ]
}

fn duplicates(criterion: &mut Criterion) {
    for (name, rows) in corpora() {
        let rows_borrowed = borrowed(&rows);
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20).throughput(Throughput::Elements(items(&rows)));
        group.bench_function("exact", |bench| {
            bench.iter(|| exact_duplicates(black_box(&rows_borrowed), &Stop::new()));
        });
        group.bench_function("near", |bench| {
            bench.iter(|| near_duplicates(black_box(&rows_borrowed), SETTINGS, &Stop::new()));
        });
    }
}

criterion_group!(benches, duplicates);
criterion_main!(benches);

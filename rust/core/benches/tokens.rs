//! `repetition` and `overlap` over ordinary rows, and over the rows that could be slow.

mod corpus;

use std::hint::black_box;

use corpus::{Random, borrowed, items, rows};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dasd_core::Stop;
use dasd_core::overlap::overlap;
use dasd_core::repetition::repetition;

/// Tokens of the longest response.
const LONG: usize = 65_536;

/// Rows of equal length that repeat themselves in a way that a careless search would be slow on.
fn hostile() -> Vec<(&'static str, Vec<u32>)> {
    let mut random = Random::new(1);
    let noise: Vec<u32> = (0..LONG).map(|_| random.token()).collect();
    let mut words = (vec![0], vec![0, 1]);
    while words.1.len() < LONG {
        let next = [&words.1[..], &words.0].concat();
        words = (words.1, next);
    }
    words.1.truncate(LONG);
    let broken = |i: usize| if i.is_multiple_of(997) { noise[i] } else { noise[i % 1000] };
    vec![
        ("noise", noise.clone()),
        ("constant", vec![7; LONG]),
        ("period 2", (0..2).cycle().take(LONG).collect()),
        ("period 1000", (0..LONG).map(|i| noise[i % 1000]).collect()),
        ("almost period 1000", (0..LONG).map(broken).collect()),
        ("Fibonacci word", words.1),
        ("two tokens at random", noise.iter().map(|token| token % 2).collect()),
    ]
}

fn repetitions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("repetition");
    for (name, median) in [("tiny rows", 20.0), ("rows of 600", 600.0), ("rows of 10,000", 10_000.0)] {
        let rows = rows(0, median);
        let rows_borrowed = borrowed(&rows);
        group.throughput(Throughput::Elements(items(&rows)));
        group
            .bench_function(name, |bench| bench.iter(|| repetition(black_box(&rows_borrowed), &Stop::new())));
    }
    group.throughput(Throughput::Elements(LONG as u64));
    for (name, row) in hostile() {
        group.bench_function(name, |bench| bench.iter(|| repetition(black_box(&[Some(&row)]), &Stop::new())));
    }
}

fn overlaps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("overlap");
    let (rows, other) = (rows(0, 600.0), rows(1, 600.0));
    let (rows_borrowed, other_borrowed) = (borrowed(&rows), borrowed(&other));
    group.throughput(Throughput::Elements(items(&rows)));
    let references = [
        ("none of 100 rows", &other_borrowed[..100]),
        ("none of two million tokens, and their table", &other_borrowed),
        ("100 of the rows", &rows_borrowed[..100]),
        ("all of the rows, and their table", &rows_borrowed),
    ];
    for (name, reference) in references {
        group.bench_function(name, |bench| {
            bench.iter(|| overlap(black_box(&rows_borrowed), reference, 13, &Stop::new()));
        });
    }
    group.bench_function("the table alone", |bench| {
        bench.iter(|| overlap(&[], black_box(&other_borrowed), 13, &Stop::new()));
    });
    group.throughput(Throughput::Elements(LONG as u64));
    for (name, row) in hostile() {
        let row = [Some(&row[..])];
        group.bench_function(format!("{name}, with itself"), |bench| {
            bench.iter(|| overlap(black_box(&row), &row, 13, &Stop::new()));
        });
    }
}

criterion_group!(benches, repetitions, overlaps);
criterion_main!(benches);

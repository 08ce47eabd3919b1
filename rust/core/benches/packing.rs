//! `pack` of as many lengths as the report's corpus has responses.

mod corpus;

use std::hint::black_box;

use corpus::Random;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dasd_core::Stop;
use dasd_core::pack::pack;

/// Responses in the corpus.
const RESPONSES: usize = 448_000;

fn packing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pack");
    group.sample_size(20).throughput(Throughput::Elements(RESPONSES as u64));
    let mut random = Random::new(0);
    for (name, median) in [("long", 5000.0), ("short", 400.0)] {
        let lengths: Vec<u32> = (0..RESPONSES).map(|_| random.length(median) as u32).collect();
        group.bench_function(name, |bench| bench.iter(|| pack(black_box(&lengths), 65_536, &Stop::new())));
    }
}

criterion_group!(benches, packing);
criterion_main!(benches);

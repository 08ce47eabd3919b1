//! Sentence probabilities of two models, and how far they diverge.

mod corpus;

use std::hint::black_box;

use corpus::{Random, borrowed, items, rows};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dasd_core::Stop;
use dasd_core::logprob::{Tokens, compare_sentences, sentence_probabilities};

/// Tokens of a sentence.
const SENTENCE: usize = 20;

fn probabilities(criterion: &mut Criterion) {
    let mut random = Random::new(0);
    let tokens = rows(0, 2000.0);
    let mut logprobs = || -> Vec<Vec<f32>> {
        tokens.iter().map(|row| row.iter().map(|_| random.unit().ln() as f32).collect()).collect()
    };
    let (teacher, student) = (logprobs(), logprobs());
    // Tokens of four bytes; a sentence ends inside of its last token.
    let token_ends: Vec<Vec<u32>> =
        tokens.iter().map(|row| (1..=row.len() as u32).map(|i| 4 * i).collect()).collect();
    let sentence_ends: Vec<Vec<u32>> = token_ends
        .iter()
        .map(|ends| {
            let end = ends.len() as u32 * 4;
            let inner = ends.iter().skip(SENTENCE - 1).step_by(SENTENCE).map(|at| at - 2);
            inner.filter(|&at| at < end).chain([end]).collect()
        })
        .collect();
    let (teacher, student) = (borrowed(&teacher), borrowed(&student));
    let (token_ends, sentence_ends) = (borrowed(&token_ends), borrowed(&sentence_ends));

    let mut group = criterion.benchmark_group("probabilities");
    group.throughput(Throughput::Elements(items(&tokens)));
    group.bench_function("of one model", |bench| {
        bench.iter(|| {
            sentence_probabilities(black_box(&teacher), &token_ends, &sentence_ends, &Stop::new()).unwrap()
        });
    });
    group.bench_function("of two, compared", |bench| {
        bench.iter(|| {
            let teacher = Tokens { logprobs: black_box(&teacher), token_ends: &token_ends };
            let student = Tokens { logprobs: &student, token_ends: &token_ends };
            compare_sentences(teacher, student, &sentence_ends, 0.1, &Stop::new()).unwrap()
        });
    });
}

criterion_group!(benches, probabilities);
criterion_main!(benches);

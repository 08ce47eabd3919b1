//! `sentence_ends` over each kind of text that reasoning has.

mod corpus;

use std::hint::black_box;

use corpus::Random;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dasd_core::Stop;
use dasd_core::sentence::sentence_ends;

const PROSE: [&str; 6] = [
    "Let me think about this step by step. ",
    "So the answer would be 120, right? ",
    "Wait, e.g. 3.5 is no integer (see above.) and Dr. Smith said so. ",
    "Hmm, that doesn't seem right because the denominators cancel out in the second expression.\n\n",
    "Therefore it holds for all n greater than 2! ",
    "First, I'll consider the case where both are even; then the sum is even too.\n",
];
const FORMULAS: [&str; 5] = [
    "So $x^2 + y^2 = z^2$ and then $x = 3.5$. ",
    "We have \\(a_1, a_2, \\ldots, a_n\\) with \\(a_i > 0\\).\n",
    "\\[\n\\sum_{i=1}^{n} i = \\frac{n(n+1)}{2}.\n\\]\n\n",
    "1. Compute `f(x)`. It costs $5.\n",
    "x = 3\ny = 4\n",
];
const CODE: [&str; 2] = [
    "```python\ndef f(x):\n    # doubles. Really!\n    return x * 2.0\n```\n",
    "Call `math.sqrt(2.0)` now. ",
];
const CHINESE: [&str; 3] = [
    "让我们一步一步地思考这个问题。",
    "首先，我们需要计算三角形的面积！",
    "因此，x 的值为 3.5，结果成立；我们继续。\n",
];

/// Texts of about 8,000 bytes, two megabytes in all.
fn texts(pieces: &[&str]) -> Vec<String> {
    let mut random = Random::new(0);
    let text = |_| {
        let mut text = String::new();
        while text.len() < 8000 {
            text.push_str(pieces[random.below(pieces.len())]);
        }
        text
    };
    (0..250).map(text).collect()
}

fn sentences(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sentence_ends");
    let mixed = [&PROSE[..], &PROSE, &FORMULAS, &CODE, &CHINESE].concat();
    let kinds = [("prose", &PROSE[..]), ("formulas", &FORMULAS), ("code", &CODE), ("chinese", &CHINESE)];
    for (name, pieces) in kinds.into_iter().chain([("mixed", &mixed[..])]) {
        let texts = texts(pieces);
        let rows: Vec<Option<&str>> = texts.iter().map(|text| Some(&text[..])).collect();
        group.throughput(Throughput::Bytes(texts.iter().map(String::len).sum::<usize>() as u64));
        group.bench_function(name, |bench| bench.iter(|| sentence_ends(black_box(&rows), &Stop::new())));
    }
}

criterion_group!(benches, sentences);
criterion_main!(benches);

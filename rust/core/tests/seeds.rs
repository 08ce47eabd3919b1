//! Replays what `make fuzz` starts from, and some noise, so that the fuzz targets can't rot.

mod fuzzed;

use std::fs;
use std::path::Path;

/// Runs `target` on its seeds and on 200 inputs of growing length.
fn replay(name: &str, target: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds").join(name);
    let mut found = 0;
    for seed in fs::read_dir(&seeds).expect("a folder of seeds") {
        target(&fs::read(seed.unwrap().path()).unwrap());
        found += 1;
    }
    assert!(found > 0, "no seeds in {}", seeds.display());
    let mut state = 1_u64;
    for length in 0..200 {
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(length)
        .collect();
        target(&noise);
    }
}

macro_rules! replayed {
    ($($name:ident),*) => { $(#[test] fn $name() { replay(stringify!($name), fuzzed::$name); })* };
}

replayed!(sentences, probabilities, duplicates, overlap, repetition, pack);

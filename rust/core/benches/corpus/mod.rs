//! Rows shaped like a corpus of responses: heavy-tailed lengths, tokens by Zipf's law; always the same.

#![allow(dead_code)]

/// Small numbers out of a fixed sequence (`SplitMix64`).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A length, log-normal about `median`, 1 to 65,536.
    pub(crate) fn length(&mut self, median: f64) -> usize {
        let normal = (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
        ((median * normal.exp()) as usize).clamp(1, 65_536)
    }

    /// A token id below 50,000; id `i` is about as frequent as `1 / i`.
    pub(crate) fn token(&mut self) -> u32 {
        50_000_f64.powf(self.unit()) as u32
    }
}

/// Tokens in a corpus.
const TOKENS: usize = 2_000_000;

/// Rows of tokens, two million in all.
pub(crate) fn rows(seed: u64, median: f64) -> Vec<Vec<u32>> {
    let mut random = Random::new(seed);
    let mut rows = Vec::new();
    let mut tokens = 0;
    while tokens < TOKENS {
        let length = random.length(median);
        rows.push((0..length).map(|_| random.token()).collect());
        tokens += length;
    }
    rows
}

/// As the kernels take them.
pub(crate) fn borrowed<T>(rows: &[Vec<T>]) -> Vec<Option<&[T]>> {
    rows.iter().map(|row| Some(&row[..])).collect()
}

/// Items of all rows.
pub(crate) fn items<T>(rows: &[Vec<T>]) -> u64 {
    rows.iter().map(Vec::len).sum::<usize>() as u64
}

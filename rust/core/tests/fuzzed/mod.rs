//! What is fuzzed: each function reads any bytes as input of a kernel and holds the result against a short
//! reference. `rust/fuzz` hands them to libFuzzer; `tests/seeds.rs` replays the seeds on every run.

mod bytes;
mod probabilities;
mod text;
mod tokens;

pub use probabilities::probabilities;
pub use text::sentences;
pub use tokens::{duplicates, overlap, pack, repetition};

//! The targets as `rust/core/tests` has them.

#[path = "../../core/tests/fuzzed/mod.rs"]
mod fuzzed;

pub use fuzzed::*;

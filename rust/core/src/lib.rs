//! The kernels of dasd, in pure Rust: no Python here, and `cargo test` needs none.
//!
//! Every kernel takes rows as borrowed slices (`None` is a null row), runs on the rayon pool of the
//! thread that calls it, and looks at [`Stop`] inside its long loops.

#![deny(unsafe_code)]

pub mod dedup;
pub mod divergence;
mod error;
pub mod logprob;
mod means;
mod ngram;
pub mod overlap;
pub mod pack;
pub mod repetition;
mod rows;
pub mod sentence;
mod width;

pub use error::Error;
pub use rows::{Lists, Row, Stop};

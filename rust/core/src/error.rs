//! What can go wrong in a kernel, in words that say what was wanted and what came.

use std::fmt;

/// Every failure of every kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Two arguments that must have one row each for every item differ in length.
    RowCount {
        /// The argument that differs.
        argument: &'static str,
        /// Rows of the first argument.
        wanted: usize,
        /// Rows of this one.
        got: usize,
    },
    /// One row is malformed.
    Row {
        /// Its number, from 0.
        row: usize,
        /// What was wanted there, and what came.
        problem: String,
    },
    /// A setting is out of its range.
    Setting {
        /// Its name.
        name: &'static str,
        /// Its range, in words.
        wanted: &'static str,
        /// What came.
        got: String,
    },
    /// More rows than a u32 can number.
    TooManyRows {
        /// How many came.
        got: usize,
    },
    /// The caller asked to stop.
    Interrupted,
}

impl Error {
    pub(crate) fn row(row: usize, problem: impl Into<String>) -> Self {
        Self::Row { row, problem: problem.into() }
    }

    pub(crate) fn setting(name: &'static str, wanted: &'static str, got: &impl ToString) -> Self {
        Self::Setting { name, wanted, got: got.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RowCount { argument, wanted, got } => {
                write!(f, "{argument}: wanted {wanted} rows, as many as the first argument has, got {got}")
            }
            Self::Row { row, problem } => write!(f, "row {row}: {problem}"),
            Self::Setting { name, wanted, got } => write!(f, "{name}: wanted {wanted}, got {got}"),
            Self::TooManyRows { got } => {
                write!(f, "wanted at most {} rows in one call, got {got}: split the input", u32::MAX)
            }
            Self::Interrupted => write!(f, "interrupted"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_where_what_was_wanted_and_what_came() {
        let row = Error::row(3, "wanted 2 tokens, got 1").to_string();
        assert_eq!(row, "row 3: wanted 2 tokens, got 1");
        let setting = Error::setting("ngram", "at least 1", &0).to_string();
        assert_eq!(setting, "ngram: wanted at least 1, got 0");
        let count = Error::RowCount { argument: "token_ends", wanted: 2, got: 1 }.to_string();
        assert!(count.contains("token_ends: wanted 2 rows") && count.contains("got 1"));
    }
}

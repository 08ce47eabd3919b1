//! Rows in, rows out: borrowed slices for input, offsets and values for output, blocks for threads.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use crate::error::Error;

/// One row of a list column: `None` is null.
pub type Row<'a, T> = Option<&'a [T]>;

/// A request to stop, set by one thread and read inside the long loops of others.
#[derive(Debug, Default)]
pub struct Stop(AtomicBool);

impl Stop {
    /// Nobody has asked to stop yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Ask the kernel to end at its next check.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// `Err(Interrupted)` once somebody has asked.
    pub fn check(&self) -> Result<(), Error> {
        if self.0.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// A list column under construction: offsets (one more than rows), values, validity.
#[derive(Debug, Clone, PartialEq)]
pub struct Lists<T> {
    /// Where each row starts in `values`, and last where the last row ends.
    pub offsets: Vec<i64>,
    /// The items of all rows, one after the other.
    pub values: Vec<T>,
    /// False for a null row.
    pub valid: Vec<bool>,
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self { offsets: vec![0], values: Vec::new(), valid: Vec::new() }
    }
}

impl<T: Copy> Lists<T> {
    /// Ends a row: whatever `values` gained since the last call is its content.
    pub(crate) fn end_row(&mut self) {
        self.offsets.push(self.values.len() as i64);
        self.valid.push(true);
    }

    /// Adds a null row.
    pub(crate) fn null_row(&mut self) {
        self.offsets.push(self.values.len() as i64);
        self.valid.push(false);
    }

    /// Rows of known lengths (`None` is a null row) whose values are still to be written, by [`Self::blocks_mut`].
    pub(crate) fn with_lengths(lengths: impl Iterator<Item = Option<usize>>) -> Self
    where
        T: Default,
    {
        let mut lists = Self::default();
        let mut end = 0;
        for length in lengths {
            end += length.unwrap_or(0);
            lists.offsets.push(end as i64);
            lists.valid.push(length.is_some());
        }
        lists.values = vec![T::default(); end];
        lists
    }

    /// The values of each block of rows that [`map_blocks_with`] works on.
    pub(crate) fn blocks_mut(&mut self) -> Vec<Unwritten<'_, T>> {
        let mut rest = Unwritten(&mut self.values);
        let (mut start, rows) = (0, self.valid.len());
        let ends = (0..rows).step_by(BLOCK).map(|row| self.offsets[rows.min(row + BLOCK)] as usize);
        ends.map(|end| Unwritten(rest.take(end - std::mem::replace(&mut start, end)))).collect()
    }

    /// Joins blocks in order.
    pub(crate) fn join(blocks: Vec<Self>) -> Self {
        let mut joined = Self::default();
        joined.values.reserve_exact(blocks.iter().map(|block| block.values.len()).sum());
        joined.offsets.reserve_exact(blocks.iter().map(|block| block.valid.len()).sum());
        for block in blocks {
            let base = joined.values.len() as i64;
            joined.values.extend_from_slice(&block.values);
            joined.offsets.extend(block.offsets[1..].iter().map(|offset| base + offset));
            joined.valid.extend_from_slice(&block.valid);
        }
        joined
    }

    /// The rows as the kernels take them.
    #[must_use]
    pub fn rows(&self) -> Vec<Row<'_, T>> {
        let bounds = self.offsets.windows(2).map(|w| w[0] as usize..w[1] as usize);
        bounds.zip(&self.valid).map(|(bounds, valid)| valid.then(|| &self.values[bounds])).collect()
    }
}

/// The values of a block of rows, handed out row by row.
pub(crate) struct Unwritten<'a, T>(&'a mut [T]);

impl<'a, T> Unwritten<'a, T> {
    /// The next `count` of them, or all where fewer are left.
    pub(crate) fn take(&mut self, count: usize) -> &'a mut [T] {
        let rest = std::mem::take(&mut self.0);
        let (taken, rest) = rest.split_at_mut(count.min(rest.len()));
        self.0 = rest;
        taken
    }
}

/// Rows a thread takes at a time, and between two looks at [`Stop`].
const BLOCK: usize = 64;

/// Runs `work` over blocks of rows in parallel; results in row order.
///
/// The error reported is that of the first failing block, whatever thread failed first, so that a
/// message names the same row on every run.
pub(crate) fn map_blocks<O: Send>(
    rows: usize,
    stop: &Stop,
    work: impl Fn(Range<usize>) -> Result<O, Error> + Sync,
) -> Result<Vec<O>, Error> {
    map_blocks_with(rows, vec![(); rows.div_ceil(BLOCK)], stop, |rows, ()| work(rows))
}

/// [`map_blocks`] where each block is given its part: what it may write to, as a rule.
pub(crate) fn map_blocks_with<P: Send, O: Send>(
    rows: usize,
    parts: Vec<P>,
    stop: &Stop,
    work: impl Fn(Range<usize>, P) -> Result<O, Error> + Sync,
) -> Result<Vec<O>, Error> {
    let results: Vec<Result<O, Error>> = parts
        .into_par_iter()
        .enumerate()
        .map(|(block, part)| {
            stop.check()?;
            work(block * BLOCK..rows.min((block + 1) * BLOCK), part)
        })
        .collect();
    stop.check()?;
    results.into_iter().collect()
}

/// Refuses more rows than a u32 cluster or bin number can name.
pub(crate) fn check_numbered(rows: usize) -> Result<(), Error> {
    if u32::try_from(rows).is_ok() { Ok(()) } else { Err(Error::TooManyRows { got: rows }) }
}

/// Refuses an argument with another number of rows than the first has.
pub(crate) fn check_rows(argument: &'static str, wanted: usize, got: usize) -> Result<(), Error> {
    if wanted == got { Ok(()) } else { Err(Error::RowCount { argument, wanted, got }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failing_row_is_named_whatever_thread_meets_one_first() {
        for _ in 0..20 {
            let failed = map_blocks(10 * BLOCK, &Stop::new(), |rows| {
                if rows.start >= 2 * BLOCK { Err(Error::row(rows.start, "bad")) } else { Ok(()) }
            });
            assert_eq!(failed, Err(Error::row(2 * BLOCK, "bad")));
        }
    }

    #[test]
    fn blocks_cover_every_row_once_and_in_order() {
        for rows in [0, 1, BLOCK, BLOCK + 1, 7 * BLOCK - 1] {
            let blocks = map_blocks(rows, &Stop::new(), Ok).unwrap();
            assert!(blocks.into_iter().flatten().eq(0..rows));
        }
    }

    #[test]
    fn a_stop_ends_the_work() {
        let stop = Stop::new();
        stop.request();
        assert_eq!(map_blocks(5, &stop, |_| Ok(())), Err(Error::Interrupted));
    }

    #[test]
    fn lists_of_known_lengths_are_written_block_by_block() {
        for rows in [0, 1, BLOCK, 3 * BLOCK + 5] {
            let length = |row: usize| (row % 3 != 1).then_some(row % 5);
            let mut lists = Lists::with_lengths((0..rows).map(length));
            let parts = lists.blocks_mut();
            map_blocks_with(rows, parts, &Stop::new(), |rows, part| {
                assert_eq!(part.0.len(), rows.clone().filter_map(length).sum::<usize>());
                part.0.fill(rows.start);
                Ok(())
            })
            .unwrap();
            let filled = (0..rows).map(|row| length(row).map(|length| vec![row / BLOCK * BLOCK; length]));
            assert!(lists.rows().into_iter().map(|row| row.map(<[usize]>::to_vec)).eq(filled));
        }
    }

    #[test]
    fn joined_lists_keep_rows_and_nulls() {
        let mut first = Lists::default();
        first.values.extend([1, 2]);
        first.end_row();
        let mut second = Lists::default();
        second.null_row();
        second.values.push(3);
        second.end_row();
        let joined = Lists::join(vec![first, second]);
        assert_eq!(joined.rows(), vec![Some(&[1, 2][..]), None, Some(&[3][..])]);
    }
}

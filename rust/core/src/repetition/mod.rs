//! How much a row of tokens repeats itself: runs, repeated n-grams, and an ending loop.

mod grams;
mod run;

use crate::error::Error;
use crate::rows::{Row, Stop, map_blocks};

use grams::Grams;
use run::longest_run;

/// Length of the n-grams behind [`Repetition::repeated_share`], in tokens.
pub const NGRAM: usize = 8;

/// Repeats of a block that make an ending a loop.
const LOOP_REPEATS: usize = 3;

/// What one row repeats.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Repetition {
    /// Length of the longest stretch whose every token equals the one `p` before it, for some
    /// period `p` not above that length: what was said again right after being said.
    pub longest_run: u32,
    /// Share of tokens inside an 8-gram that also began earlier in the row.
    pub repeated_share: f32,
    /// Smallest period of which the row ends in at least three repeats; 0 without such an ending.
    pub loop_period: u32,
    /// Length of that ending: the longest one of period `loop_period`, its first block included.
    /// Three equal tokens are an ending already; how many make a loop worth dropping is the caller's.
    pub loop_tokens: u32,
}

/// Measures the repetition of each row; null rows give `None`.
pub fn repetition(rows: &[Row<'_, u32>], stop: &Stop) -> Result<Vec<Option<Repetition>>, Error> {
    let blocks = map_blocks(rows.len(), stop, |block| {
        let mut grams = Grams::default();
        block
            .map(|row| {
                let Some(tokens) = rows[row] else { return Ok(None) };
                stop.check()?;
                if u32::try_from(tokens.len()).is_err() {
                    let problem = format!("wanted less than 2^32 tokens, got {}", tokens.len());
                    return Err(Error::row(row, problem));
                }
                let (loop_period, loop_tokens) = ending_loop(tokens);
                grams.read(tokens, NGRAM);
                Ok(Some(Repetition {
                    repeated_share: repeated_share(tokens.len(), &grams),
                    longest_run: longest_run(tokens, &mut grams, stop)?,
                    loop_period,
                    loop_tokens,
                }))
            })
            .collect::<Result<Vec<_>, _>>()
    })?;
    Ok(blocks.concat())
}

/// Share of `tokens`, whose n-grams are `grams`, covered by an n-gram that began earlier too.
fn repeated_share(tokens: usize, grams: &Grams) -> f32 {
    let covered: usize = grams.repeated().map(|(start, end)| end - start).sum();
    if covered == 0 { 0.0 } else { (covered as f64 / tokens as f64) as f32 }
}

/// Smallest `p` such that the last `3 p` tokens have period `p`, and how many tokens at the end have
/// that period; two zeros without one. Z-function of the reversed row.
fn ending_loop(tokens: &[u32]) -> (u32, u32) {
    let n = tokens.len();
    let back = |i: usize| tokens[n - 1 - i];
    // Only periods up to a third of the row can repeat three times.
    let periods = n / LOOP_REPEATS;
    let mut z = vec![0; periods + 1];
    let (mut left, mut right) = (0, 0);
    for p in 1..=periods {
        let mut length = if p < right { z[p - left].min(right - p) } else { 0 };
        while p + length < n && back(length) == back(p + length) {
            length += 1;
        }
        if length >= (LOOP_REPEATS - 1) * p {
            return (p as u32, (p + length) as u32);
        }
        if p + length > right {
            (left, right) = (p, p + length);
        }
        z[p] = length;
    }
    (0, 0)
}

#[cfg(test)]
mod tests;

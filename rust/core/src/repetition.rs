//! How much a row of tokens repeats itself: runs, repeated n-grams, and an ending loop.

use hashbrown::HashTable;

use crate::error::Error;
use crate::ngram::hashes;
use crate::rows::{Row, Stop, map_blocks};

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
        let mut seen = HashTable::new();
        block
            .map(|row| {
                let Some(tokens) = rows[row] else { return Ok(None) };
                stop.check()?;
                if u32::try_from(tokens.len()).is_err() {
                    let problem = format!("wanted less than 2^32 tokens, got {}", tokens.len());
                    return Err(Error::row(row, problem));
                }
                let (loop_period, loop_tokens) = ending_loop(tokens);
                Ok(Some(Repetition {
                    longest_run: longest_run(tokens, stop)?,
                    repeated_share: repeated_share(tokens, &mut seen),
                    loop_period,
                    loop_tokens,
                }))
            })
            .collect::<Result<Vec<_>, _>>()
    })?;
    Ok(blocks.concat())
}

/// A stretch `start..end` (its first block included) of smallest period `period`.
#[derive(Clone, Copy)]
struct Periodic {
    start: usize,
    end: usize,
    period: usize,
}

/// Periods are tried from short to long. Only a run longer than the longest so far matters, so it is
/// enough to look at every such length: `n / max(p, longest)` comparisons for period `p`, `n log n` in
/// all, and far fewer once anything repeats. Stretches already known to have a shorter period are
/// not read again for its multiples, which would make a looping row quadratic.
fn longest_run(tokens: &[u32], stop: &Stop) -> Result<u32, Error> {
    let n = tokens.len();
    let mut longest = 0;
    let mut known: Vec<Periodic> = Vec::new();
    // For each position, 1 + the index in `known` of the stretch there; empty until one is known.
    let mut known_at: Vec<u32> = Vec::new();
    let mut period = 1;
    while period + period.max(longest + 1) <= n {
        if period.is_multiple_of(1024) {
            stop.check()?;
        }
        let least = period.max(longest + 1);
        let mut at = period + least - 1;
        while at < n {
            if tokens[at] == tokens[at - period] && !is_multiple(&known, &known_at, at, period) {
                let start = run_start(tokens, at, period);
                let end = run_end(tokens, at, period);
                let length = end - start;
                if length >= period {
                    longest = longest.max(length);
                    let stretch = Periodic { start: start - period, end, period };
                    remember(stretch, n, &mut known, &mut known_at);
                }
                // The run ended here, and the next one that matters reaches `least` beyond.
                at = at.max(end);
            }
            at += period.max(longest + 1).max(least);
        }
        period += 1;
    }
    Ok(longest as u32)
}

/// Stretches shorter than this are cheaper to read again than to remember.
const WORTH_REMEMBERING: usize = 64;

fn remember(stretch: Periodic, n: usize, known: &mut Vec<Periodic>, known_at: &mut Vec<u32>) {
    if stretch.end - stretch.start < WORTH_REMEMBERING {
        return;
    }
    known_at.resize(n, 0);
    known.push(stretch);
    known_at[stretch.start..stretch.end].fill(known.len() as u32);
}

/// Whether `at` and the token `period` before it lie in one stretch whose period divides `period`:
/// the run around `at` then lies in the stretch too, and is shorter than the stretch's own.
fn is_multiple(known: &[Periodic], known_at: &[u32], at: usize, period: usize) -> bool {
    let Some(index) = known_at.get(at).and_then(|index| index.checked_sub(1)) else { return false };
    let stretch = known[index as usize];
    at - period >= stretch.start && period.is_multiple_of(stretch.period)
}

fn run_start(tokens: &[u32], at: usize, period: usize) -> usize {
    let (later, earlier) = (&tokens[period..=at], &tokens[..=at - period]);
    let matching = later.iter().rev().zip(earlier.iter().rev()).take_while(|(a, b)| a == b).count();
    at + 1 - matching
}

fn run_end(tokens: &[u32], at: usize, period: usize) -> usize {
    let (later, earlier) = (&tokens[at..], &tokens[at - period..]);
    at + later.iter().zip(earlier).take_while(|(a, b)| a == b).count()
}

/// Share of tokens covered by an n-gram that began earlier too. `seen` is room to work in.
fn repeated_share(tokens: &[u32], seen: &mut HashTable<(u64, u32)>) -> f32 {
    if tokens.len() <= NGRAM {
        return 0.0;
    }
    seen.clear();
    seen.reserve(tokens.len(), |&(hash, _)| hash);
    let mut covered = 0;
    let mut covered_to = 0;
    for (start, hash) in hashes(tokens, NGRAM).enumerate() {
        let gram = &tokens[start..start + NGRAM];
        let same = |&(known, at): &(u64, u32)| known == hash && tokens[at as usize..].starts_with(gram);
        if seen.find(hash, same).is_some() {
            covered += start + NGRAM - covered_to.max(start);
            covered_to = start + NGRAM;
        } else {
            seen.insert_unique(hash, (hash, start as u32), |&(hash, _)| hash);
        }
    }
    (covered as f64 / tokens.len() as f64) as f32
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
mod tests {
    use super::*;

    fn one(tokens: &[u32]) -> Repetition {
        repetition(&[Some(tokens)], &Stop::new()).unwrap()[0].unwrap()
    }

    /// The definition, word for word.
    fn longest_run_by_definition(tokens: &[u32]) -> u32 {
        let mut longest = 0;
        for period in 1..tokens.len() {
            let mut length = 0;
            for at in period..tokens.len() {
                length = if tokens[at] == tokens[at - period] { length + 1 } else { 0 };
                if length >= period {
                    longest = longest.max(length);
                }
            }
        }
        longest as u32
    }

    /// Small pseudo-random rows over few tokens, which repeat often.
    fn rows() -> impl Iterator<Item = Vec<u32>> {
        (0..3000_u64).map(|seed| {
            let mut state = seed;
            let mut next = move |below: u64| {
                state = crate::ngram::mix(state + 0x9e37_79b9);
                (state % below) as u32
            };
            let mut row = Vec::new();
            for _ in 0..next(5) {
                let block: Vec<u32> = (0..=next(9)).map(|_| next(3)).collect();
                for _ in 0..=next(20) {
                    row.extend(&block);
                }
                row.extend((0..next(6)).map(|_| next(4)));
            }
            row
        })
    }

    #[test]
    fn longest_run_is_its_definition() {
        for row in rows() {
            assert_eq!(one(&row).longest_run, longest_run_by_definition(&row), "{row:?}");
        }
    }

    #[test]
    fn the_ending_loop_is_its_definition() {
        for row in rows() {
            let n = row.len();
            let period = (1..=n / 3).find(|&p| (n - 2 * p..n).all(|i| row[i] == row[i - p])).unwrap_or(0);
            let mut tokens = period;
            while period > 0 && tokens < n && row[n - 1 - tokens] == row[n - 1 - tokens + period] {
                tokens += 1;
            }
            let got = one(&row);
            assert_eq!((got.loop_period, got.loop_tokens), (period as u32, tokens as u32), "{row:?}");
        }
    }

    #[test]
    fn small_cases() {
        assert_eq!(one(&[]), Repetition::default());
        assert_eq!(one(&[1]), Repetition::default());
        assert_eq!(one(&[1, 1]).longest_run, 1);
        assert_eq!(one(&[1, 2, 3, 1, 2, 3]).longest_run, 3);
        assert_eq!(one(&[1, 2, 3, 1, 2]).longest_run, 0);
        let ending = |row: &[u32]| (one(row).loop_period, one(row).loop_tokens);
        assert_eq!(ending(&[9, 1, 2, 1, 2, 1, 2]), (2, 6));
        assert_eq!(ending(&[9, 2, 1, 2, 1, 2, 1, 2]), (2, 7));
        assert_eq!(ending(&[9, 1, 2, 1, 2]), (0, 0));
        assert_eq!(ending(&[5, 1, 1, 1]), (1, 3));
        // What looped before the end is no loop at the end.
        assert_eq!(ending(&[1, 1, 1, 1, 1, 1, 9, 3, 3, 3]), (1, 3));
    }

    #[test]
    fn repeated_share_covers_the_later_occurrences() {
        let mut row: Vec<u32> = (0..NGRAM as u32).collect();
        row.extend(0..NGRAM as u32);
        assert!((one(&row).repeated_share - 0.5).abs() < 1e-6);
        assert!(one(&row[..NGRAM]).repeated_share.abs() < f32::EPSILON);
        // Overlapping occurrences cover each token once: all but the first of 20 equal tokens.
        assert!((one(&[7; 20]).repeated_share - 0.95).abs() < 1e-6);
    }

    #[test]
    fn long_loops_do_not_take_quadratic_time() {
        let n = 1 << 16;
        let half = |i: u32, a: u32, b: u32| if i < n / 2 { a } else { b };
        let noise = |i: u32| crate::ngram::mix(u64::from(i)) as u32;
        let rows: Vec<Vec<u32>> = vec![
            vec![0; n as usize],
            (0..n).map(|i| half(i, 1, 2)).collect(),
            (0..n).map(|i| half(i, 1, i % 3 + 2)).collect(),
            (0..n).map(|i| half(i, noise(i), 0)).collect(),
            (0..n).map(|i| if i % 100 == 0 { noise(i) } else { 0 }).collect(),
            (0..n).map(|i| i % 21_845).collect(),
        ];
        let rows: Vec<Row<'_, u32>> = rows.iter().map(|row| Some(&row[..])).collect();
        let started = std::time::Instant::now();
        let got = repetition(&rows, &Stop::new()).unwrap();
        // Quadratic time is minutes in a debug build; this takes well under a second.
        assert!(started.elapsed().as_secs() < 20);
        assert_eq!(got[0].unwrap().longest_run, n - 1);
        assert_eq!((got[5].unwrap().loop_period, got[5].unwrap().loop_tokens), (21_845, n));
    }
}

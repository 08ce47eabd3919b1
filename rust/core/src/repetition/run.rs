//! The longest stretch of a row that says again what was just said.

use super::grams::Grams;
use crate::error::Error;
use crate::rows::Stop;

/// A stretch `start..end` (its first block included) of smallest period `period`.
#[derive(Clone, Copy)]
struct Periodic {
    start: usize,
    end: usize,
    period: usize,
}

/// Stretches shorter than this are cheaper to read again than to remember.
const WORTH_REMEMBERING: usize = 64;

/// Probes between two looks at [`Stop`].
const CHECK_EVERY: usize = 1 << 16;

/// Length of the longest run of `tokens`: every token equals the one `p` before it, for a period `p`
/// not above the length.
///
/// Periods are tried from short to long, and only a run longer than the longest so far matters, so it
/// is enough to look at every such length. A run is long enough to hold n-grams that all began `p`
/// tokens earlier; so from the length of an n-gram on, runs are looked for where `grams`, those of
/// this row, found repeats. A row without repeats costs little more than looking at it.
pub(super) fn longest_run(tokens: &[u32], grams: &mut Grams, stop: &Stop) -> Result<u32, Error> {
    let mut search = Search { tokens, longest: 0, known: Vec::new(), known_at: Vec::new(), probes: 0 };
    let long = grams.length.min(tokens.len());
    for period in 1..long {
        search.look(period, (0, tokens.len()), tokens, 1, stop)?;
    }
    let mut stretches = longer(grams, search.longest);
    // In a row of few different tokens every short n-gram repeats; longer ones are as good a sign.
    let covered: usize = stretches.iter().map(|(start, end)| end - start).sum();
    if covered > tokens.len() / 4 && search.longest >= 2 * grams.length {
        grams.read(tokens, search.longest + 1);
        stretches = longer(grams, search.longest);
    }
    for stretch in stretches {
        let mut period = long;
        while period.max(search.longest + 1) <= stretch.1 - stretch.0 {
            search.look(period, stretch, &grams.first, grams.length, stop)?;
            period += 1;
        }
    }
    Ok(search.longest as u32)
}

/// The repeated stretches that a run longer than `longest` fits into.
fn longer(grams: &Grams, longest: usize) -> Vec<(usize, usize)> {
    grams.repeated().filter(|(start, end)| end - start > longest).collect()
}

struct Search<'a> {
    tokens: &'a [u32],
    longest: usize,
    known: Vec<Periodic>,
    /// For each position, 1 + the index in `known` of the stretch there; empty until one is known.
    known_at: Vec<u32>,
    /// Since the last look at [`Stop`].
    probes: usize,
}

impl Search<'_> {
    /// Looks for runs of `period` longer than the longest that lie inside of `within`. Equal `names`
    /// at two positions mean that the `width` tokens there are equal.
    fn look(
        &mut self,
        period: usize,
        within: (usize, usize),
        names: &[u32],
        width: usize,
        stop: &Stop,
    ) -> Result<(), Error> {
        let mut least = period.max(self.longest + 1);
        let mut at = within.0.max(period) + least - width;
        // Only whole n-grams have names.
        let to = within.1 + 1 - width;
        while at < to {
            if names[at] == names[at - period] {
                at = at.max(self.end_of_run(at, period));
                least = period.max(self.longest + 1);
            }
            // The next run that matters begins behind `at`.
            at += least + 1 - width;
            self.probes += 1;
        }
        if self.probes > CHECK_EVERY {
            self.probes = 0;
            stop.check()?;
        }
        Ok(())
    }

    /// Where the run of `period` around `at` ends; it is measured unless it is known to be shorter.
    ///
    /// Stretches already known to have a shorter period are not read again for its multiples, which
    /// would make a looping row quadratic: where `at` and the token `period` before it lie in one
    /// stretch whose period divides `period`, the run lies in it too and is shorter than its own.
    fn end_of_run(&mut self, at: usize, period: usize) -> usize {
        if let Some(index) = self.known_at.get(at).and_then(|index| index.checked_sub(1)) {
            let stretch = self.known[index as usize];
            if at - period >= stretch.start && period.is_multiple_of(stretch.period) {
                return stretch.end;
            }
        }
        let start = run_start(self.tokens, at, period);
        let end = run_end(self.tokens, at, period);
        if end - start >= period {
            self.longest = self.longest.max(end - start);
            self.remember(Periodic { start: start - period, end, period });
        }
        end
    }

    fn remember(&mut self, stretch: Periodic) {
        if stretch.end - stretch.start >= WORTH_REMEMBERING {
            self.known_at.resize(self.tokens.len(), 0);
            self.known.push(stretch);
            self.known_at[stretch.start..stretch.end].fill(self.known.len() as u32);
        }
    }
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

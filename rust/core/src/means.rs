//! Mean logprob of each sentence of one response, without a branch that depends on where sentences end.
//!
//! Sentences are short and of all lengths: a loop over the tokens of one ends where the processor does not
//! expect it, which costs more than adding the tokens. So the walk takes [`WINDOW`] tokens at a time, adds
//! those that end inside of the sentence, and goes on with the same sentence or with the next one by
//! arithmetic alone.

use std::hint::select_unpredictable;

/// Tokens looked at in one step.
const WINDOW: usize = 16;

/// Sentence `i` gets the mean of its tokens in `means[i]`.
///
/// One checked row without tokens of no width: both lists of ends strictly increase, and the last of each is
/// the same. Tokens are added in f64, in an order that depends on the row alone, so a row has the same means on every machine.
pub(crate) fn sentence_means(logprobs: &[f32], token_ends: &[u32], sentence_ends: &[u32], means: &mut [f64]) {
    let row = Row { logprobs: &logprobs[..token_ends.len()], token_ends, sentence_ends };
    // A step waits for the one before it: two walks side by side, each over half of the sentences, fill the wait.
    let half = sentence_ends.len() / 2;
    let (mut front, mut back) = (Walk::from(&row, 0), Walk::from(&row, half));
    while front.sentence < half && back.sentence < sentence_ends.len() {
        front.step(&row, means);
        back.step(&row, means);
    }
    while front.sentence < half {
        front.step(&row, means);
    }
    while back.sentence < sentence_ends.len() {
        back.step(&row, means);
    }
}

struct Row<'a> {
    logprobs: &'a [f32],
    token_ends: &'a [u32],
    sentence_ends: &'a [u32],
}

/// Where one walk is.
struct Walk {
    sentence: usize,
    /// First token that ends behind the sentence before this one.
    first: usize,
    /// Tokens before this one have been added or lie before the sentence.
    token: usize,
    sum: f64,
}

impl Walk {
    fn from(row: &Row<'_>, sentence: usize) -> Self {
        let before = sentence.checked_sub(1).map(|before| row.sentence_ends[before]);
        let first = before.map_or(0, |end| row.token_ends.partition_point(|&token| token <= end));
        Self { sentence, first, token: first, sum: 0.0 }
    }

    /// Adds what the next window holds of the sentence. The mean is written each time, and is right once the
    /// sentence has ended.
    #[expect(
        clippy::inline_always,
        reason = "called in four places; what a walk holds has to stay in registers"
    )]
    #[inline(always)]
    fn step(&mut self, row: &Row<'_>, means: &mut [f64]) {
        let Row { logprobs, token_ends, sentence_ends } = *row;
        let end = sentence_ends[self.sentence];
        let (ends, values) = (&token_ends[self.token..], &logprobs[self.token..]);
        let (count, sum) = match (ends.first_chunk(), values.first_chunk()) {
            (Some(ends), Some(values)) => add_window(ends, values, end),
            _ => add_last(ends, values, end),
        };
        self.token += count;
        self.sum += sum;
        // A token that straddles `end` counts for this sentence and for the next one. There is one unless the
        // token before ends just there, as it does at the end of the text.
        let straddles = token_ends[self.token.max(1) - 1] != end;
        let next = logprobs[self.token.min(logprobs.len() - 1)].to_bits();
        let straddling = f32::from_bits(select_unpredictable(straddles, next, 0));
        let tokens = self.token - self.first + usize::from(straddles);
        means[self.sentence] = (self.sum + f64::from(straddling)) / (tokens as i64 as f64);
        let ended = count < WINDOW;
        self.sentence += usize::from(ended);
        self.first = select_unpredictable(ended, self.token, self.first);
        self.sum = f64::from_bits(select_unpredictable(ended, 0, self.sum.to_bits()));
    }
}

/// [`add_window`] for the last tokens of a row, fewer than a window: the same additions in the same order.
fn add_last(ends: &[u32], values: &[f32], end: u32) -> (usize, f64) {
    let (mut count, mut lanes) = (0, [0.0_f64; 4]);
    for (_, &value) in ends.iter().zip(values).take_while(|&(&token, _)| token <= end) {
        lanes[count % 4] += f64::from(value);
        count += 1;
    }
    (count, (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]))
}

/// How many of the tokens end at `end` or before, and the sum of their values.
#[cfg(target_arch = "x86_64")]
#[inline]
#[expect(unsafe_code, reason = "one call, proved below")]
fn add_window(ends: &[u32; WINDOW], values: &[f32; WINDOW], end: u32) -> (usize, f64) {
    // SAFETY: `add_window_sse2` needs a processor with SSE2 and nothing else, and every x86-64 has it.
    unsafe { add_window_sse2(ends, values, end) }
}

/// [`add_window_plainly`] in vector instructions; what the compiler makes of that one takes twice the time.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse2")]
#[inline]
fn add_window_sse2(ends: &[u32; WINDOW], values: &[f32; WINDOW], end: u32) -> (usize, f64) {
    use std::arch::x86_64::{
        _mm_add_epi32, _mm_add_pd, _mm_add_sd, _mm_andnot_ps, _mm_castsi128_ps, _mm_cmpgt_epi32,
        _mm_cvtps_pd, _mm_cvtsd_f64, _mm_cvtsi128_si32, _mm_movehl_ps, _mm_set_epi32, _mm_set_ps,
        _mm_set1_epi32, _mm_setzero_pd, _mm_setzero_si128, _mm_shuffle_epi32, _mm_unpackhi_pd, _mm_xor_si128,
    };
    // Only signed numbers can be compared: turning the highest bit keeps the order.
    let highest = _mm_set1_epi32(i32::MIN);
    let end = _mm_xor_si128(_mm_set1_epi32(end as i32), highest);
    let (mut behind, mut low, mut high) = (_mm_setzero_si128(), _mm_setzero_pd(), _mm_setzero_pd());
    for (ends, values) in ends.as_chunks::<4>().0.iter().zip(values.as_chunks::<4>().0) {
        let [a, b, c, d] = ends.map(|end| end as i32);
        let is_behind = _mm_cmpgt_epi32(_mm_xor_si128(_mm_set_epi32(d, c, b, a), highest), end);
        behind = _mm_add_epi32(behind, is_behind);
        let [a, b, c, d] = *values;
        let kept = _mm_andnot_ps(_mm_castsi128_ps(is_behind), _mm_set_ps(d, c, b, a));
        low = _mm_add_pd(low, _mm_cvtps_pd(kept));
        high = _mm_add_pd(high, _mm_cvtps_pd(_mm_movehl_ps(kept, kept)));
    }
    // Each token behind the sentence counts -1.
    behind = _mm_add_epi32(behind, _mm_shuffle_epi32::<0b01_00_11_10>(behind));
    behind = _mm_add_epi32(behind, _mm_shuffle_epi32::<0b10_11_00_01>(behind));
    let both = _mm_add_pd(low, high);
    let sum = _mm_cvtsd_f64(_mm_add_sd(both, _mm_unpackhi_pd(both, both)));
    ((WINDOW as i32 + _mm_cvtsi128_si32(behind)) as usize, sum)
}

#[cfg(not(target_arch = "x86_64"))]
use add_window_plainly as add_window;

/// The definition, in the same order of additions.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn add_window_plainly(ends: &[u32; WINDOW], values: &[f32; WINDOW], end: u32) -> (usize, f64) {
    let (mut count, mut lanes) = (0, [0.0_f64; 4]);
    for (ends, values) in ends.as_chunks::<4>().0.iter().zip(values.as_chunks::<4>().0) {
        for lane in 0..4 {
            // Zero bits for a token behind the sentence, whatever its value: zero times NaN would be NaN.
            let kept = 0_u32.wrapping_sub(u32::from(ends[lane] <= end));
            count += (kept & 1) as usize;
            lanes[lane] += f64::from(f32::from_bits(values[lane].to_bits() & kept));
        }
    }
    (count, (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]))
}

/// `exp` of each, as f32: [`f64::exp`] rounded, in a form that the compiler turns into vector instructions.
pub(crate) fn exponentials(values: &[f64], out: &mut [f32]) {
    for (out, &value) in out.iter_mut().zip(values) {
        *out = exponential(value) as f32;
    }
}

/// Within 1e-14 of the value; NaN stays NaN.
#[inline]
fn exponential(value: f64) -> f64 {
    // Adding 1.5 * 2^52 leaves the nearest whole number in the lowest bits of the sum.
    const TO_WHOLE: f64 = 6_755_399_441_055_744.0;
    // ln 2 in two parts; the first times a whole number below 2^20 is exact.
    const LN_2: [f64; 2] = [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10];
    /// 1 / n!
    const TAYLOR: [f64; 12] = {
        let (mut terms, mut n) = ([1.0; 12], 1);
        while n < 12 {
            terms[n] = terms[n - 1] / n as f64;
            n += 1;
        }
        terms
    };
    // What lies outside is 0 or infinite as f32 anyway.
    let value = value.clamp(-200.0, 200.0);
    let shifted = value * std::f64::consts::LOG2_E + TO_WHOLE;
    let doublings = shifted - TO_WHOLE;
    let rest = (value - doublings * LN_2[0]) - doublings * LN_2[1];
    let polynomial = TAYLOR.iter().rev().fold(0.0, |sum, &term| sum * rest + term);
    // The exponent's bits of 2^doublings.
    polynomial * f64::from_bits((shifted.to_bits() << 52).wrapping_add(1023 << 52))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers below `bound` that look random.
    fn numbers(seed: u64, bound: u32) -> impl Iterator<Item = u32> {
        let mut state = seed;
        std::iter::repeat_with(move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) as u32) % bound
        })
    }

    /// The mean as `logprob` defines it, token by token.
    fn mean_of(logprobs: &[f32], token_ends: &[u32], start: u32, end: u32) -> f64 {
        let (mut sum, mut count, mut left) = (0.0, 0.0, 0);
        for (&logprob, &right) in logprobs.iter().zip(token_ends) {
            if left < end && right > start {
                sum += f64::from(logprob);
                count += 1.0;
            }
            left = right;
        }
        sum / count
    }

    #[test]
    fn means_are_those_of_the_definition_whatever_the_lengths() {
        for seed in 0..400 {
            let mut random = numbers(seed, 1000);
            let mut next = |bound: u32| random.next().unwrap() % bound;
            let (tokens, widest, sentence) = (1 + next(200), 1 + next(6), 1 + next(60));
            let mut end = 0;
            let token_ends: Vec<u32> = (0..tokens)
                .map(|_| {
                    end += 1 + next(widest);
                    end
                })
                .collect();
            let text = end;
            let sentence_ends: Vec<u32> =
                (1..=text).filter(|&at| at == text || next(sentence) == 0).collect();
            let logprobs: Vec<f32> = token_ends.iter().map(|_| -(next(1000) as f32) / 64.0).collect();
            let mut means = vec![0.0; sentence_ends.len()];
            sentence_means(&logprobs, &token_ends, &sentence_ends, &mut means);
            let mut start = 0;
            for (&mean, &end) in means.iter().zip(&sentence_ends) {
                let wanted = mean_of(&logprobs, &token_ends, start, end);
                assert!((mean - wanted).abs() < 1e-12, "seed {seed}: {mean} {wanted} up to {end}");
                start = end;
            }
        }
    }

    #[test]
    fn offsets_up_to_the_largest() {
        let token_ends: Vec<u32> = (0..40).map(|i| u32::MAX - 2 * (39 - i)).collect();
        let sentence_ends = [u32::MAX - 50, u32::MAX - 41, u32::MAX];
        let logprobs: Vec<f32> = (0..40_u8).map(f32::from).collect();
        let mut means = [0.0; 3];
        sentence_means(&logprobs, &token_ends, &sentence_ends, &mut means);
        // Tokens 0 to 14, 15 to 19 (which straddles), 19 to 39.
        assert!(means.iter().zip([7.0, 17.0, 29.0]).all(|(mean, wanted)| (mean - wanted).abs() < 1e-12));
    }

    #[test]
    fn the_instructions_do_what_the_definition_says() {
        let values: [f32; WINDOW] =
            std::array::from_fn(|i| [f32::NAN, -0.5, f32::NEG_INFINITY, -3.7e-9][i / 4]);
        for step in [1_u32, 1 << 28] {
            let ends: [u32; WINDOW] = std::array::from_fn(|i| step * i as u32 + 5);
            for end in ends.iter().flat_map(|&end| [end - 1, end]).chain([0, u32::MAX]) {
                let (count, sum) = add_window(&ends, &values, end);
                let plain = add_window_plainly(&ends, &values, end);
                assert_eq!((count, sum.is_nan()), (plain.0, plain.1.is_nan()));
                let values = values.map(|value| if value.is_finite() { value } else { -1.25 });
                let (count, sum) = add_window(&ends, &values, end);
                let plain = add_window_plainly(&ends, &values, end);
                assert_eq!((count, sum.to_bits()), (plain.0, plain.1.to_bits()));
            }
        }
    }

    #[test]
    fn exponentials_are_those_of_the_library() {
        let special = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, 88.7, 88.8, -1e-320];
        // Below -87.3 the f32 are denormal, below -104 they are 0.
        let fine = (0..1_050_000).map(|i| f64::from(i) * -1e-4);
        let values: Vec<f64> = special.into_iter().chain(fine).collect();
        let mut found = vec![0.0; values.len()];
        exponentials(&values, &mut found);
        for (&value, &found) in values.iter().zip(&found) {
            assert_eq!((value.exp() as f32).to_bits(), found.to_bits(), "of {value}");
        }
        exponentials(&[f64::NAN], &mut found);
        assert!(found[0].is_nan());
    }
}

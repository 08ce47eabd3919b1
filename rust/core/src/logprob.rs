//! Probability of each sentence of a response under one model.

use crate::error::Error;
use crate::rows::{Lists, Row, Stop, check_rows, map_blocks};

/// Geometric-mean probability `exp(mean logprob)` of the tokens that cover each sentence.
///
/// Token `i` spans bytes `token_ends[i - 1]..token_ends[i]` and counts for every sentence that its
/// span intersects: one that straddles a boundary counts on both sides, so every sentence has a
/// token whatever the tokenizer. A token without width at position `p` belongs to the sentence with
/// `start < p <= end` (the first sentence, if `p` is 0). A null in any argument gives a null row.
pub fn sentence_probabilities(
    logprobs: &[Row<'_, f32>],
    token_ends: &[Row<'_, u32>],
    sentence_ends: &[Row<'_, u32>],
    stop: &Stop,
) -> Result<Lists<f32>, Error> {
    check_rows("token_ends", logprobs.len(), token_ends.len())?;
    check_rows("sentence_ends", logprobs.len(), sentence_ends.len())?;
    let blocks = map_blocks(logprobs.len(), stop, |rows| {
        let mut lists = Lists::default();
        for row in rows {
            match (logprobs[row], token_ends[row], sentence_ends[row]) {
                (Some(logprobs), Some(token_ends), Some(sentence_ends)) => {
                    check_row(row, logprobs.len(), token_ends, sentence_ends)?;
                    row_probabilities(logprobs, token_ends, sentence_ends, &mut lists.values);
                    lists.end_row();
                }
                _ => lists.null_row(),
            }
        }
        Ok(lists)
    })?;
    Ok(Lists::join(blocks))
}

fn check_row(row: usize, logprobs: usize, token_ends: &[u32], sentence_ends: &[u32]) -> Result<(), Error> {
    if logprobs != token_ends.len() {
        let problem =
            format!("wanted one logprob a token: {} token_ends, got {logprobs} logprobs", token_ends.len());
        return Err(Error::row(row, problem));
    }
    if let Some(i) = token_ends.windows(2).position(|pair| pair[0] > pair[1]) {
        let (before, after) = (token_ends[i], token_ends[i + 1]);
        let problem =
            format!("wanted token_ends that never decrease, got {before} then {after} at token {}", i + 1);
        return Err(Error::row(row, problem));
    }
    if sentence_ends.first() == Some(&0) {
        return Err(Error::row(row, "wanted sentence_ends above 0, got 0 for sentence 0"));
    }
    if let Some(i) = sentence_ends.windows(2).position(|pair| pair[0] >= pair[1]) {
        let (before, after) = (sentence_ends[i], sentence_ends[i + 1]);
        let problem = format!(
            "wanted strictly increasing sentence_ends, got {before} then {after} at sentence {}",
            i + 1
        );
        return Err(Error::row(row, problem));
    }
    let text_bytes = sentence_ends.last().copied().unwrap_or(0);
    match token_ends.last() {
        None if text_bytes > 0 => {
            let problem = format!("wanted tokens for {} sentences, got none", sentence_ends.len());
            Err(Error::row(row, problem))
        }
        Some(&last) if last != text_bytes => {
            let problem = format!(
                "wanted tokens and sentences of one text, got token_ends up to byte {last} \
                 and sentence_ends up to byte {text_bytes}"
            );
            Err(Error::row(row, problem))
        }
        _ => Ok(()),
    }
}

/// One checked row. Both lists are sorted, so the tokens of a sentence are one stretch.
fn row_probabilities(logprobs: &[f32], token_ends: &[u32], sentence_ends: &[u32], out: &mut Vec<f32>) {
    let mut first = 0;
    let mut start = 0;
    for &end in sentence_ends {
        // Tokens that end at or before the start are done; at position 0 nothing is before the first.
        while start > 0 && token_ends[first] <= start {
            first += 1;
        }
        let mut sum = 0.0_f64;
        let mut next = first;
        while next < token_ends.len() {
            let token_start = if next == 0 { 0 } else { token_ends[next - 1] };
            let token_end = token_ends[next];
            // A token that starts at `end` still belongs here when it has no width.
            if token_start > end || (token_start == end && token_end > end) {
                break;
            }
            sum += f64::from(logprobs[next]);
            next += 1;
        }
        out.push((sum / (next - first) as f64).exp() as f32);
        // The last token may straddle `end`, so the next sentence looks at it again.
        first = next - 1;
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(logprobs: &[f32], token_ends: &[u32], sentence_ends: &[u32]) -> Result<Vec<f32>, Error> {
        sentence_probabilities(&[Some(logprobs)], &[Some(token_ends)], &[Some(sentence_ends)], &Stop::new())
            .map(|lists| lists.values)
    }

    fn ln(p: f32) -> f32 {
        p.ln()
    }

    #[test]
    fn geometric_mean_of_the_tokens_of_each_sentence() {
        let got = one(&[ln(0.5), ln(0.125), ln(0.9)], &[2, 4, 7], &[4, 7]).unwrap();
        assert!((got[0] - 0.25).abs() < 1e-6 && (got[1] - 0.9).abs() < 1e-6);
    }

    #[test]
    fn a_straddling_token_counts_on_both_sides() {
        let got = one(&[ln(0.5), ln(0.125)], &[2, 8], &[4, 8]).unwrap();
        assert!((got[0] - 0.25).abs() < 1e-6 && (got[1] - 0.125).abs() < 1e-6);
        let got = one(&[ln(0.5)], &[9], &[3, 6, 9]).unwrap();
        assert!(got.iter().all(|p| (p - 0.5).abs() < 1e-6));
    }

    #[test]
    fn tokens_without_width_belong_to_the_sentence_that_ends_with_them() {
        // The end token after the text, one at a boundary, one at the very start.
        let got = one(&[ln(0.5), ln(0.125)], &[3, 3], &[3]).unwrap();
        assert!((got[0] - 0.25).abs() < 1e-6);
        let got = one(&[ln(0.5), ln(0.125), ln(0.9)], &[3, 3, 6], &[3, 6]).unwrap();
        assert!((got[0] - 0.25).abs() < 1e-6 && (got[1] - 0.9).abs() < 1e-6);
        let got = one(&[ln(0.5), ln(0.125), ln(0.9)], &[0, 3, 6], &[3, 6]).unwrap();
        assert!((got[0] - 0.25).abs() < 1e-6 && (got[1] - 0.9).abs() < 1e-6);
    }

    #[test]
    fn minus_infinity_is_zero_and_nan_stays_in_its_sentence() {
        let got = one(&[f32::NEG_INFINITY, f32::NAN, -0.5], &[1, 2, 3], &[1, 2, 3]).unwrap();
        assert!(got[0].to_bits() == 0 && got[1].is_nan() && (got[2] - (-0.5_f32).exp()).abs() < 1e-7);
    }

    #[test]
    fn no_sentences_no_probabilities() {
        assert_eq!(one(&[], &[], &[]).unwrap(), vec![]);
        assert_eq!(one(&[-1.0], &[0], &[]).unwrap(), vec![]);
    }

    #[test]
    fn malformed_rows_are_named() {
        type Case<'a> = (&'a [f32], &'a [u32], &'a [u32], &'a str);
        let cases: [Case<'_>; 7] = [
            (&[-1.0], &[1, 2], &[2], "2 token_ends, got 1 logprobs"),
            (&[-1.0, -1.0], &[2, 1], &[1], "never decrease, got 2 then 1 at token 1"),
            (&[-1.0], &[2], &[2, 2], "strictly increasing sentence_ends, got 2 then 2"),
            (&[-1.0], &[2], &[0, 2], "above 0"),
            (&[-1.0], &[2], &[3], "up to byte 2 and sentence_ends up to byte 3"),
            (&[-1.0], &[2], &[], "up to byte 2 and sentence_ends up to byte 0"),
            (&[], &[], &[2], "wanted tokens for 1 sentences"),
        ];
        for (logprobs, token_ends, sentence_ends, words) in cases {
            let message = one(logprobs, token_ends, sentence_ends).unwrap_err().to_string();
            assert!(message.starts_with("row 0: ") && message.contains(words), "{message}");
        }
    }

    #[test]
    fn null_in_null_out_and_row_counts_must_agree() {
        let got = sentence_probabilities(&[None], &[Some(&[1])], &[Some(&[1])], &Stop::new()).unwrap();
        assert_eq!(got.rows(), vec![None]);
        let got = sentence_probabilities(&[None], &[], &[None], &Stop::new());
        assert!(matches!(got, Err(Error::RowCount { argument: "token_ends", .. })));
    }
}

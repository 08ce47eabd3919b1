//! Probability of each sentence of a response, under one model or under two.

use crate::divergence::{Divergence, check_beta, row_divergence};
use crate::error::Error;
use crate::means::{exponentials, sentence_means};
use crate::rows::{Lists, Row, Stop, Unwritten, check_rows, map_blocks_with};
use crate::width::{Wide, with_width};

/// A response's tokens under one model, for every row.
#[derive(Debug, Clone, Copy)]
pub struct Tokens<'a> {
    /// Natural-log probabilities, one a token.
    pub logprobs: &'a [Row<'a, f32>],
    /// Byte offsets in the text at which the tokens end, never decreasing.
    pub token_ends: &'a [Row<'a, u32>],
}

/// What [`compare_sentences`] finds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comparison {
    /// Probability of each sentence under the teacher; a null row where its tokens or the sentences are null.
    pub teacher: Lists<f32>,
    /// The same under the student.
    pub student: Lists<f32>,
    /// Counts of each response; `None` where either list is null.
    pub counts: Vec<Option<Divergence>>,
}

/// Geometric-mean probability `exp(mean logprob)` of the tokens that cover each sentence.
///
/// Token `i` spans bytes `token_ends[i - 1]..token_ends[i]` and counts for every sentence that its
/// span intersects: one that straddles a boundary counts on both sides, so every sentence has a
/// token whatever the tokenizer. A token without width (an end token, a chat format's header) is no part
/// of the text and counts for no sentence. A null in any argument gives a null row.
pub fn sentence_probabilities(
    logprobs: &[Row<'_, f32>],
    token_ends: &[Row<'_, u32>],
    sentence_ends: &[Row<'_, u32>],
    stop: &Stop,
) -> Result<Lists<f32>, Error> {
    check_rows("token_ends", logprobs.len(), token_ends.len())?;
    check_rows("sentence_ends", logprobs.len(), sentence_ends.len())?;
    let tokens = Tokens { logprobs, token_ends };
    let mut found = tokens.lists(sentence_ends);
    map_blocks_with(logprobs.len(), found.blocks_mut(), stop, |rows, mut out| {
        let mut scratch = Scratch::default();
        for row in rows {
            tokens.write_row(row, sentence_ends[row], &mut scratch, &mut out)?;
        }
        Ok(())
    })?;
    Ok(found)
}

/// Both models' [`sentence_probabilities`] and their [`divergence`](crate::divergence::divergence), in
/// one pass over the rows.
pub fn compare_sentences(
    teacher: Tokens<'_>,
    student: Tokens<'_>,
    sentence_ends: &[Row<'_, u32>],
    beta: f64,
    stop: &Stop,
) -> Result<Comparison, Error> {
    check_beta(beta)?;
    let count = teacher.logprobs.len();
    check_rows("teacher_token_ends", count, teacher.token_ends.len())?;
    check_rows("student_logprobs", count, student.logprobs.len())?;
    check_rows("student_token_ends", count, student.token_ends.len())?;
    check_rows("sentence_ends", count, sentence_ends.len())?;
    let (mut p_teacher, mut p_student) = (teacher.lists(sentence_ends), student.lists(sentence_ends));
    let parts: Vec<_> = p_teacher.blocks_mut().into_iter().zip(p_student.blocks_mut()).collect();
    let counts = map_blocks_with(count, parts, stop, |rows, (mut teachers, mut students)| {
        let mut scratch = Scratch::default();
        rows.map(|row| {
            let of_teacher = teacher.write_row(row, sentence_ends[row], &mut scratch, &mut teachers)?;
            let of_student = student.write_row(row, sentence_ends[row], &mut scratch, &mut students)?;
            Ok(of_teacher.zip(of_student).map(|(teacher, student)| row_divergence(teacher, student, beta)))
        })
        .collect::<Result<Vec<_>, _>>()
    })?;
    Ok(Comparison { teacher: p_teacher, student: p_student, counts: counts.concat() })
}

/// Room that the rows of a block use one after the other.
#[derive(Debug, Default)]
struct Scratch {
    means: Vec<f64>,
    wide: Wide,
}

impl Tokens<'_> {
    /// Room for the probabilities of each row; a null row where its tokens or the sentences are null.
    fn lists(&self, sentence_ends: &[Row<'_, u32>]) -> Lists<f32> {
        let tokens = self.logprobs.iter().zip(self.token_ends);
        Lists::with_lengths(tokens.zip(sentence_ends).map(|((logprobs, token_ends), sentence_ends)| {
            logprobs.and(*token_ends).and(*sentence_ends).map(<[u32]>::len)
        }))
    }

    /// Writes the row's probabilities to the next place of `out`; `None` for a null row.
    fn write_row<'out>(
        &self,
        row: usize,
        sentence_ends: Row<'_, u32>,
        scratch: &mut Scratch,
        out: &mut Unwritten<'out, f32>,
    ) -> Result<Option<&'out [f32]>, Error> {
        let (Some(logprobs), Some(token_ends), Some(sentence_ends)) =
            (self.logprobs[row], self.token_ends[row], sentence_ends)
        else {
            return Ok(None);
        };
        check_row(row, logprobs.len(), token_ends, sentence_ends)?;
        let Scratch { means, wide } = scratch;
        let (logprobs, token_ends) = with_width(logprobs, token_ends, wide);
        means.resize(sentence_ends.len(), 0.0);
        sentence_means(logprobs, token_ends, sentence_ends, means);
        let probabilities = out.take(sentence_ends.len());
        exponentials(means, probabilities);
        Ok(Some(probabilities))
    }
}

/// The first place where `ordered` does not hold for neighbours. The usual case, that it always does, is
/// decided without branches, which lets the compiler compare many at a time.
fn first_disorder(values: &[u32], ordered: impl Fn(u32, u32) -> bool) -> Option<usize> {
    let pairs = || values.iter().zip(values.iter().skip(1));
    if pairs().fold(true, |all, (&a, &b)| all & ordered(a, b)) {
        return None;
    }
    pairs().position(|(&a, &b)| !ordered(a, b))
}

fn check_row(row: usize, logprobs: usize, token_ends: &[u32], sentence_ends: &[u32]) -> Result<(), Error> {
    if logprobs != token_ends.len() {
        let problem =
            format!("wanted one logprob a token: {} token_ends, got {logprobs} logprobs", token_ends.len());
        return Err(Error::row(row, problem));
    }
    if let Some(i) = first_disorder(token_ends, |a, b| a <= b) {
        let (before, after) = (token_ends[i], token_ends[i + 1]);
        let problem =
            format!("wanted token_ends that never decrease, got {before} then {after} at token {}", i + 1);
        return Err(Error::row(row, problem));
    }
    if sentence_ends.first() == Some(&0) {
        return Err(Error::row(row, "wanted sentence_ends above 0, got 0 for sentence 0"));
    }
    if let Some(i) = first_disorder(sentence_ends, |a, b| a < b) {
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
    fn tokens_without_width_count_for_no_sentence() {
        // An answer of one token behind the five of a header: 0.2 itself, not 0.2^(1/6) = 0.76.
        let header = [0.0; 5];
        let logprobs = [&header[..], &[ln(0.2)]].concat();
        let got = one(&logprobs, &[0, 0, 0, 0, 0, 2], &[2]).unwrap();
        assert!((got[0] - 0.2).abs() < 1e-6);
        // The same behind a sentence of reasoning, with an end token.
        let logprobs = [&[ln(0.5)], &header[..], &[ln(0.2), 0.0]].concat();
        let got = one(&logprobs, &[3, 3, 3, 3, 3, 3, 5, 5], &[3, 5]).unwrap();
        assert!((got[0] - 0.5).abs() < 1e-6 && (got[1] - 0.2).abs() < 1e-6);
        // Nor does their value, whatever it is.
        let got = one(&[f32::NAN, ln(0.5), f32::NEG_INFINITY], &[0, 3, 3], &[3]).unwrap();
        assert!((got[0] - 0.5).abs() < 1e-6);
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

    #[test]
    fn long_sentences_are_found_and_summed_whole() {
        for tokens in [7_u32, 8, 9, 16, 33, 100] {
            let logprobs: Vec<f32> = (0..2 * tokens).map(|i| if i < tokens { -1.0 } else { -2.0 }).collect();
            let ends: Vec<u32> = (1..=2 * tokens).collect();
            let got = one(&logprobs, &ends, &[tokens, 2 * tokens]).unwrap();
            assert!((got[0] - (-1.0_f32).exp()).abs() < 1e-6 && (got[1] - (-2.0_f32).exp()).abs() < 1e-6);
        }
    }

    #[test]
    fn disorder_is_found_at_its_first_place() {
        let mut ends: Vec<u32> = (0..100).collect();
        assert_eq!(first_disorder(&ends, |a, b| a <= b), None);
        ends.swap(70, 71);
        assert_eq!(first_disorder(&ends, |a, b| a <= b), Some(70));
        assert_eq!(first_disorder(&[3], |a, b| a < b), None);
    }

    #[test]
    fn comparing_is_both_models_and_their_divergence() {
        let (ends, sentences) = ([Some(&[2_u32, 4][..]), None], [Some(&[2_u32, 4][..]), Some(&[1][..])]);
        let (teacher, student) = ([Some(&[0.0_f32, 0.0][..]); 2], [Some(&[-9.0_f32, 0.0][..]); 2]);
        let models = [&teacher, &student].map(|logprobs| Tokens { logprobs, token_ends: &ends });
        let found = compare_sentences(models[0], models[1], &sentences, 0.1, &Stop::new()).unwrap();
        assert_eq!(found.teacher.rows(), vec![Some(&[1.0, 1.0][..]), None]);
        let counts = found.counts[0].unwrap();
        assert_eq!((counts.teacher, counts.student, counts.common), (1, 0, 1));
        assert_eq!((found.student.rows().len(), found.counts[1]), (2, None));
    }
}

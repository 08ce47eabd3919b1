//! Probabilities of sentences under one and two models, and their differences.

use dasd_core::divergence::divergence;
use dasd_core::logprob::{Tokens, compare_sentences, sentence_probabilities};
use dasd_core::{Row, Stop};

use super::bytes::{Bytes, borrowed};

/// One response under one model, and where its sentences end: of one text, or of none.
struct Response {
    logprobs: Vec<f32>,
    token_ends: Vec<u32>,
    sentence_ends: Vec<u32>,
}

/// Offsets that are right three times in four: sums of widths, the last at the end of the text.
fn ends(bytes: &mut Bytes<'_>, text: u32, least: u32) -> Vec<u32> {
    let (count, kind) = (bytes.byte() % 40, bytes.byte());
    if kind < 64 {
        return (0..count).map(|_| bytes.token()).collect();
    }
    let mut end = 0;
    let mut ends: Vec<u32> = Vec::new();
    for _ in 0..count {
        end += least + u32::from(bytes.byte() % 8);
        if end < text {
            ends.push(end);
        }
    }
    if text > 0 { [ends, vec![text]].concat() } else { ends }
}

fn logprob(bytes: &mut Bytes<'_>) -> f32 {
    match bytes.byte() {
        251 => f32::NAN,
        252 => f32::NEG_INFINITY,
        253 => f32::INFINITY,
        // Large numbers of both signs would sum to whatever their order makes of them.
        254 => -f32::from_bits(bytes.number()).abs(),
        low => -0.125 * f32::from(low),
    }
}

impl Response {
    fn read(bytes: &mut Bytes<'_>, text: u32, sentence_ends: Vec<u32>) -> Self {
        let token_ends = ends(bytes, text, 0);
        let count = token_ends.len() + usize::from(bytes.byte() == 1);
        Self { logprobs: (0..count).map(|_| logprob(bytes)).collect(), token_ends, sentence_ends }
    }

    /// By the definition: for each sentence the tokens that share a byte with it. `None` where the kernel has
    /// to refuse.
    fn reference(&self) -> Option<Vec<f64>> {
        let right = self.logprobs.len() == self.token_ends.len()
            && self.token_ends.is_sorted()
            && self.sentence_ends.is_sorted_by(|a, b| a < b)
            && self.sentence_ends.first() != Some(&0)
            && (self.token_ends.last() == self.sentence_ends.last()
                || (self.sentence_ends.is_empty() && self.token_ends.last() == Some(&0)));
        right.then(|| {
            let starts = |ends: &[u32]| [&[0], ends].concat();
            let tokens: Vec<_> = starts(&self.token_ends).into_iter().zip(&self.token_ends).collect();
            let sentences = starts(&self.sentence_ends).into_iter().zip(&self.sentence_ends);
            let probability = |(start, &end): (u32, &u32)| {
                let covers = |(left, right): (u32, &u32)| left < *right && left < end && *right > start;
                let (mut sum, mut count) = (0.0, 0.0);
                for (&token, &logprob) in tokens.iter().zip(&self.logprobs) {
                    if covers(token) {
                        sum += f64::from(logprob);
                        count += 1.0;
                    }
                }
                f64::exp(sum / count)
            };
            sentences.map(probability).collect()
        })
    }
}

fn close(got: f32, wanted: f64) -> bool {
    let got = f64::from(got);
    // Beyond f32 the one is infinite where the other is not.
    (got.is_nan() && wanted.is_nan())
        || (got > 1e38 && wanted > 1e38)
        || (got - wanted).abs() <= 1e-5 * wanted + 1e-37
}

fn bits(rows: &[Row<'_, f32>]) -> Vec<Option<Vec<u32>>> {
    rows.iter().map(|row| row.map(|row| row.iter().map(|p| p.to_bits()).collect())).collect()
}

/// Any ragged offsets: probabilities by their definition, or an error where the offsets are of no one text; two
/// models at once give what each gives alone.
pub fn probabilities(data: &[u8]) {
    let mut bytes = Bytes(data);
    let beta = f64::from(bytes.byte()) / 200.0;
    let (mut teachers, mut students) = (Vec::new(), Vec::new());
    while !bytes.is_empty() && teachers.len() < 200 {
        let text = u32::from(bytes.byte());
        let sentence_ends = ends(&mut bytes, text, 1);
        teachers.push(Response::read(&mut bytes, text, sentence_ends.clone()));
        students.push(Response::read(&mut bytes, text, sentence_ends));
    }
    let stop = Stop::new();
    let mut null = bytes.byte() == 7;
    let mut columns = |responses: &[Response]| {
        let logprobs: Vec<_> = responses
            .iter()
            .map(|each| (!std::mem::replace(&mut null, false)).then(|| each.logprobs.clone()))
            .collect();
        let token_ends: Vec<_> = responses.iter().map(|each| Some(each.token_ends.clone())).collect();
        (logprobs, token_ends)
    };
    let sentence_ends: Vec<_> = teachers.iter().map(|each| Some(each.sentence_ends.clone())).collect();
    let sentence_ends = borrowed(&sentence_ends);
    let (teacher, student) = (columns(&teachers), columns(&students));
    let alone = [(&teacher, &teachers), (&student, &students)].map(|((logprobs, token_ends), responses)| {
        let got = sentence_probabilities(&borrowed(logprobs), &borrowed(token_ends), &sentence_ends, &stop);
        let wanted: Vec<_> = responses
            .iter()
            .zip(logprobs)
            .map(|(each, row)| row.as_ref().map(|_| each.reference()))
            .collect();
        let Ok(got) = got else {
            assert!(wanted.contains(&Some(None)), "refused what is right: {got:?}");
            return None;
        };
        for (got, wanted) in got.rows().into_iter().zip(wanted) {
            let wanted = wanted.map(|wanted| wanted.expect("took what is of no one text"));
            assert_eq!(got.map(<[f32]>::len), wanted.as_ref().map(Vec::len));
            let (got, wanted) = (got.unwrap_or_default(), wanted.unwrap_or_default());
            assert!(got.iter().zip(&wanted).all(|(&p, &q)| close(p, q)), "{got:?} {wanted:?}");
        }
        Some(got)
    });
    let (t_logprobs, t_ends) = (borrowed(&teacher.0), borrowed(&teacher.1));
    let (s_logprobs, s_ends) = (borrowed(&student.0), borrowed(&student.1));
    let compared = compare_sentences(
        Tokens { logprobs: &t_logprobs, token_ends: &t_ends },
        Tokens { logprobs: &s_logprobs, token_ends: &s_ends },
        &sentence_ends,
        beta,
        &stop,
    );
    let [Some(p_teacher), Some(p_student)] = alone else {
        assert!(compared.is_err());
        return;
    };
    let compared = compared.expect("each model alone was taken");
    assert_eq!(bits(&compared.teacher.rows()), bits(&p_teacher.rows()));
    assert_eq!(bits(&compared.student.rows()), bits(&p_student.rows()));
    let counts = divergence(&p_teacher.rows(), &p_student.rows(), beta, &stop).expect("both of one text");
    assert_eq!(compared.counts, counts);
    for (counts, ends) in counts.iter().zip(&sentence_ends) {
        let counted = counts.map_or(0, |each| each.teacher + each.student + each.common);
        assert!(counted as usize <= ends.map_or(0, <[u32]>::len));
    }
}

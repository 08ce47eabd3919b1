//! Teacher, Student and common sentences: who finds a sentence likelier, and by how much.

use crate::error::Error;
use crate::rows::{Row, Stop, check_rows, map_blocks};

/// Counts of one response. A row whose `mean_delta` is `None` had no finite difference.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Divergence {
    /// Sentences with `p_teacher - p_student > beta`.
    pub teacher: u32,
    /// Sentences with `p_teacher - p_student < -beta`.
    pub student: u32,
    /// All other sentences with a finite difference.
    pub common: u32,
    /// Mean of the finite differences.
    pub mean_delta: Option<f32>,
}

/// Counts the sentences of each response by `delta = p_teacher - p_student` against `beta`.
///
/// A sentence whose delta is not finite (a NaN probability) is in none of the three counts and not
/// in the mean. Differences are taken in f64. A null in either argument gives `None`.
pub fn divergence(
    teacher: &[Row<'_, f32>],
    student: &[Row<'_, f32>],
    beta: f64,
    stop: &Stop,
) -> Result<Vec<Option<Divergence>>, Error> {
    check_beta(beta)?;
    check_rows("student_probabilities", teacher.len(), student.len())?;
    let blocks = map_blocks(teacher.len(), stop, |rows| {
        rows.map(|row| match (teacher[row], student[row]) {
            (Some(teacher), Some(student)) if teacher.len() == student.len() => {
                Ok(Some(row_divergence(teacher, student, beta)))
            }
            (Some(teacher), Some(student)) => {
                let (wanted, got) = (teacher.len(), student.len());
                let problem = format!(
                    "wanted the same sentences twice: {wanted} of the teacher, got {got} of the student"
                );
                Err(Error::row(row, problem))
            }
            _ => Ok(None),
        })
        .collect::<Result<Vec<_>, _>>()
    })?;
    Ok(blocks.concat())
}

/// Refuses a `beta` that is no difference of probabilities.
pub(crate) fn check_beta(beta: f64) -> Result<(), Error> {
    if beta.is_finite() && beta >= 0.0 {
        Ok(())
    } else {
        Err(Error::setting("beta", "a finite difference of probabilities, at least 0", &beta))
    }
}

/// Counts of one response; both lists have one probability a sentence.
pub(crate) fn row_divergence(teacher: &[f32], student: &[f32], beta: f64) -> Divergence {
    let mut counts = Divergence::default();
    let (mut sum, mut finite) = (0.0_f64, 0);
    for (&p_teacher, &p_student) in teacher.iter().zip(student) {
        let delta = f64::from(p_teacher) - f64::from(p_student);
        finite += u32::from(delta.is_finite());
        // 0 is in neither count, as beta is at least 0. No branches: which way a sentence goes can't be foretold.
        let delta = if delta.is_finite() { delta } else { 0.0 };
        sum += delta;
        counts.teacher += u32::from(delta > beta);
        counts.student += u32::from(delta < -beta);
    }
    counts.common = finite - counts.teacher - counts.student;
    counts.mean_delta = (finite > 0).then(|| (sum / f64::from(finite)) as f32);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(teacher: &[f32], student: &[f32], beta: f64) -> Divergence {
        divergence(&[Some(teacher)], &[Some(student)], beta, &Stop::new()).unwrap()[0].unwrap()
    }

    #[test]
    fn three_kinds_by_the_sign_and_size_of_the_difference() {
        let got = one(&[0.9, 0.1, 0.5, 0.5], &[0.1, 0.9, 0.5, 0.45], 0.1);
        assert_eq!((got.teacher, got.student, got.common), (1, 1, 2));
        assert!((got.mean_delta.unwrap() - 0.0125).abs() < 1e-6);
    }

    #[test]
    fn a_difference_of_exactly_beta_is_common() {
        assert_eq!(one(&[0.75, 0.5], &[0.5, 0.75], 0.25).common, 2);
        assert_eq!(one(&[0.5], &[0.5], 0.0).common, 1);
    }

    #[test]
    fn nan_sentences_are_counted_nowhere() {
        let got = one(&[f32::NAN, 0.9], &[0.5, 0.1], 0.1);
        assert_eq!((got.teacher, got.student, got.common), (1, 0, 0));
        assert!((got.mean_delta.unwrap() - 0.8).abs() < 1e-6);
        assert_eq!(one(&[f32::NAN], &[0.5], 0.1), Divergence::default());
        assert_eq!(one(&[], &[], 0.1), Divergence::default());
    }

    #[test]
    fn wrong_input_is_an_error_with_words() {
        let unequal = divergence(&[Some(&[0.5])], &[Some(&[])], 0.1, &Stop::new()).unwrap_err();
        assert!(unequal.to_string().starts_with("row 0: "));
        for beta in [-0.1, f64::NAN, f64::INFINITY] {
            assert!(matches!(divergence(&[], &[], beta, &Stop::new()), Err(Error::Setting { .. })));
        }
        assert_eq!(divergence(&[None], &[Some(&[])], 0.1, &Stop::new()), Ok(vec![None]));
    }
}

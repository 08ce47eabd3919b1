//! `dasd._native`: the kernels of `dasd-core` for Python. The façade `dasd.kernels` documents them.

mod capsule;
mod columns;
mod errors;
mod pool;
mod results;
mod run;

/// The extension module. Every function runs inside `guard`: no panic reaches Python as one.
#[pyo3::pymodule(gil_used = true)]
mod _native {
    use std::thread;
    use std::time::{Duration, Instant};

    use dasd_core::dedup::{self, NearSettings};
    use dasd_core::{logprob, sentence};
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::capsule::Column;
    use crate::columns::{ListColumn, TextColumn, as_text, read_counts};
    use crate::errors::whole;
    use crate::results;
    use crate::run::{guard, run};

    #[pyfunction]
    fn sentence_ends(py: Python<'_>, text: &Bound<'_, PyAny>) -> PyResult<Column> {
        guard(|| {
            let text = TextColumn::read("text", text)?;
            let text = text.rows()?;
            run(py, |stop| sentence::sentence_ends(&as_text(&text)?, stop)).map(results::u32_lists)
        })
    }

    #[pyfunction]
    fn sentence_probabilities(
        py: Python<'_>,
        logprobs: &Bound<'_, PyAny>,
        token_ends: &Bound<'_, PyAny>,
        sentence_ends: &Bound<'_, PyAny>,
    ) -> PyResult<Column> {
        guard(|| {
            let logprobs = ListColumn::read("logprobs", logprobs)?;
            let token_ends = ListColumn::read("token_ends", token_ends)?;
            let sentence_ends = ListColumn::read("sentence_ends", sentence_ends)?;
            let (logprobs, token_ends, sentence_ends) =
                (logprobs.rows()?, token_ends.rows()?, sentence_ends.rows()?);
            run(py, |stop| logprob::sentence_probabilities(&logprobs, &token_ends, &sentence_ends, stop))
                .map(results::f32_lists)
        })
    }

    #[pyfunction]
    #[pyo3(signature = (teacher_logprobs, teacher_token_ends, student_logprobs, student_token_ends, sentence_ends, beta))]
    fn compare_sentences(
        py: Python<'_>,
        teacher_logprobs: &Bound<'_, PyAny>,
        teacher_token_ends: &Bound<'_, PyAny>,
        student_logprobs: &Bound<'_, PyAny>,
        student_token_ends: &Bound<'_, PyAny>,
        sentence_ends: &Bound<'_, PyAny>,
        beta: f64,
    ) -> PyResult<Column> {
        guard(|| {
            let teacher_logprobs = ListColumn::read("teacher_logprobs", teacher_logprobs)?;
            let teacher_token_ends = ListColumn::read("teacher_token_ends", teacher_token_ends)?;
            let student_logprobs = ListColumn::read("student_logprobs", student_logprobs)?;
            let student_token_ends = ListColumn::read("student_token_ends", student_token_ends)?;
            let sentence_ends = ListColumn::read("sentence_ends", sentence_ends)?;
            let (t_logprobs, t_ends) = (teacher_logprobs.rows()?, teacher_token_ends.rows()?);
            let (s_logprobs, s_ends) = (student_logprobs.rows()?, student_token_ends.rows()?);
            let sentence_ends = sentence_ends.rows()?;
            let teacher = logprob::Tokens { logprobs: &t_logprobs, token_ends: &t_ends };
            let student = logprob::Tokens { logprobs: &s_logprobs, token_ends: &s_ends };
            run(py, |stop| logprob::compare_sentences(teacher, student, &sentence_ends, beta, stop))
                .map(results::comparison)
        })
    }

    #[pyfunction]
    fn divergence(
        py: Python<'_>,
        teacher_probabilities: &Bound<'_, PyAny>,
        student_probabilities: &Bound<'_, PyAny>,
        beta: f64,
    ) -> PyResult<Column> {
        guard(|| {
            let teacher = ListColumn::read("teacher_probabilities", teacher_probabilities)?;
            let student = ListColumn::read("student_probabilities", student_probabilities)?;
            let (teacher, student) = (teacher.rows()?, student.rows()?);
            run(py, |stop| dasd_core::divergence::divergence(&teacher, &student, beta, stop))
                .map(|rows| results::divergences(&rows))
        })
    }

    #[pyfunction]
    fn exact_duplicates(py: Python<'_>, tokens: &Bound<'_, PyAny>) -> PyResult<Column> {
        guard(|| {
            let tokens = ListColumn::read("tokens", tokens)?;
            let tokens = tokens.rows()?;
            run(py, |stop| dedup::exact::exact_duplicates(&tokens, stop)).map(results::optional_numbers)
        })
    }

    #[pyfunction]
    fn near_duplicates(
        py: Python<'_>,
        tokens: &Bound<'_, PyAny>,
        threshold: f64,
        ngram: &Bound<'_, PyAny>,
        num_hashes: &Bound<'_, PyAny>,
        seed: &Bound<'_, PyAny>,
    ) -> PyResult<Column> {
        guard(|| {
            let tokens = ListColumn::read("tokens", tokens)?;
            let tokens = tokens.rows()?;
            let settings = NearSettings {
                threshold,
                ngram: whole("ngram", ngram)?,
                num_hashes: whole("num_hashes", num_hashes)?,
                seed: whole("seed", seed)?,
            };
            run(py, |stop| dedup::near_duplicates(&tokens, settings, stop)).map(results::optional_numbers)
        })
    }

    #[pyfunction]
    fn repetition(py: Python<'_>, tokens: &Bound<'_, PyAny>) -> PyResult<Column> {
        guard(|| {
            let tokens = ListColumn::read("tokens", tokens)?;
            let tokens = tokens.rows()?;
            run(py, |stop| dasd_core::repetition::repetition(&tokens, stop))
                .map(|rows| results::repetitions(&rows))
        })
    }

    #[pyfunction]
    fn overlap(
        py: Python<'_>,
        tokens: &Bound<'_, PyAny>,
        reference: &Bound<'_, PyAny>,
        ngram: &Bound<'_, PyAny>,
    ) -> PyResult<Column> {
        guard(|| {
            let tokens = ListColumn::read("tokens", tokens)?;
            let reference = ListColumn::read("reference", reference)?;
            let (tokens, reference) = (tokens.rows()?, reference.rows()?);
            let ngram = whole("ngram", ngram)?;
            run(py, |stop| dasd_core::overlap::overlap(&tokens, &reference, ngram, stop)).map(results::shares)
        })
    }

    #[pyfunction]
    fn pack(py: Python<'_>, lengths: &Bound<'_, PyAny>, capacity: &Bound<'_, PyAny>) -> PyResult<Column> {
        guard(|| {
            let lengths = read_counts("lengths", lengths)?;
            let capacity = whole("capacity", capacity)?;
            run(py, |stop| dasd_core::pack::pack(&lengths, capacity, stop)).map(results::numbers)
        })
    }

    /// Panics in a kernel, or before there is one; for the test that the interpreter outlives it.
    #[pyfunction]
    fn _panic_for_test(py: Python<'_>, in_kernel: bool) -> PyResult<()> {
        guard(|| {
            assert!(in_kernel, "asked for by a test");
            run(py, |_| panic!("asked for by a test"))
        })
    }

    /// Works until stopped, at most for some seconds; for the test of Ctrl-C.
    #[pyfunction]
    fn _wait_for_test(py: Python<'_>, seconds: f64) -> PyResult<()> {
        guard(|| {
            let until = Instant::now() + Duration::from_secs_f64(seconds);
            run(py, |stop| {
                while Instant::now() < until {
                    stop.check()?;
                    thread::yield_now();
                }
                Ok(())
            })
        })
    }
}

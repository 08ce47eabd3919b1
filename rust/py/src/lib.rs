//! `dasd._native`: the kernels of `dasd-core` for Python. The façade `dasd.kernels` documents them.

mod capsule;
mod columns;
mod errors;
mod pool;
mod results;
mod run;

/// The extension module.
#[pyo3::pymodule(gil_used = true)]
mod _native {
    use dasd_core::{divergence as core_divergence, logprob, pack as core_pack, sentence};
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::capsule::Column;
    use crate::columns::{ListColumn, TextColumn, read_counts};
    use crate::results;
    use crate::run::run;

    #[pyfunction]
    fn sentence_ends(py: Python<'_>, text: &Bound<'_, PyAny>) -> PyResult<Column> {
        let text = TextColumn::read("text", text)?;
        let text = text.rows();
        run(py, |stop| sentence::sentence_ends(&text, stop)).map(results::u32_lists)
    }

    #[pyfunction]
    fn sentence_probabilities(
        py: Python<'_>,
        logprobs: &Bound<'_, PyAny>,
        token_ends: &Bound<'_, PyAny>,
        sentence_ends: &Bound<'_, PyAny>,
    ) -> PyResult<Column> {
        let logprobs = ListColumn::read("logprobs", logprobs)?;
        let token_ends = ListColumn::read("token_ends", token_ends)?;
        let sentence_ends = ListColumn::read("sentence_ends", sentence_ends)?;
        let (logprobs, token_ends, sentence_ends) = (logprobs.rows(), token_ends.rows(), sentence_ends.rows());
        run(py, |stop| logprob::sentence_probabilities(&logprobs, &token_ends, &sentence_ends, stop))
            .map(results::f32_lists)
    }

    #[pyfunction]
    #[pyo3(signature = (teacher_probabilities, student_probabilities, beta=0.1))]
    fn divergence(
        py: Python<'_>,
        teacher_probabilities: &Bound<'_, PyAny>,
        student_probabilities: &Bound<'_, PyAny>,
        beta: f64,
    ) -> PyResult<Column> {
        let teacher = ListColumn::read("teacher_probabilities", teacher_probabilities)?;
        let student = ListColumn::read("student_probabilities", student_probabilities)?;
        let (teacher, student) = (teacher.rows(), student.rows());
        run(py, |stop| core_divergence::divergence(&teacher, &student, beta, stop))
            .map(|rows| results::divergences(&rows))
    }

    #[pyfunction]
    fn pack(py: Python<'_>, lengths: &Bound<'_, PyAny>, capacity: u32) -> PyResult<Column> {
        let lengths = read_counts("lengths", lengths)?;
        run(py, |stop| core_pack::pack(&lengths, capacity, stop)).map(results::numbers)
    }
}

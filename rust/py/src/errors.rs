//! The one table from what fails in Rust to what is raised in Python.

use std::any::Any;

use dasd_core::Error;
use pyo3::exceptions::{PyKeyboardInterrupt, PyOverflowError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;

/// A kernel's error: what the caller passed is wrong (`ValueError`), or the caller stopped it.
pub(crate) fn kernel_error(error: &Error) -> PyErr {
    match error {
        Error::RowCount { .. } | Error::Row { .. } | Error::Setting { .. } | Error::TooManyRows { .. } => {
            PyValueError::new_err(error.to_string())
        }
        Error::Interrupted => PyKeyboardInterrupt::new_err(()),
    }
}

/// An argument of another type than the kernel takes.
pub(crate) fn wrong_type(argument: &str, wanted: &str, got: impl std::fmt::Display) -> PyErr {
    PyTypeError::new_err(format!("{argument}: wanted {wanted}, got {got}"))
}

/// A value inside an argument that the kernel cannot take.
pub(crate) fn wrong_value(argument: &str, row: usize, wanted: &str, got: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(format!("{argument}: row {row}: wanted {wanted}, got {got}"))
}

/// A panic: a bug of ours, raised as `RuntimeError` so that the interpreter lives on.
pub(crate) fn panicked(payload: &(dyn Any + Send)) -> PyErr {
    let words = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    PyRuntimeError::new_err(format!("a kernel of dasd panicked, which is a bug of dasd: {words}"))
}

/// A whole-number setting; out of the range of its type is a `ValueError`, as any value out of range.
pub(crate) fn whole<T>(name: &str, value: &Bound<'_, PyAny>) -> PyResult<T>
where
    T: for<'a, 'py> FromPyObject<'a, 'py, Error = PyErr> + TryFrom<u64>,
{
    value.extract::<T>().map_err(|error| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            let bits = 8 * size_of::<T>();
            PyValueError::new_err(format!(
                "{name}: wanted a whole number from 0 to 2**{bits} - 1, got {value}"
            ))
        } else {
            wrong_type(name, "a whole number", value.get_type())
        }
    })
}

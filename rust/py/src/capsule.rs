//! Arrow in and out through the `PyCapsule` interface. Unsafe here, and in one call of the core's `means.rs`.

use std::ptr::NonNull;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi, to_ffi};
use arrow_array::ffi_stream::{ArrayStreamReader, FFI_ArrowArrayStream};
use arrow_array::{Array, ArrayRef, make_array};
use arrow_schema::{ArrowError, DataType};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use crate::errors::wrong_type;
use crate::run::guard;

/// An argument: its name, its type, and its chunks.
pub(crate) struct Imported {
    pub(crate) name: &'static str,
    pub(crate) data_type: DataType,
    pub(crate) chunks: Vec<ArrayRef>,
}

/// Takes over the memory of anything that exports Arrow; nothing is copied.
pub(crate) fn import(name: &'static str, value: &Bound<'_, PyAny>) -> PyResult<Imported> {
    if value.hasattr("__arrow_c_stream__")? {
        let capsule = value.call_method0("__arrow_c_stream__")?.cast_into::<PyCapsule>()?;
        let stream: NonNull<FFI_ArrowArrayStream> =
            capsule.pointer_checked(Some(c"arrow_array_stream"))?.cast();
        // SAFETY: a capsule of this name holds an initialised stream, by the PyCapsule interface;
        // from_raw moves it out and marks the capsule's as released.
        let reader = unsafe { ArrayStreamReader::from_raw(stream.as_ptr()) };
        let reader = reader.map_err(|error| unreadable(name, &error))?;
        let data_type = arrow_array::ArrayReader::field(&reader).data_type().clone();
        let chunks = reader.collect::<Result<_, _>>().map_err(|error| unreadable(name, &error))?;
        return Ok(Imported { name, data_type, chunks });
    }
    if value.hasattr("__arrow_c_array__")? {
        let pair = value.call_method0("__arrow_c_array__")?.cast_into::<PyTuple>()?;
        let (schema, array): (Bound<'_, PyCapsule>, Bound<'_, PyCapsule>) = pair.extract()?;
        let schema: NonNull<FFI_ArrowSchema> = schema.pointer_checked(Some(c"arrow_schema"))?.cast();
        let array: NonNull<FFI_ArrowArray> = array.pointer_checked(Some(c"arrow_array"))?.cast();
        // SAFETY: capsules of these names hold an initialised schema and array, by the PyCapsule
        // interface; the schema is only read, the array is moved out and marked as released.
        let (array, schema) = unsafe { (FFI_ArrowArray::from_raw(array.as_ptr()), schema.as_ref()) };
        if array.is_released() {
            let problem = ArrowError::CDataInterface("the array is already released".into());
            return Err(unreadable(name, &problem));
        }
        // SAFETY: the two belong together, and the array is not released.
        let data = unsafe { from_ffi(array, schema) };
        let chunk = make_array(data.map_err(|error| unreadable(name, &error))?);
        return Ok(Imported { name, data_type: chunk.data_type().clone(), chunks: vec![chunk] });
    }
    let got = value.get_type().name()?;
    Err(wrong_type(name, "a polars Series or an Arrow array", format!("{got}: wrap it in polars.Series")))
}

fn unreadable(name: &str, error: &ArrowError) -> PyErr {
    PyValueError::new_err(format!("{name}: wanted readable Arrow data, got: {error}"))
}

/// A result: one Arrow array, for any library that reads the `PyCapsule` interface.
#[pyclass(frozen, module = "dasd._native")]
pub(crate) struct Column(ArrayRef);

impl Column {
    pub(crate) fn new(array: impl Array + 'static) -> Self {
        Self(std::sync::Arc::new(array))
    }
}

#[pymethods]
impl Column {
    /// The schema and array capsules; a requested schema is ignored, as the interface allows.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        drop(requested_schema);
        guard(|| {
            let exported = to_ffi(&self.0.to_data());
            let (array, schema) = exported.map_err(|error| PyValueError::new_err(error.to_string()))?;
            let schema = PyCapsule::new_with_value(py, schema, c"arrow_schema")?;
            let array = PyCapsule::new_with_value(py, array, c"arrow_array")?;
            Ok((schema, array))
        })
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }
}

//! Columns of lists, of numbers and of text, as the rows that the kernels take.

use std::fmt::Debug;
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, GenericStringArray, OffsetSizeTrait};
use arrow_buffer::{ArrowNativeType, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;
use dasd_core::Error;
use pyo3::prelude::*;
use rayon::prelude::*;

use crate::capsule::{Imported, import};
use crate::errors::{wrong_type, wrong_value};

/// A number that kernels take, and how it is read from the types that hold it.
pub(crate) trait Item: ArrowNativeType {
    const WANTED: &'static str;

    /// The values as they are (no copy), or each converted; `check` is told where one does not fit.
    fn read(values: &dyn Array, refuse: impl FnMut(usize, &dyn Debug)) -> Option<ScalarBuffer<Self>>;
}

fn convert<A: ArrowPrimitiveType, T: Item>(
    values: &dyn Array,
    mut refuse: impl FnMut(usize, &dyn Debug),
    fit: impl Fn(A::Native) -> Option<T>,
) -> ScalarBuffer<T> {
    let values = values.as_primitive::<A>().values();
    let fitted = values.iter().enumerate().map(|(i, &value)| {
        fit(value).unwrap_or_else(|| {
            refuse(i, &value);
            T::default()
        })
    });
    fitted.collect::<Vec<T>>().into()
}

impl Item for u32 {
    const WANTED: &'static str = "whole numbers from 0 to 4294967295";

    fn read(values: &dyn Array, refuse: impl FnMut(usize, &dyn Debug)) -> Option<ScalarBuffer<u32>> {
        Some(match values.data_type() {
            DataType::UInt32 => values.as_primitive::<UInt32Type>().values().clone(),
            DataType::UInt8 => convert::<UInt8Type, _>(values, refuse, |v| Some(v.into())),
            DataType::UInt16 => convert::<UInt16Type, _>(values, refuse, |v| Some(v.into())),
            DataType::UInt64 => convert::<UInt64Type, _>(values, refuse, |v| v.try_into().ok()),
            DataType::Int8 => convert::<Int8Type, _>(values, refuse, |v| v.try_into().ok()),
            DataType::Int16 => convert::<Int16Type, _>(values, refuse, |v| v.try_into().ok()),
            DataType::Int32 => convert::<Int32Type, _>(values, refuse, |v| v.try_into().ok()),
            DataType::Int64 => convert::<Int64Type, _>(values, refuse, |v| v.try_into().ok()),
            // What polars makes of lists that are all empty; a null in one is refused elsewhere.
            DataType::Null => vec![0; values.len()].into(),
            _ => return None,
        })
    }
}

impl Item for f32 {
    const WANTED: &'static str = "floating-point numbers";

    fn read(values: &dyn Array, refuse: impl FnMut(usize, &dyn Debug)) -> Option<ScalarBuffer<f32>> {
        Some(match values.data_type() {
            DataType::Float32 => values.as_primitive::<Float32Type>().values().clone(),
            DataType::Float64 => convert::<Float64Type, _>(values, refuse, |v| Some(v as f32)),
            DataType::Null => vec![0.0; values.len()].into(),
            _ => return None,
        })
    }
}

/// Where the rows of a chunk lie in its values.
enum Bounds {
    Small(OffsetBuffer<i32>),
    Large(OffsetBuffer<i64>),
    Fixed {
        width: usize,
        rows: usize,
    },
    /// Every row is null, and there are no values.
    Nothing {
        rows: usize,
    },
}

impl Bounds {
    fn rows(&self) -> usize {
        match self {
            Self::Small(offsets) => offsets.len() - 1,
            Self::Large(offsets) => offsets.len() - 1,
            Self::Fixed { rows, .. } | Self::Nothing { rows } => *rows,
        }
    }

    fn of(&self, row: usize) -> Range<usize> {
        match self {
            Self::Small(offsets) => offsets[row].as_usize()..offsets[row + 1].as_usize(),
            Self::Large(offsets) => offsets[row].as_usize()..offsets[row + 1].as_usize(),
            Self::Fixed { width, .. } => row * width..(row + 1) * width,
            Self::Nothing { .. } => 0..0,
        }
    }

    /// The row that holds the value at `i`; offsets increase, so it is found by halving.
    fn row_with(&self, i: usize) -> Option<usize> {
        let (mut low, mut high) = (0, self.rows());
        while low < high {
            let middle = low.midpoint(high);
            if self.of(middle).end <= i { low = middle + 1 } else { high = middle }
        }
        (low < self.rows() && self.of(low).contains(&i)).then_some(low)
    }
}

struct ListChunk<T: Item> {
    bounds: Bounds,
    values: ScalarBuffer<T>,
    nulls: Option<NullBuffer>,
}

impl<T: Item> ListChunk<T> {
    fn is_null(&self, row: usize) -> bool {
        matches!(self.bounds, Bounds::Nothing { .. })
            || self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }
}

/// A column of lists of numbers.
pub(crate) struct ListColumn<T: Item> {
    name: &'static str,
    chunks: Vec<ListChunk<T>>,
}

impl<T: Item> ListColumn<T> {
    /// Reads the argument `name`; `TypeError` for another type, `ValueError` for a value that does
    /// not fit and for a null inside a list.
    pub(crate) fn read(name: &'static str, value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let Imported { name, data_type, chunks } = import(name, value)?;
        let mut first_row = 0;
        let read = |chunk: &ArrayRef| {
            let chunk = list_chunk(name, &data_type, chunk, first_row)?;
            first_row += chunk.bounds.rows();
            Ok(chunk)
        };
        Ok(Self { name, chunks: chunks.iter().map(read).collect::<PyResult<_>>()? })
    }

    /// The rows, borrowed; `None` is null. `ValueError` for offsets that don't increase or reach too far.
    pub(crate) fn rows(&self) -> PyResult<Vec<Option<&[T]>>> {
        let mut rows = Vec::with_capacity(self.chunks.iter().map(|chunk| chunk.bounds.rows()).sum());
        for chunk in &self.chunks {
            for row in 0..chunk.bounds.rows() {
                if chunk.is_null(row) {
                    rows.push(None);
                } else if let Some(values) = chunk.values.get(chunk.bounds.of(row)) {
                    rows.push(Some(values));
                } else {
                    let wanted = format!("offsets that increase, up to {}", chunk.values.len());
                    let got = format!("{:?}", chunk.bounds.of(row));
                    return Err(wrong_value(self.name, rows.len(), &wanted, got));
                }
            }
        }
        Ok(rows)
    }
}

fn list_chunk<T: Item>(
    name: &str,
    data_type: &DataType,
    chunk: &ArrayRef,
    first_row: usize,
) -> PyResult<ListChunk<T>> {
    let (bounds, values) = match chunk.data_type() {
        DataType::List(_) => {
            let lists = chunk.as_list::<i32>();
            (Bounds::Small(lists.offsets().clone()), lists.values().clone())
        }
        DataType::LargeList(_) => {
            let lists = chunk.as_list::<i64>();
            (Bounds::Large(lists.offsets().clone()), lists.values().clone())
        }
        DataType::FixedSizeList(_, width) => {
            let bounds = Bounds::Fixed { width: width.as_usize(), rows: chunk.len() };
            (bounds, chunk.as_fixed_size_list().values().clone())
        }
        DataType::Null => (Bounds::Nothing { rows: chunk.len() }, chunk.slice(0, 0)),
        _ => return Err(wrong_type(name, &format!("lists of {}", T::WANTED), data_type)),
    };
    let null_rows = chunk.nulls().cloned();
    // The first value that does not fit; what a null row hides is nobody's business.
    let mut refused = None;
    let numbers = T::read(&values, |i, got| {
        if refused.is_none()
            && let Some(row) = bounds.row_with(i)
            && !null_rows.as_ref().is_some_and(|nulls| nulls.is_null(row))
        {
            refused = Some((row, format!("{got:?}")));
        }
    });
    let Some(numbers) = numbers else {
        return Err(wrong_type(name, &format!("lists of {}", T::WANTED), data_type));
    };
    let chunk = ListChunk { bounds, values: numbers, nulls: null_rows };
    if let Some(nulls) = values.logical_nulls().filter(|nulls| nulls.null_count() > 0) {
        let mut rows = (0..chunk.bounds.rows()).filter(|&row| !chunk.is_null(row));
        if let Some(row) = rows.find(|&row| chunk.bounds.of(row).any(|i| nulls.is_null(i))) {
            return Err(wrong_value(name, first_row + row, "a list without nulls", "a null in it"));
        }
    }
    match refused {
        Some((row, got)) => Err(wrong_value(name, first_row + row, T::WANTED, got)),
        None => Ok(chunk),
    }
}

/// A column of plain whole numbers without nulls, copied out.
pub(crate) fn read_counts(name: &'static str, value: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
    let Imported { name, data_type, chunks } = import(name, value)?;
    let mut counts = Vec::new();
    for chunk in &chunks {
        let mut refused = None;
        let first_row = counts.len();
        let numbers = u32::read(chunk, |row, got| {
            refused.get_or_insert_with(|| (row, format!("{got:?}")));
        });
        let Some(numbers) = numbers else { return Err(wrong_type(name, u32::WANTED, &data_type)) };
        let nulls = chunk.logical_nulls();
        if let Some(row) =
            (0..chunk.len()).find(|&row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)))
        {
            return Err(wrong_value(name, first_row + row, u32::WANTED, "null"));
        }
        if let Some((row, got)) = refused {
            return Err(wrong_value(name, first_row + row, u32::WANTED, got));
        }
        counts.extend_from_slice(&numbers);
    }
    Ok(counts)
}

/// A column of text.
pub(crate) struct TextColumn {
    chunks: Vec<ArrayRef>,
}

impl TextColumn {
    /// Reads the argument `name`; `TypeError` for another type than text.
    pub(crate) fn read(name: &'static str, value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let Imported { name, data_type, chunks } = import(name, value)?;
        match data_type {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => Ok(Self { chunks }),
            _ => Err(wrong_type(name, "text (Utf8, LargeUtf8 or Utf8View)", data_type)),
        }
    }

    /// The bytes of the rows, borrowed; `None` is null. `ValueError` where they lie outside of the
    /// array's memory. Arrow promises that they don't, and that they are UTF-8; whoever breaks the
    /// promise must not break the process, so [`as_text`] looks.
    pub(crate) fn rows(&self) -> PyResult<Vec<Option<&[u8]>>> {
        let mut rows = Vec::with_capacity(self.chunks.iter().map(Array::len).sum());
        for chunk in &self.chunks {
            for row in 0..chunk.len() {
                if matches!(chunk.data_type(), DataType::Null) || chunk.is_null(row) {
                    rows.push(None);
                } else if let Some(bytes) = text_bytes(chunk, row) {
                    rows.push(Some(bytes));
                } else {
                    let wanted = "offsets that increase, inside of the values";
                    return Err(wrong_value("text", rows.len(), wanted, "others"));
                }
            }
        }
        Ok(rows)
    }
}

/// The bytes of a row that is not null, if they are there.
fn text_bytes(chunk: &ArrayRef, row: usize) -> Option<&[u8]> {
    match chunk.data_type() {
        DataType::Utf8 => bytes_between(chunk.as_string::<i32>(), row),
        DataType::LargeUtf8 => bytes_between(chunk.as_string::<i64>(), row),
        _ => {
            // A view: the length, then the bytes themselves or, of more than 12, where they are.
            let array = chunk.as_string_view();
            let view = array.views().inner().as_slice().get(16 * row..16 * row + 16)?;
            let number = |at: usize| -> Option<usize> {
                Some(u32::from_le_bytes(view[at..at + 4].try_into().ok()?) as usize)
            };
            match number(0)? {
                length @ 0..=12 => Some(&view[4..4 + length]),
                length => {
                    let start = number(12)?;
                    array.data_buffers().get(number(8)?)?.as_slice().get(start..start + length)
                }
            }
        }
    }
}

fn bytes_between<O: OffsetSizeTrait>(array: &GenericStringArray<O>, row: usize) -> Option<&[u8]> {
    let bound = |at: usize| array.value_offsets()[at].to_usize();
    array.value_data().get(bound(row)?..bound(row + 1)?)
}

/// Bytes as text, looked at by all threads; an error names the first row that is none.
pub(crate) fn as_text<'a>(rows: &[Option<&'a [u8]>]) -> Result<Vec<Option<&'a str>>, Error> {
    let read = rows.par_iter().enumerate().map(|(row, bytes)| {
        let text = bytes.map(str::from_utf8).transpose();
        text.map_err(|error| Error::Row { row, problem: format!("wanted UTF-8, got {error}") })
    });
    read.collect::<Vec<_>>().into_iter().collect()
}

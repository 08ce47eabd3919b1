//! Results of the kernels as Arrow arrays.

use std::sync::Arc;

use arrow_array::types::{ArrowPrimitiveType, Float32Type, UInt32Type};
use arrow_array::{ArrayRef, Float32Array, LargeListArray, PrimitiveArray, StructArray, UInt32Array};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{Field, Fields};
use dasd_core::Lists;
use dasd_core::divergence::Divergence;
use dasd_core::logprob::Comparison;
use dasd_core::repetition::Repetition;

use crate::capsule::Column;

/// Validity, where anything is null at all.
fn nulls(valid: Vec<bool>) -> Option<NullBuffer> {
    if valid.iter().all(|&valid| valid) { None } else { Some(valid.into()) }
}

fn lists<A: ArrowPrimitiveType>(lists: Lists<A::Native>) -> LargeListArray {
    let item = Arc::new(Field::new("item", A::DATA_TYPE, true));
    let offsets = OffsetBuffer::new(ScalarBuffer::from(lists.offsets));
    let values = PrimitiveArray::<A>::new(ScalarBuffer::from(lists.values), None);
    LargeListArray::new(item, offsets, Arc::new(values), nulls(lists.valid))
}

pub(crate) fn u32_lists(rows: Lists<u32>) -> Column {
    Column::new(lists::<UInt32Type>(rows))
}

pub(crate) fn f32_lists(rows: Lists<f32>) -> Column {
    Column::new(lists::<Float32Type>(rows))
}

pub(crate) fn optional_numbers(rows: Vec<Option<u32>>) -> Column {
    Column::new(UInt32Array::from(rows))
}

pub(crate) fn shares(rows: Vec<Option<f32>>) -> Column {
    Column::new(Float32Array::from(rows))
}

pub(crate) fn numbers(rows: Vec<u32>) -> Column {
    Column::new(UInt32Array::from(rows))
}

/// A struct column: each field's name and values, null where the row is.
fn structs(fields: Vec<(&str, ArrayRef)>, valid: Vec<bool>) -> Column {
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = fields
        .into_iter()
        .map(|(name, array)| (Field::new(name, array.data_type().clone(), true), array))
        .unzip();
    Column::new(StructArray::new(Fields::from(fields), arrays, nulls(valid)))
}

fn u32_field<R>(rows: &[Option<R>], field: impl Fn(&R) -> u32) -> ArrayRef {
    Arc::new(rows.iter().map(|row| row.as_ref().map(&field)).collect::<UInt32Array>())
}

fn divergence_fields(rows: &[Option<Divergence>]) -> Vec<(&'static str, ArrayRef)> {
    let mean_delta: Float32Array =
        rows.iter().map(|row| row.as_ref().and_then(|row| row.mean_delta)).collect();
    vec![
        ("teacher", u32_field(rows, |row| row.teacher)),
        ("student", u32_field(rows, |row| row.student)),
        ("common", u32_field(rows, |row| row.common)),
        ("mean_delta", Arc::new(mean_delta) as ArrayRef),
    ]
}

pub(crate) fn divergences(rows: &[Option<Divergence>]) -> Column {
    structs(divergence_fields(rows), rows.iter().map(Option::is_some).collect())
}

pub(crate) fn comparison(found: Comparison) -> Column {
    let valid = vec![true; found.counts.len()];
    let mut fields: Vec<(&str, ArrayRef)> = vec![
        ("p_teacher", Arc::new(lists::<Float32Type>(found.teacher))),
        ("p_student", Arc::new(lists::<Float32Type>(found.student))),
    ];
    fields.extend(divergence_fields(&found.counts));
    structs(fields, valid)
}

pub(crate) fn repetitions(rows: &[Option<Repetition>]) -> Column {
    let repeated_share: Float32Array =
        rows.iter().map(|row| row.as_ref().map(|row| row.repeated_share)).collect();
    let fields = vec![
        ("longest_run", u32_field(rows, |row| row.longest_run)),
        ("repeated_share", Arc::new(repeated_share) as ArrayRef),
        ("loop_period", u32_field(rows, |row| row.loop_period)),
        ("loop_tokens", u32_field(rows, |row| row.loop_tokens)),
    ];
    structs(fields, rows.iter().map(Option::is_some).collect())
}

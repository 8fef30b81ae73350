//! A column under construction. It can be cut back, so that a row is appended whole or not at all.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, Date32Array, Float64Array, Int32Array, Int64Array, NullBufferBuilder,
    PrimitiveArray, StringArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowPrimitiveType, TimeUnit};

use super::error::RowErrorKind;
use super::escape::unescape;
use super::number::{self, TimeError};
use super::scanner::RawValue;
use crate::event_time::nanoseconds_per;
use crate::schema::{FieldType, utc};

/// A column under construction.
#[derive(Debug)]
pub(crate) struct ColumnBuilder {
    field_type: FieldType,
    values: Values,
    nulls: NullBufferBuilder,
    length: usize,
}

#[derive(Debug)]
enum Values {
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float64(Vec<f64>),
    Bool(BooleanBufferBuilder),
    String { bytes: Vec<u8>, ends: Vec<i32> },
}

impl ColumnBuilder {
    pub(crate) fn new(field_type: FieldType) -> Self {
        let values = match field_type {
            FieldType::String => Values::String {
                bytes: Vec::new(),
                ends: vec![0],
            },
            FieldType::Bool => Values::Bool(BooleanBufferBuilder::new(0)),
            FieldType::Int32 | FieldType::Date => Values::Int32(Vec::new()),
            FieldType::Int64 | FieldType::Timestamp(_) => Values::Int64(Vec::new()),
            FieldType::Float64 => Values::Float64(Vec::new()),
        };
        ColumnBuilder {
            field_type,
            values,
            nulls: NullBufferBuilder::new(0),
            length: 0,
        }
    }

    /// Bytes of text so far; an array of strings holds at most `i32::MAX`.
    pub(crate) fn text_bytes(&self) -> usize {
        if let Values::String { bytes, .. } = &self.values {
            bytes.len()
        } else {
            0
        }
    }

    /// Appends a value of a record. `scratch` is where escapes are resolved.
    #[inline]
    pub(crate) fn append(&mut self, value: RawValue, record: &[u8], scratch: &mut Vec<u8>) -> Result<(), RowErrorKind> {
        match (&mut self.values, value) {
            (_, RawValue::Missing | RawValue::Null) => {
                self.append_null();
                return Ok(());
            }
            (
                Values::String { bytes, ends },
                RawValue::String {
                    start,
                    end,
                    has_escapes,
                },
            ) => {
                bytes.extend_from_slice(content(&record[start..end], has_escapes, scratch));
                ends.push(bytes.len() as i32);
            }
            (Values::Int64(values), value) => values.push(integer(self.field_type, value, record, scratch)?),
            (Values::Int32(values), value) => {
                let value = integer(self.field_type, value, record, scratch)?;
                values.push(i32::try_from(value).map_err(|_| out_of_range(self.field_type))?);
            }
            (Values::Float64(values), value) => values.push(float(self.field_type, value, record, scratch)?),
            (Values::Bool(values), RawValue::Bool(value)) => values.append(value),
            _ => return Err(wrong_type(self.field_type)),
        }
        self.nulls.append_non_null();
        self.length += 1;
        Ok(())
    }

    fn append_null(&mut self) {
        match &mut self.values {
            Values::Int32(values) => values.push(0),
            Values::Int64(values) => values.push(0),
            Values::Float64(values) => values.push(0.0),
            Values::Bool(values) => values.append(false),
            Values::String { bytes, ends } => ends.push(bytes.len() as i32),
        }
        self.nulls.append_null();
        self.length += 1;
    }

    /// Forgets the rows from `length` on.
    pub(crate) fn truncate(&mut self, length: usize) {
        if self.length <= length {
            return;
        }
        match &mut self.values {
            Values::Int32(values) => values.truncate(length),
            Values::Int64(values) => values.truncate(length),
            Values::Float64(values) => values.truncate(length),
            Values::Bool(values) => values.truncate(length),
            Values::String { bytes, ends } => {
                ends.truncate(length + 1);
                bytes.truncate(ends[length] as usize);
            }
        }
        self.nulls.truncate(length);
        self.length = length;
    }

    /// Takes the column.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        let nulls = self.nulls.finish();
        let length = std::mem::take(&mut self.length);
        match (&mut self.values, self.field_type) {
            (Values::Int32(values), FieldType::Date) => Arc::new(Date32Array::new(take(values, length), nulls)),
            (Values::Int32(values), _) => Arc::new(Int32Array::new(take(values, length), nulls)),
            (Values::Int64(values), FieldType::Timestamp(unit)) => {
                let values = take(values, length);
                match unit {
                    TimeUnit::Second => timestamps(TimestampSecondArray::new(values, nulls)),
                    TimeUnit::Millisecond => timestamps(TimestampMillisecondArray::new(values, nulls)),
                    TimeUnit::Microsecond => timestamps(TimestampMicrosecondArray::new(values, nulls)),
                    TimeUnit::Nanosecond => timestamps(TimestampNanosecondArray::new(values, nulls)),
                }
            }
            (Values::Int64(values), _) => Arc::new(Int64Array::new(take(values, length), nulls)),
            (Values::Float64(values), _) => Arc::new(Float64Array::new(take(values, length), nulls)),
            (Values::Bool(values), _) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            (Values::String { bytes, ends }, _) => {
                let next = (Vec::with_capacity(bytes.len()), Vec::with_capacity(ends.len()));
                let bytes = std::mem::replace(bytes, next.0);
                let offsets = std::mem::replace(ends, next.1);
                ends.push(0);
                strings(bytes, offsets, nulls)
            }
        }
    }
}

/// Takes the values; the next batch will be about as long.
fn take<T: arrow::datatypes::ArrowNativeType>(values: &mut Vec<T>, length: usize) -> ScalarBuffer<T> {
    std::mem::replace(values, Vec::with_capacity(length)).into()
}

fn timestamps<T>(array: PrimitiveArray<T>) -> ArrayRef
where
    T: ArrowPrimitiveType + arrow::datatypes::ArrowTimestampType,
{
    Arc::new(array.with_timezone(utc()))
}

fn strings(bytes: Vec<u8>, offsets: Vec<i32>, nulls: Option<NullBuffer>) -> ArrayRef {
    let offsets = OffsetBuffer::new(offsets.into());
    let strings = StringArray::try_new(offsets, Buffer::from_vec(bytes), nulls);
    Arc::new(strings.expect("whole strings of a UTF-8 text, end to end"))
}

/// A string's meaning.
#[inline]
fn content<'a>(text: &'a [u8], has_escapes: bool, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    if !has_escapes {
        return text;
    }
    scratch.clear();
    unescape(text, scratch);
    scratch
}

#[inline]
fn integer(field_type: FieldType, value: RawValue, record: &[u8], scratch: &mut Vec<u8>) -> Result<i64, RowErrorKind> {
    let value = match value {
        RawValue::Integer(value) => Some(value),
        RawValue::Number {
            start,
            end,
            is_integer: true,
        } => number::integer(&record[start..end]),
        RawValue::String {
            start,
            end,
            has_escapes,
        } => {
            let content = content(&record[start..end], has_escapes, scratch);
            match number::is_number(content) {
                Some(true) => number::integer(content),
                _ => return time(field_type, content),
            }
        }
        _ => return Err(wrong_type(field_type)),
    };
    let value = value.ok_or_else(|| out_of_range(field_type))?;
    if let FieldType::Timestamp(unit) = field_type
        && value.checked_mul(nanoseconds_per(unit)).is_none()
    {
        return Err(out_of_range(field_type));
    }
    Ok(value)
}

/// A text that is no number: a time, where the field is one.
fn time(field_type: FieldType, text: &[u8]) -> Result<i64, RowErrorKind> {
    match field_type {
        FieldType::Timestamp(unit) => number::rfc3339(text, unit).map_err(|error| match error {
            TimeError::OutOfRange => out_of_range(field_type),
            TimeError::NotATime => wrong_type(field_type),
        }),
        FieldType::Date => number::date(text).map(i64::from).ok_or_else(|| wrong_type(field_type)),
        _ => Err(wrong_type(field_type)),
    }
}

fn float(field_type: FieldType, value: RawValue, record: &[u8], scratch: &mut Vec<u8>) -> Result<f64, RowErrorKind> {
    let digits = match value {
        RawValue::Integer(value) => return Ok(value as f64),
        RawValue::Number { start, end, .. } => Some(&record[start..end]),
        RawValue::String {
            start,
            end,
            has_escapes,
        } => {
            let content = content(&record[start..end], has_escapes, scratch);
            number::is_number(content).map(|_| content)
        }
        _ => None,
    };
    let value: Option<f64> = digits.and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
    let value = value.ok_or_else(|| wrong_type(field_type))?;
    if value.is_finite() {
        Ok(value)
    } else {
        Err(out_of_range(field_type))
    }
}

#[cold]
fn wrong_type(field_type: FieldType) -> RowErrorKind {
    RowErrorKind::WrongType {
        expected: field_type.name(),
    }
}

#[cold]
fn out_of_range(field_type: FieldType) -> RowErrorKind {
    RowErrorKind::OutOfRange {
        expected: field_type.name(),
    }
}

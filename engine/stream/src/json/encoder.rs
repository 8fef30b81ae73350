//! Rows of a micro-batch → JSON objects, one per row, in column order.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, Schema, SchemaRef, TimeUnit, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::temporal_conversions::{
    date32_to_datetime, timestamp_ms_to_datetime, timestamp_ns_to_datetime, timestamp_s_to_datetime,
    timestamp_us_to_datetime,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::event_time::nanoseconds_per;
use crate::schema::type_name;

/// How timestamps are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TimestampFormat {
    /// Integers in milliseconds since 1970, rounded down.
    #[default]
    Milliseconds,
    /// RFC 3339 text in UTC, with as many digits as the unit has.
    Rfc3339,
}

/// A column whose type JSON cannot say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column \"{column}\": {data_type} cannot be written as JSON")]
pub struct EncoderError {
    /// The column.
    pub column: String,
    /// Its type.
    pub data_type: String,
}

/// Writes rows of one schema as JSON objects.
///
/// Nulls are written; NaN and the infinities are null, for JSON has no word for them. Decimals are numbers with all
/// their digits, bytes are text (with U+FFFD for what is no UTF-8), dates are `"2026-01-31"`, lists and structs nest.
#[derive(Debug)]
pub struct JsonEncoder {
    schema: SchemaRef,
    timestamps: TimestampFormat,
    /// `{"first":`, `,"second":`, …
    keys: Vec<Vec<u8>>,
}

impl JsonEncoder {
    /// Checks that every column can be written.
    pub fn new(schema: &Schema, timestamps: TimestampFormat) -> Result<Self, EncoderError> {
        if let Some(field) = schema.fields().iter().find(|field| !is_writable(field.data_type())) {
            return Err(EncoderError {
                column: field.name().clone(),
                data_type: type_name(field.data_type()),
            });
        }
        let keys = schema.fields().iter().enumerate().map(|(position, field)| {
            let mut key = vec![if position == 0 { b'{' } else { b',' }];
            write_string(field.name(), &mut key);
            key.push(b':');
            key
        });
        Ok(JsonEncoder {
            keys: keys.collect(),
            schema: Arc::new(schema.clone()),
            timestamps,
        })
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Prepares a micro-batch of this encoder's columns.
    pub fn rows<'a>(&'a self, batch: &'a RecordBatch) -> JsonRows<'a> {
        assert_eq!(
            batch.num_columns(),
            self.keys.len(),
            "the rows have the columns of the encoder"
        );
        JsonRows { encoder: self, batch }
    }
}

/// The rows of one micro-batch, ready to be written one by one.
#[derive(Debug)]
pub struct JsonRows<'a> {
    encoder: &'a JsonEncoder,
    batch: &'a RecordBatch,
}

impl JsonRows<'_> {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.batch.num_rows() == 0
    }

    /// Appends the row's object, without a line end.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        if self.encoder.keys.is_empty() {
            out.push(b'{');
        }
        for (key, column) in self.encoder.keys.iter().zip(self.batch.columns()) {
            out.extend_from_slice(key);
            write_value(column, row, self.encoder.timestamps, out);
        }
        out.push(b'}');
    }
}

/// Writes one value as JSON, as [`JsonEncoder`] would in its row: for the key of a record, or a log line.
///
/// The column's type must be one that an encoder accepts.
pub(crate) fn write_value(column: &ArrayRef, row: usize, timestamps: TimestampFormat, out: &mut Vec<u8>) {
    if column.is_null(row) {
        out.extend_from_slice(b"null");
        return;
    }
    match column.data_type() {
        DataType::Int64 => write_integer(column.as_primitive::<Int64Type>().value(row), out),
        DataType::Int32 => write_integer(column.as_primitive::<Int32Type>().value(row).into(), out),
        DataType::Int16 => write_integer(column.as_primitive::<Int16Type>().value(row).into(), out),
        DataType::Int8 => write_integer(column.as_primitive::<Int8Type>().value(row).into(), out),
        DataType::UInt64 => write_unsigned(column.as_primitive::<UInt64Type>().value(row), out),
        DataType::UInt32 => write_unsigned(column.as_primitive::<UInt32Type>().value(row).into(), out),
        DataType::UInt16 => write_unsigned(column.as_primitive::<UInt16Type>().value(row).into(), out),
        DataType::UInt8 => write_unsigned(column.as_primitive::<UInt8Type>().value(row).into(), out),
        DataType::Float64 => write_float(column.as_primitive::<Float64Type>().value(row), out),
        DataType::Float32 => write_float32(column.as_primitive::<Float32Type>().value(row), out),
        DataType::Boolean => {
            out.extend_from_slice(if column.as_boolean().value(row) {
                b"true"
            } else {
                b"false"
            });
        }
        DataType::Utf8 => write_string(column.as_string::<i32>().value(row), out),
        DataType::LargeUtf8 => write_string(column.as_string::<i64>().value(row), out),
        DataType::Utf8View => write_string(column.as_string_view().value(row), out),
        DataType::Binary => write_string(&String::from_utf8_lossy(column.as_binary::<i32>().value(row)), out),
        DataType::Timestamp(unit, _) => write_timestamp(column, *unit, row, timestamps, out),
        DataType::Date32 => match date32_to_datetime(column.as_primitive::<Date32Type>().value(row)) {
            Some(date) => write_text(format_args!("\"{}\"", date.format("%Y-%m-%d")), out),
            None => out.extend_from_slice(b"null"),
        },
        DataType::Decimal128(..) => {
            write_text(
                format_args!("{}", column.as_primitive::<Decimal128Type>().value_as_string(row)),
                out,
            );
        }
        DataType::Decimal256(..) => {
            write_text(
                format_args!("{}", column.as_primitive::<Decimal256Type>().value_as_string(row)),
                out,
            );
        }
        DataType::Interval(_) | DataType::Duration(_) => {
            let options = FormatOptions::default();
            let formatter = ArrayFormatter::try_new(column, &options);
            let text = formatter.map_or_else(|error| error.to_string(), |formatter| formatter.value(row).to_string());
            write_string(&text, out);
        }
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            for item in 0..items.len() {
                out.push(if item == 0 { b'[' } else { b',' });
                write_value(&items, item, timestamps, out);
            }
            out.extend_from_slice(if items.is_empty() { b"[]" } else { b"]" });
        }
        DataType::Struct(fields) => {
            let values = column.as_struct();
            out.push(b'{');
            for (position, (field, values)) in fields.iter().zip(values.columns()).enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write_string(field.name(), out);
                out.push(b':');
                write_value(values, row, timestamps, out);
            }
            out.push(b'}');
        }
        // Refused by the encoder.
        _ => out.extend_from_slice(b"null"),
    }
}

fn is_writable(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Boolean | DataType::Binary => true,
        DataType::Timestamp(..) | DataType::Date32 | DataType::Interval(_) | DataType::Duration(_) => true,
        DataType::Decimal128(..) | DataType::Decimal256(..) | DataType::Float32 | DataType::Float64 => true,
        DataType::List(item) => is_writable(item.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| is_writable(field.data_type())),
        other => other.is_integer(),
    }
}

fn write_timestamp(column: &ArrayRef, unit: TimeUnit, row: usize, format: TimestampFormat, out: &mut Vec<u8>) {
    use arrow::datatypes::{
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    };
    let value = match unit {
        TimeUnit::Second => column.as_primitive::<TimestampSecondType>().value(row),
        TimeUnit::Millisecond => column.as_primitive::<TimestampMillisecondType>().value(row),
        TimeUnit::Microsecond => column.as_primitive::<TimestampMicrosecondType>().value(row),
        TimeUnit::Nanosecond => column.as_primitive::<TimestampNanosecondType>().value(row),
    };
    if format == TimestampFormat::Milliseconds {
        match unit {
            // A second beyond the range of milliseconds is printed with its zeros.
            TimeUnit::Second => match value.checked_mul(1_000) {
                Some(value) => write_integer(value, out),
                None => write_text(format_args!("{value}000"), out),
            },
            unit => write_integer(value.div_euclid(1_000_000 / nanoseconds_per(unit)), out),
        }
        return;
    }
    let (time, digits) = match unit {
        TimeUnit::Second => (timestamp_s_to_datetime(value), ""),
        TimeUnit::Millisecond => (timestamp_ms_to_datetime(value), "%.3f"),
        TimeUnit::Microsecond => (timestamp_us_to_datetime(value), "%.6f"),
        TimeUnit::Nanosecond => (timestamp_ns_to_datetime(value), "%.9f"),
    };
    match time {
        Some(time) => write_text(
            format_args!("\"{}\"", time.format(&format!("%Y-%m-%dT%H:%M:%S{digits}Z"))),
            out,
        ),
        None => out.extend_from_slice(b"null"),
    }
}

fn write_integer(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    write_unsigned(value.unsigned_abs(), out);
}

fn write_unsigned(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

/// The shortest digits that read back as the same double; `Debug` has an exponent where `Display` has 300 zeros.
fn write_float(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        write_text(format_args!("{value:?}"), out);
    } else {
        out.extend_from_slice(b"null");
    }
}

fn write_float32(value: f32, out: &mut Vec<u8>) {
    if value.is_finite() {
        write_text(format_args!("{value:?}"), out);
    } else {
        out.extend_from_slice(b"null");
    }
}

fn write_text(text: std::fmt::Arguments<'_>, out: &mut Vec<u8>) {
    out.write_fmt(text).expect("a vector takes every byte");
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain_from = 0;
    for (position, byte) in bytes.iter().enumerate() {
        if !matches!(byte, b'"' | b'\\' | 0..0x20) {
            continue;
        }
        out.extend_from_slice(&bytes[plain_from..position]);
        plain_from = position + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte => write_text(format_args!("\\u{byte:04x}"), out),
        }
    }
    out.extend_from_slice(&bytes[plain_from..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests;

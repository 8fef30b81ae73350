//! Snapshots whose checksum is right and whose contents nobody would write: an error, or rows that are what they seem. Never
//! a panic, which would abort the process at every start.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Float64Array, Int8Array, Int64Array,
    LargeStringArray, ListArray, NullArray, RecordBatch, StringArray, StringViewArray, StructArray, new_empty_array,
    new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, Fields, Int64Type, IntervalUnit, Schema, TimeUnit};

use super::super::{HEADER_BYTES, SnapshotError, decode, encode};

/// Where the Arrow stream of the first part begins, if its name has one letter: its numbers are aligned from there.
const STREAM_FROM: usize = HEADER_BYTES + 4 + 4 + 1 + 8;

/// Columns of every type that can be kept, each a few rows.
fn columns() -> Vec<ArrayRef> {
    let numbers = || Int64Array::from(vec![Some(1), None, Some(3)]);
    let long = "longer than the twelve bytes that a view holds itself";
    let fields = Fields::from(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("b", DataType::Utf8, true),
    ]);
    let texts = StringArray::from(vec!["x", "y", "z"]);
    let structs = StructArray::new(
        fields,
        vec![Arc::new(numbers()), Arc::new(texts)],
        Some(NullBuffer::from(vec![true, false, true])),
    );
    let lists = vec![Some(vec![Some(1), None]), None, Some(vec![Some(3)])];
    let value = Arc::new(Field::new_list_field(DataType::Int64, true));
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(numbers()),
        Arc::new(Int8Array::from(vec![1, 2, 3])),
        Arc::new(Float64Array::from(vec![Some(0.5), None, Some(f64::NAN)])),
        Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        Arc::new(StringArray::from(vec![Some("one"), None, Some("drei ä")])),
        Arc::new(LargeStringArray::from(vec![Some("one"), None, Some(long)])),
        Arc::new(StringViewArray::from(vec![Some("one"), None, Some(long)])),
        Arc::new(BinaryArray::from(vec![&b"\xff\x00"[..], b"", b"x"])),
        Arc::new(FixedSizeBinaryArray::try_from_iter([[1u8, 2, 3], [4, 5, 6], [7, 8, 9]].into_iter()).unwrap()),
        Arc::new(
            Decimal128Array::from(vec![1, 2, 3])
                .with_precision_and_scale(10, 2)
                .unwrap(),
        ),
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)),
        Arc::new(structs),
        Arc::new(NullArray::new(3)),
    ];
    for data_type in [
        DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::Time32(TimeUnit::Second),
        DataType::Date32,
        DataType::Duration(TimeUnit::Microsecond),
        DataType::Decimal256(76, -3),
        DataType::LargeBinary,
        DataType::BinaryView,
        DataType::Float16,
        DataType::UInt16,
        DataType::LargeList(Arc::clone(&value)),
        DataType::FixedSizeList(value, 2),
    ] {
        columns.push(new_null_array(&data_type, 3));
    }
    columns.push(new_empty_array(&DataType::Utf8));
    columns
}

/// A snapshot for each column; the first has metadata in all places that have some.
fn snapshots() -> Vec<Vec<u8>> {
    let snapshot = |(position, column): (usize, ArrayRef)| {
        let metadata = (position == 0).then(|| ("k".to_owned(), "7".to_owned()));
        let field = Field::new("c", column.data_type().clone(), true);
        let field = field.with_metadata(metadata.clone().into_iter().collect());
        let schema = Schema::new_with_metadata(vec![field], metadata.into_iter().collect());
        let batch = RecordBatch::try_new(Arc::new(schema), vec![column]).unwrap();
        encode(&[("w".into(), batch)]).unwrap()
    };
    columns().into_iter().enumerate().map(snapshot).collect()
}

/// Makes the checksum and the length right.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let body = &bytes[HEADER_BYTES..];
    let (length, checksum) = (body.len() as u64, crc32c::crc32c(body));
    bytes[8..16].copy_from_slice(&length.to_le_bytes());
    bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// A snapshot with other values in its rows, a byte at a time, and the checksum of that. Its schema, in the first half, stays.
pub(crate) fn with_other_values(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let positions = bytes.len() / 2..bytes.len();
    let forgeries = positions.flat_map(|position| [(position, 0xff), (position, bytes[position] ^ 1)]);
    forgeries.map(|(position, forged)| {
        let mut bytes = bytes.to_vec();
        bytes[position] = forged;
        sealed(bytes)
    })
}

fn read(bytes: Vec<u8>) -> Result<(), SnapshotError> {
    let parts = decode(&sealed(bytes))?;
    for (_, batch) in &parts {
        for column in batch.columns() {
            concat(&[column, column]).unwrap();
        }
    }
    let again = encode(&parts).unwrap();
    assert_eq!(decode(&again).unwrap(), parts, "what was read is what it seems");
    Ok(())
}

#[test]
fn every_type_that_a_state_can_have_comes_back() {
    snapshots().into_iter().for_each(|bytes| read(bytes).unwrap());
    for column in columns() {
        let batch = RecordBatch::try_from_iter_with_nullable([("c", column, true)]).unwrap();
        let parts = [("w".to_owned(), batch)];
        assert_eq!(decode(&encode(&parts).unwrap()).unwrap(), parts);
    }
}

#[test]
fn every_byte_may_be_any_other() {
    let (mut read_anyway, mut refused) = (0, 0);
    for bytes in snapshots() {
        for position in HEADER_BYTES..bytes.len() {
            let byte = bytes[position];
            for forged in [
                0,
                1,
                0x7f,
                0x80,
                0xff,
                byte ^ 1,
                byte ^ 0x40,
                byte.wrapping_add(3),
                byte.wrapping_sub(1),
            ] {
                let mut bytes = bytes.clone();
                bytes[position] = forged;
                match read(bytes) {
                    Ok(()) => read_anyway += 1,
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(
        refused > 10_000 && read_anyway > 10_000,
        "{refused} refused, {read_anyway} read"
    );
}

#[test]
fn every_number_may_be_any_other() {
    for bytes in snapshots() {
        for position in (STREAM_FROM..bytes.len() - 8).step_by(4) {
            for forged in [i32::MAX, i32::MIN, 1 << 16, -8, 64] {
                let mut bytes = bytes.clone();
                bytes[position..position + 4].copy_from_slice(&forged.to_le_bytes());
                let _ = read(bytes);
            }
            for forged in [i64::MAX, i64::MIN, -1, 1 << 32] {
                let mut bytes = bytes.clone();
                bytes[position..position + 8].copy_from_slice(&forged.to_le_bytes());
                let _ = read(bytes);
            }
        }
    }
}

#[test]
fn every_piece_may_be_missing_or_come_twice() {
    for bytes in snapshots() {
        for from in (STREAM_FROM..bytes.len()).step_by(4) {
            for length in [1, 8, 64] {
                let to = (from + length).min(bytes.len());
                let missing = [&bytes[..from], &bytes[to..]].concat();
                let _ = read(missing);
                let twice = [&bytes[..to], &bytes[from..]].concat();
                let _ = read(twice);
            }
        }
    }
}

#[test]
fn a_type_that_could_not_be_read_back_is_not_written() {
    let data_type = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let batch = RecordBatch::try_from_iter_with_nullable([("ad", new_null_array(&data_type, 1), true)]).unwrap();
    let error = encode(&[("w".into(), batch)]).unwrap_err().to_string();
    assert!(
        error.contains("its column \"ad\" has the type Dictionary(Int32, Utf8), which cannot be kept"),
        "{error}"
    );
}

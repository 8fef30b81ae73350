//! Snapshots come back, and nothing else is taken for one.

pub(crate) mod forged;

use super::*;
use arrow::array::{Int64Array, StringArray};
use std::sync::Arc;

fn parts() -> Vec<(String, RecordBatch)> {
    let batch = RecordBatch::try_from_iter([
        (
            "key",
            Arc::new(StringArray::from(vec![Some("a"), None])) as arrow::array::ArrayRef,
        ),
        ("count", Arc::new(Int64Array::from(vec![1, 2]))),
    ]);
    let batch = batch.unwrap();
    let metadata = [("closed_through".to_owned(), "7".to_owned())].into();
    let schema = Arc::new(batch.schema_ref().as_ref().clone().with_metadata(metadata));
    let empty = RecordBatch::new_empty(Arc::clone(&schema));
    vec![
        ("one".into(), batch.with_schema(schema).unwrap()),
        ("empty".into(), empty),
    ]
}

#[test]
fn a_snapshot_comes_back_as_it_was_with_its_metadata() {
    assert_eq!(decode(&encode(&parts()).unwrap()).unwrap(), parts());
    assert_eq!(decode(&encode(&[]).unwrap()).unwrap(), []);
}

#[test]
fn missing_or_foreign_bytes_are_a_clear_error() {
    assert_eq!(decode(b""), Err(SnapshotError::NoSnapshot));
    assert_eq!(decode(b"PAR1 something else"), Err(SnapshotError::NoSnapshot));
    let mut bytes = encode(&parts()).unwrap();
    bytes[4] = 9;
    assert_eq!(decode(&bytes), Err(SnapshotError::Version { expected: 1, found: 9 }));
}

/// Pitfall 22 of the stream engine: of the state itself.
#[test]
fn every_truncation_and_every_flipped_byte_is_noticed() {
    let bytes = encode(&parts()).unwrap();
    for length in 0..bytes.len() {
        decode(&bytes[..length]).expect_err("truncated");
    }
    for position in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[position] ^= 0x40;
        decode(&bytes).expect_err("flipped");
    }
    let longer = [bytes.as_slice(), b"x"].concat();
    assert!(matches!(decode(&longer), Err(SnapshotError::Length { .. })));
}

//! States of the right columns with values that no aggregate gives: an error, or rows; never a panic.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, ListArray, RecordBatch, UInt64Array};
use arrow::datatypes::Float64Type;

use super::{Row, batch, full, options, window};
use crate::snapshot;
use crate::snapshot::tests::forged::with_other_values;
use crate::stateful::StatefulOperator;
use crate::stateful::error::OperatorError;
use crate::window::{AlignedWindow, PartialWindows, WindowMerger};

/// All that becomes of a state: restored, added to, taken and merged.
fn read(window: &Arc<AlignedWindow>, rows: &[Row], bytes: &[u8]) -> Result<(), String> {
    let mut parts = snapshot::decode(bytes).map_err(|error| error.to_string())?;
    let mut partial = PartialWindows::new(Arc::clone(window));
    let restored = partial.restore(&parts.remove(0).1, None);
    restored.map_err(|error| error.to_string())?;
    partial.update(&batch(rows), None).map_err(|error| error.to_string())?;
    let state = partial.take_all().map_err(|error| error.to_string())?;
    let merged = WindowMerger::new(Arc::clone(window)).merge(&state.into_iter().collect::<Vec<_>>());
    merged.map(drop).map_err(|error| error.to_string())
}

/// One aggregate of each kind of state.
const AGGREGATES: [&str; 18] = [
    "count(*)",
    "count(distinct ad)",
    "sum(campaign)",
    "avg(price)",
    "min(ad)",
    "max(flag)",
    "median(price)",
    "stddev(price)",
    "covar_samp(price, campaign)",
    "corr(price, campaign)",
    "regr_slope(price, campaign)",
    "approx_distinct(ad)",
    "approx_median(price)",
    "approx_percentile_cont_with_weight(1, 0.9) within group (order by price)",
    "percentile_cont(0.5) within group (order by price)",
    "bit_xor(campaign)",
    "bool_and(flag)",
    "first_value(7)",
];

#[test]
fn every_byte_of_a_state_may_be_any_other() {
    let rows: Vec<Row> = vec![
        (Some(1), Some(3), Some("a"), 0.5, true),
        (Some(1), None, Some("b"), 1.5, false),
        (Some(2), Some(4), Some("a"), 2.5, true),
    ];
    for sql in AGGREGATES {
        let window = window(options(&["ad"], &[sql]));
        let mut partial = PartialWindows::new(Arc::clone(&window));
        partial.update(&batch(&rows), None).unwrap();
        let bytes = snapshot::encode(&[("w".into(), full(&mut partial))]).unwrap();
        let outcomes = with_other_values(&bytes).map(|forged| read(&window, &rows, &forged));
        let refused = outcomes.filter(Result::is_err).count();
        assert!(refused > 0, "{sql}");
    }
}

/// A state of one group with another value in one of the aggregate's columns.
fn restored_with(sql: &str, position: usize, column: ArrayRef) -> Result<(), OperatorError> {
    let window = window(options(&["ad"], &[sql]));
    let mut partial = PartialWindows::new(Arc::clone(&window));
    let row = (Some(1), Some(3), Some("a"), 0.5, true);
    partial.update(&batch(&[row]), None).unwrap();
    let state = full(&mut partial);
    PartialWindows::new(Arc::clone(&window)).restore(&state, None).unwrap();
    let mut columns = state.columns().to_vec();
    // The start of the window and the group come first.
    columns[2 + position] = column;
    let forged = RecordBatch::try_new(state.schema(), columns).unwrap();
    PartialWindows::new(window).restore(&forged, None)
}

#[test]
fn counts_that_are_missing_negative_or_overflow_with_the_next_row_are_refused() {
    for (sql, column) in [
        ("count(*)", Arc::new(Int64Array::from(vec![None])) as ArrayRef),
        ("count(price)", Arc::new(Int64Array::from(vec![-1]))),
        ("count(*)", Arc::new(Int64Array::from(vec![i64::MAX]))),
        ("avg(price)", Arc::new(UInt64Array::from(vec![u64::MAX]))),
        ("stddev(price)", Arc::new(UInt64Array::from(vec![u64::MAX]))),
        ("corr(price, campaign)", Arc::new(UInt64Array::from(vec![u64::MAX]))),
        (
            "regr_slope(price, campaign)",
            Arc::new(UInt64Array::from(vec![u64::MAX])),
        ),
    ] {
        let error = restored_with(sql, 0, column).unwrap_err().to_string();
        let expected =
            format!("this state has, for `{sql}`, a count that is missing or cannot be: somebody else wrote it");
        assert_eq!(error, expected);
    }
}

#[test]
fn digests_that_are_not_whole_are_refused() {
    let list = |values: Vec<f64>| {
        let values = values.into_iter().map(Some);
        Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>([Some(values)])) as ArrayRef
    };
    for (position, column) in [
        (0, Arc::new(UInt64Array::from(vec![u64::MAX])) as ArrayRef),
        (0, Arc::new(UInt64Array::from(vec![None]))),
        (3, Arc::new(Float64Array::from(vec![f64::MIN]))),
        (4, Arc::new(Float64Array::from(vec![None]))),
        (5, list(vec![1.0])),
    ] {
        let error = restored_with("approx_median(price)", position, column)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("a digest of values, in row 0, that cannot be"),
            "{error}"
        );
    }
    let sized = "approx_percentile_cont(0.9, 500) within group (order by price)";
    let error = restored_with(sized, 5, list(vec![1.0])).unwrap_err();
    assert!(
        matches!(error, OperatorError::ImpossibleState { .. }),
        "its own state was taken before"
    );
}

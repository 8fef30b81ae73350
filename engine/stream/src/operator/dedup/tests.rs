//! Which rows go on, what is remembered, and that restarts change neither.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{Int64Type, SchemaRef};
use proptest::prelude::*;

use super::{Dedup, DedupKeys, DedupOptions};
use crate::schema::{Field, FieldType, SourceSchema};
use crate::snapshot::tests::forged::with_other_values;
use crate::snapshot::{self, SnapshotKind};
use crate::stateful::StatefulOperator;
use crate::stateful::error::OperatorError;

const MS: i64 = 1_000_000;

/// Event time in milliseconds, user, ad. The number of the row is a column of its own.
type Row = (Option<i64>, Option<i64>, Option<&'static str>);

fn schema() -> SchemaRef {
    let fields = [
        ("time", "timestamp(ms)"),
        ("user", "int64"),
        ("ad", "string"),
        ("number", "int64"),
    ];
    let fields = fields.map(|(name, field_type)| Field::new(name, field_type.parse::<FieldType>().unwrap()));
    SourceSchema::new(fields.to_vec()).unwrap().arrow()
}

fn batch(first_number: usize, rows: &[Row]) -> RecordBatch {
    let times = rows.iter().map(|row| row.0).collect::<TimestampMillisecondArray>();
    let numbers = first_number as i64..(first_number + rows.len()) as i64;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(times.with_timezone("UTC")),
        Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<StringArray>()),
        Arc::new(Int64Array::from_iter_values(numbers)),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn options(keys: &[&str]) -> DedupOptions {
    DedupOptions {
        time_column: "time".into(),
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        horizon: Duration::from_millis(10),
        keys_max: 1_000_000,
        kept_columns: vec![3],
    }
}

fn dedup(options: DedupOptions) -> DedupKeys {
    DedupKeys::new(Arc::new(Dedup::new(&schema(), options).unwrap()))
}

/// The numbers of the rows that go on.
fn passed(keys: &mut DedupKeys, rows: &[Row], closed_before: Option<i64>) -> Vec<i64> {
    let outcome = keys.update(&batch(0, rows), closed_before.map(|ms| ms * MS)).unwrap();
    outcome.passed.map_or_else(Vec::new, |rows| numbers(&rows))
}

fn numbers(rows: &RecordBatch) -> Vec<i64> {
    rows.column(0).as_primitive::<Int64Type>().values().to_vec()
}

fn of_user(time: i64, user: i64) -> Row {
    (Some(time), Some(user), None)
}

#[test]
fn the_first_row_of_a_key_goes_on_and_repeats_within_the_horizon_are_counted() {
    let mut keys = dedup(options(&["user"]));
    let rows = [
        of_user(5, 1),
        of_user(5, 1),
        of_user(7, 2),
        of_user(14, 1),
        of_user(0, 1),
    ];
    let outcome = keys.update(&batch(0, &rows), None).unwrap();
    assert_eq!(outcome.duplicate_rows, 3);
    assert_eq!(numbers(&outcome.passed.unwrap()), [0, 2]);
}

#[test]
fn a_row_a_whole_horizon_from_all_others_of_its_key_is_no_repeat() {
    let mut keys = dedup(options(&["user"]));
    let rows = [
        of_user(20, 1),
        of_user(30, 1),
        of_user(10, 1),
        of_user(25, 1),
        of_user(15, 1),
        of_user(39, 1),
    ];
    assert_eq!(passed(&mut keys, &rows, None), [0, 1, 2]);
    assert_eq!(keys.groups(), 3, "each of them is remembered");
}

#[test]
fn a_key_is_forgotten_a_horizon_after_its_row_and_not_before() {
    for (watermark, expected) in [(14, vec![]), (15, vec![0]), (16, vec![0])] {
        let mut keys = dedup(options(&["user"]));
        passed(&mut keys, &[of_user(5, 1)], None);
        assert_eq!(
            passed(&mut keys, &[of_user(12, 1)], Some(watermark)),
            expected,
            "at {watermark}"
        );
    }
}

#[test]
fn a_row_whose_key_would_be_forgotten_already_is_late_and_does_not_go_on() {
    let mut keys = dedup(options(&["user"]));
    let rows = [of_user(10, 1), of_user(11, 2), (None, Some(3), None)];
    let outcome = keys.update(&batch(0, &rows), Some(20 * MS)).unwrap();
    assert_eq!(
        (outcome.late_rows, outcome.unplaced_rows, outcome.duplicate_rows),
        (1, 1, 0)
    );
    assert_eq!(numbers(&outcome.passed.unwrap()), [1]);
}

#[test]
fn a_batch_does_not_make_its_own_rows_late_or_forgotten() {
    let mut keys = dedup(options(&["user"]));
    assert_eq!(
        passed(&mut keys, &[of_user(1, 1), of_user(1_000, 2), of_user(1, 1)], None),
        [0, 1]
    );
}

#[test]
fn keys_of_every_kind_and_nulls_are_told_apart() {
    let rows = [
        (Some(1), Some(1), Some("a")),
        (Some(2), Some(1), Some("b")),
        (Some(3), None, Some("a")),
        (Some(4), None, None),
        (Some(5), None, Some("a")),
        (Some(6), Some(1), Some("")),
        (Some(7), Some(1), None),
        (Some(8), Some(1), Some("")),
    ];
    for (columns, expected) in [
        (&["user"][..], vec![0, 2]),
        (&["ad"], vec![0, 1, 3, 5]),
        (&["user", "ad"], vec![0, 1, 2, 3, 5, 6]),
    ] {
        let mut keys = dedup(options(columns));
        assert_eq!(passed(&mut keys, &rows, None), expected, "{columns:?}");
        let mut restored = dedup(options(columns));
        restore(&mut restored, &mut keys, SnapshotKind::Full, None);
        assert_eq!(passed(&mut restored, &rows, None), [] as [i64; 0], "{columns:?}");
    }
}

#[test]
fn forgotten_keys_are_cleared_away_and_too_many_live_ones_are_an_error() {
    let limited = DedupOptions {
        keys_max: 2_000,
        ..options(&["user"])
    };
    let mut keys = dedup(limited);
    for step in 0..100 {
        let rows: Vec<Row> = (0..500).map(|user| of_user(step * 10, step * 500 + user)).collect();
        keys.update(&batch(0, &rows), Some((step - 1) * 10 * MS)).unwrap();
        assert!(keys.groups() <= 2_000, "{} keys after step {step}", keys.groups());
    }
    let rows: Vec<Row> = (0..2_001).map(|user| of_user(5_000, user)).collect();
    let error = keys.update(&batch(0, &rows), None).unwrap_err();
    assert_eq!(error, OperatorError::TooManyKeys { keys_max: 2_000 });
}

#[test]
fn changes_hold_what_was_added_since_the_last_snapshot_and_say_when_it_is_worth_nothing() {
    let mut keys = dedup(options(&["user"]));
    passed(&mut keys, &[of_user(5, 1), of_user(7, 2)], None);
    let part = keys.snapshot(SnapshotKind::Changes).unwrap().unwrap();
    assert_eq!((part.rows.num_rows(), part.closed_at), (2, 17 * MS));
    assert!(keys.snapshot(SnapshotKind::Changes).unwrap().is_none());
    passed(&mut keys, &[of_user(8, 1), of_user(8, 3)], None);
    let part = keys.snapshot(SnapshotKind::Changes).unwrap().unwrap();
    assert_eq!((part.rows.num_rows(), part.closed_at), (1, 18 * MS));
    assert_eq!(keys.snapshot(SnapshotKind::Full).unwrap().unwrap().rows.num_rows(), 3);
    assert!(keys.take_all().unwrap().is_none());
    assert_eq!(keys.groups(), 3, "a drain forgets nothing");
}

#[test]
fn state_of_other_keys_is_refused() {
    let mut keys = dedup(options(&["user"]));
    passed(&mut keys, &[of_user(5, 1)], None);
    let part = keys.snapshot(SnapshotKind::Full).unwrap().unwrap();
    let error = dedup(options(&["ad"]))
        .restore(&part.rows, None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("ad string") && error.contains("user int64"), "{error}");
}

#[test]
fn a_dedup_that_makes_no_sense_is_refused() {
    let refused = |options| Dedup::new(&schema(), options).unwrap_err();
    assert_eq!(refused(options(&[])), OperatorError::NothingToRemember);
    for horizon in [Duration::ZERO, Duration::MAX] {
        let options = DedupOptions {
            horizon,
            ..options(&["user"])
        };
        assert_eq!(refused(options), OperatorError::NothingToRemember);
    }
}

fn restore(to: &mut DedupKeys, from: &mut DedupKeys, kind: SnapshotKind, closed_up_to: Option<i64>) {
    if let Some(part) = from.snapshot(kind).unwrap() {
        let bytes = snapshot::encode(&[("d".into(), part.rows)]).unwrap();
        to.restore(&snapshot::decode(&bytes).unwrap()[0].1, closed_up_to)
            .unwrap();
    }
}

#[test]
fn every_value_of_a_state_may_be_any_other_without_a_panic() {
    let rows = [
        (Some(1), Some(1), Some("a")),
        (Some(20), Some(1), Some("a")),
        (Some(2), None, Some("b")),
    ];
    let mut keys = dedup(options(&["user", "ad"]));
    passed(&mut keys, &rows, None);
    let part = keys.snapshot(SnapshotKind::Full).unwrap().unwrap();
    let bytes = snapshot::encode(&[("d".into(), part.rows)]).unwrap();
    let read = |bytes: &[u8]| -> Option<()> {
        let state = snapshot::decode(bytes).ok()?.remove(0).1;
        let mut restored = dedup(options(&["user", "ad"]));
        restored.restore(&state, Some(3 * MS)).ok()?;
        restored.update(&batch(3, &rows), Some(3 * MS)).ok()?;
        restored.take_closed(40 * MS).ok()?;
        restored.snapshot(SnapshotKind::Full).ok().map(drop)
    };
    read(&bytes).unwrap();
    let outcomes: Vec<_> = with_other_values(&bytes).map(|forged| read(&forged)).collect();
    let taken = outcomes.iter().flatten().count();
    assert!(taken > 10 && taken < outcomes.len(), "{taken} of {}", outcomes.len());
}

#[derive(Debug, Clone)]
enum Step {
    Rows(Vec<(i64, i64)>),
    Watermark(i64),
    Checkpoint(SnapshotKind),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![3 => Just(SnapshotKind::Changes), 1 => Just(SnapshotKind::Full)];
    prop_oneof![
        5 => prop::collection::vec((0..80i64, 0..4i64), 0..12).prop_map(Step::Rows),
        2 => (0..80i64).prop_map(Step::Watermark),
        2 => kind.prop_map(Step::Checkpoint),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #[test]
    fn what_goes_on_is_what_a_list_of_all_rows_says_whatever_is_restored_between(steps in prop::collection::vec(step(), 0..40), is_text in any::<bool>()) {
        const ADS: [&str; 4] = ["a", "b", "", "dd"];
        let columns = if is_text { ["ad"] } else { ["user"] };
        let row = |(time, key): &(i64, i64)| -> Row { (Some(*time), Some(*key), Some(ADS[*key as usize])) };
        let mut keys = dedup(options(&columns));
        // The model: event times of the rows that went on, by key. What was committed is the state of both at a checkpoint.
        let mut model: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        let mut watermark: Option<i64> = None;
        let mut segments: Vec<RecordBatch> = Vec::new();
        let mut committed = (model.clone(), watermark);
        for step in steps {
            match step {
                Step::Rows(rows) => {
                    let (mut late, mut expected) = (0, Vec::new());
                    for (number, (time, key)) in rows.iter().enumerate() {
                        let is_forgotten = |time: i64| watermark.is_some_and(|watermark| time + 10 <= watermark);
                        let seen = model.entry(*key).or_default();
                        if is_forgotten(*time) {
                            late += 1;
                        } else if !seen.iter().any(|of| (of - time).abs() < 10 && !is_forgotten(*of)) {
                            seen.push(*time);
                            expected.push(number as i64);
                        }
                    }
                    let rows: Vec<Row> = rows.iter().map(row).collect();
                    // Two halves give what the whole gives.
                    let (first, second) = rows.split_at(rows.len() / 2);
                    let mut found = Vec::new();
                    for (from, half) in [(0, first), (first.len(), second)] {
                        let outcome = keys.update(&batch(from, half), watermark.map(|ms| ms * MS)).unwrap();
                        late -= outcome.late_rows;
                        found.extend(outcome.passed.iter().flat_map(numbers));
                    }
                    prop_assert_eq!((found, late), (expected, 0));
                }
                Step::Watermark(to) => watermark = watermark.max(Some(to)),
                Step::Checkpoint(kind) => {
                    let kind = if segments.is_empty() { SnapshotKind::Full } else { kind };
                    if kind == SnapshotKind::Full {
                        segments.clear();
                    }
                    let part = keys.snapshot(kind).unwrap();
                    // A part that is worth nothing is not kept.
                    let part = part.filter(|part| watermark.is_none_or(|watermark| part.closed_at > watermark * MS));
                    segments.extend(part.map(|part| part.rows));
                    committed = (model.clone(), watermark);
                }
                Step::Restart => {
                    (model, watermark) = committed.clone();
                    keys = dedup(options(&columns));
                    for segment in &segments {
                        keys.restore(segment, watermark.map(|ms| ms * MS)).unwrap();
                    }
                }
            }
        }
    }
}

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType};
use arrow::util::pretty::pretty_format_batches;
use proptest::prelude::*;

use super::{PartialWindows, TumblingOptions, TumblingWindow, WindowError, WindowMerger};
use crate::expression::AggregateExpression;
use crate::schema::{Field, FieldType, SourceSchema};
use crate::snapshot;

const MS: i64 = 1_000_000;

/// Event time in milliseconds, campaign, ad, price, flag.
type Row = (Option<i64>, Option<i64>, Option<&'static str>, f64, bool);

fn schema() -> SchemaRef {
    let fields = [
        ("time", "timestamp(ms)"),
        ("campaign", "int64"),
        ("ad", "string"),
        ("price", "float64"),
        ("flag", "bool"),
    ];
    let fields = fields.map(|(name, field_type)| Field::new(name, field_type.parse::<FieldType>().unwrap()));
    SourceSchema::new(fields.to_vec()).unwrap().arrow()
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(
            rows.iter()
                .map(|row| row.0)
                .collect::<TimestampMillisecondArray>()
                .with_timezone("UTC"),
        ),
        Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| Some(row.3)).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| Some(row.4)).collect::<BooleanArray>()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn times(times: &[i64]) -> RecordBatch {
    batch(
        &times
            .iter()
            .map(|time| (Some(*time), Some(1), Some("a"), 1.0, true))
            .collect::<Vec<_>>(),
    )
}

fn options(group_by: &[&str], aggregates: &[&str]) -> TumblingOptions {
    let aggregate = |(position, sql): (usize, &&str)| {
        (
            format!("a{position}"),
            AggregateExpression::parse(sql, &schema()).unwrap(),
        )
    };
    TumblingOptions {
        time_column: "time".into(),
        size: Duration::from_millis(10),
        allowed_lateness: Duration::ZERO,
        group_by: group_by.iter().map(|name| (*name).to_owned()).collect(),
        aggregates: aggregates.iter().enumerate().map(aggregate).collect(),
        keep_late_rows: true,
        groups_max: 1_000,
    }
}

fn window(options: TumblingOptions) -> Arc<TumblingWindow> {
    Arc::new(TumblingWindow::new(&schema(), options).unwrap())
}

fn counting() -> Arc<TumblingWindow> {
    window(options(&[], &["count(*)"]))
}

/// Window starts in milliseconds, and counts, of windows without groups.
fn counts(window: &Arc<TumblingWindow>, states: &[Option<RecordBatch>]) -> Vec<(i64, i64)> {
    let states: Vec<RecordBatch> = states.iter().flatten().cloned().collect();
    let Some(rows) = WindowMerger::new(Arc::clone(window)).merge(&states).unwrap() else {
        return vec![];
    };
    let starts = rows.column(0).as_primitive::<TimestampMicrosecondType>();
    let counts = rows.column(2).as_primitive::<Int64Type>();
    (0..rows.num_rows())
        .map(|row| (starts.value(row) / 1_000, counts.value(row)))
        .collect()
}

fn text(window: &Arc<TumblingWindow>, states: &[RecordBatch]) -> String {
    let rows = WindowMerger::new(Arc::clone(window)).merge(states).unwrap();
    pretty_format_batches(&rows.into_iter().collect::<Vec<_>>())
        .unwrap()
        .to_string()
}

#[test]
fn windows_include_their_start_and_exclude_their_end_also_before_1970() {
    let window = counting();
    let mut partial = PartialWindows::new(Arc::clone(&window));
    partial.update(&times(&[0, 9, 10, -1, -10, -11, 5]), None).unwrap();
    let closed = partial.take_all().unwrap();
    assert_eq!(counts(&window, &[closed]), [(-20, 1), (-10, 2), (0, 3), (10, 1)]);
}

#[test]
fn a_window_closes_when_the_watermark_reaches_its_end_and_only_once() {
    let window = counting();
    let mut partial = PartialWindows::new(Arc::clone(&window));
    partial.update(&times(&[1, 11]), None).unwrap();
    assert!(partial.take_closed(10 * MS - 1).unwrap().is_none());
    let closed = partial.take_closed(10 * MS).unwrap();
    assert_eq!(counts(&window, &[closed]), [(0, 1)]);
    assert!(partial.take_closed(10 * MS).unwrap().is_none());
    assert_eq!((partial.windows(), partial.groups()), (1, 1));
}

#[test]
fn a_row_is_late_only_if_its_window_had_closed_before_its_own_batch() {
    let window = counting();
    let mut partial = PartialWindows::new(Arc::clone(&window));
    // The batch's own maximum would close the window of its first row.
    let outcome = partial.update(&times(&[1, 100]), None).unwrap();
    assert_eq!(outcome.late_rows, 0);
    let outcome = partial.update(&times(&[2, 12]), Some(10 * MS)).unwrap();
    assert_eq!(outcome.late_rows, 1, "the window of 2 ended at the watermark");
    assert_eq!(outcome.late.unwrap().column(0).len(), 1);
}

#[test]
fn a_row_at_the_watermark_itself_is_never_late() {
    for watermark in [9, 10, 11, 19, 20] {
        let mut partial = PartialWindows::new(counting());
        assert_eq!(
            partial
                .update(&times(&[watermark]), Some(watermark * MS))
                .unwrap()
                .late_rows,
            0
        );
    }
}

#[test]
fn a_closed_window_is_not_opened_again_by_a_watermark_that_went_back() {
    let window = counting();
    let mut partial = PartialWindows::new(Arc::clone(&window));
    partial.update(&times(&[1]), None).unwrap();
    partial.take_closed(10 * MS).unwrap();
    assert_eq!(partial.update(&times(&[2]), None).unwrap().late_rows, 1);
    let mut restored = PartialWindows::new(Arc::clone(&window));
    let bytes = snapshot::encode(&[("w".into(), partial.snapshot().unwrap())]).unwrap();
    restored.restore(&snapshot::decode(&bytes).unwrap()[0].1).unwrap();
    assert_eq!(
        restored.update(&times(&[2]), None).unwrap().late_rows,
        1,
        "not even after a restart"
    );
}

#[test]
fn allowed_lateness_keeps_a_window_open_longer() {
    let window = window(TumblingOptions {
        allowed_lateness: Duration::from_millis(5),
        ..options(&[], &["count(*)"])
    });
    let mut partial = PartialWindows::new(Arc::clone(&window));
    assert_eq!(partial.update(&times(&[1]), Some(14 * MS)).unwrap().late_rows, 0);
    assert!(partial.take_closed(15 * MS - 1).unwrap().is_none());
    let closed = partial.take_closed(15 * MS).unwrap();
    assert_eq!(counts(&window, &[closed]), [(0, 1)]);
    assert_eq!(partial.update(&times(&[1]), Some(15 * MS)).unwrap().late_rows, 1);
}

#[test]
fn late_rows_are_handed_back_as_they_came() {
    let mut partial = PartialWindows::new(counting());
    let rows = [
        (Some(1), Some(7), Some("x"), 1.5, true),
        (Some(30), None, None, 0.0, false),
        (Some(2), None, None, 2.5, false),
    ];
    let outcome = partial.update(&batch(&rows), Some(20 * MS)).unwrap();
    assert_eq!(outcome.late.unwrap(), batch(&[rows[0], rows[2]]));
}

#[test]
fn rows_without_a_time_or_beyond_the_range_of_nanoseconds_are_counted_and_nothing_overflows() {
    let window = counting();
    let mut partial = PartialWindows::new(Arc::clone(&window));
    let edge = i64::MAX / MS;
    let rows = [
        None,
        Some(i64::MAX),
        Some(i64::MIN),
        Some(edge),
        Some(-edge),
        Some(edge - 100),
    ];
    let rows = rows.map(|time| (time, None, None, 0.0, false));
    let outcome = partial.update(&batch(&rows), Some(i64::MIN)).unwrap();
    assert_eq!(outcome.unplaced_rows, 5);
    assert!(partial.take_closed(i64::MIN).unwrap().is_none());
    assert_eq!(partial.windows(), 1);
    assert!(partial.take_closed(i64::MAX).unwrap().is_some());
}

#[test]
fn groups_are_ordered_with_null_first_and_null_is_a_group_of_its_own() {
    let rows = [
        (Some(1), Some(2), Some("b"), 1.0, true),
        (Some(2), None, Some(""), 1.0, true),
        (Some(3), Some(-1), None, 1.0, true),
        (Some(4), Some(2), Some("b"), 1.0, true),
        (Some(15), Some(2), Some("a"), 1.0, true),
    ];
    for (group_by, expected) in [
        (&["campaign"][..], vec!["0 [null] 1", "0 [-1] 1", "0 [2] 2", "10 [2] 1"]),
        (&["ad"], vec!["0 [null] 1", "0 [] 1", "0 [b] 2", "10 [a] 1"]),
        (
            &["campaign", "ad"],
            vec!["0 [null,] 1", "0 [-1,null] 1", "0 [2,b] 2", "10 [2,a] 1"],
        ),
        (
            &["time", "flag"],
            vec![
                "0 [1,true] 1",
                "0 [2,true] 1",
                "0 [3,true] 1",
                "0 [4,true] 1",
                "10 [15,true] 1",
            ],
        ),
        (&[], vec!["0 [] 4", "10 [] 1"]),
    ] {
        let window = window(options(group_by, &["count(*)"]));
        let mut partial = PartialWindows::new(Arc::clone(&window));
        partial.update(&batch(&rows), None).unwrap();
        let states = partial.take_all().unwrap().unwrap();
        let rows = WindowMerger::new(Arc::clone(&window))
            .merge(&[states])
            .unwrap()
            .unwrap();
        let value = |column: usize, row: usize| {
            let mut out = Vec::new();
            crate::json::encoder::write_value(rows.column(column), row, Default::default(), &mut out);
            String::from_utf8(out).unwrap().replace('"', "")
        };
        let seen = (0..rows.num_rows()).map(|row| {
            let keys: Vec<String> = (2..2 + group_by.len()).map(|column| value(column, row)).collect();
            format!(
                "{} [{}] {}",
                value(0, row),
                keys.join(","),
                value(2 + group_by.len(), row)
            )
        });
        assert_eq!(seen.collect::<Vec<_>>(), expected, "{group_by:?}");
        assert_eq!(value(1, 0), "10", "window_end");
    }
}

#[test]
fn state_is_bounded_by_the_number_of_groups() {
    let window = window(TumblingOptions {
        groups_max: 2,
        ..options(&["campaign"], &["count(*)"])
    });
    let mut partial = PartialWindows::new(window);
    let row = |campaign| (Some(1), Some(campaign), None, 0.0, false);
    partial.update(&batch(&[row(1), row(2), row(1)]), None).unwrap();
    let error = partial.update(&batch(&[row(3)]), None).unwrap_err();
    assert_eq!(error, WindowError::TooManyGroups { groups_max: 2 });
}

#[test]
fn a_window_that_makes_no_sense_is_refused() {
    for size in [Duration::ZERO, Duration::from_nanos(1_500), Duration::MAX] {
        let refused = TumblingWindow::new(
            &schema(),
            TumblingOptions {
                size,
                ..options(&[], &["count(*)"])
            },
        );
        assert_eq!(refused.unwrap_err(), WindowError::Size { size });
    }
    let refused = TumblingWindow::new(
        &schema(),
        TumblingOptions {
            time_column: "ad".into(),
            ..options(&[], &[])
        },
    );
    assert_eq!(refused.unwrap_err(), WindowError::NoEventTime { column: "ad".into() });
    let refused = TumblingWindow::new(&schema(), options(&["adx"], &[]));
    assert_eq!(
        refused.unwrap_err(),
        WindowError::NoGroupColumn { column: "adx".into() }
    );
}

#[test]
fn state_of_another_window_is_a_clear_error() {
    let mut partial = PartialWindows::new(window(options(&["campaign"], &["sum(price)"])));
    partial.update(&times(&[1]), None).unwrap();
    let state = partial.snapshot().unwrap();
    let mut other = PartialWindows::new(window(options(&["campaign"], &["sum(campaign)"])));
    let error = other.restore(&state).unwrap_err().to_string();
    assert!(
        error.contains("a0#0 float64") && error.contains("a0#0 int64"),
        "{error}"
    );
    let unrelated = times(&[1]);
    assert!(matches!(
        other.restore(&unrelated),
        Err(WindowError::ForeignState { .. })
    ));
}

#[test]
fn the_same_snapshot_restored_twice_gives_the_same_windows_twice() {
    let window = counting();
    let mut partial = PartialWindows::new(Arc::clone(&window));
    partial.update(&times(&[1, 2, 11]), None).unwrap();
    let state = partial.snapshot().unwrap();
    for _ in 0..2 {
        let mut restored = PartialWindows::new(Arc::clone(&window));
        restored.restore(&state).unwrap();
        assert_eq!(counts(&window, &[restored.take_all().unwrap()]), [(0, 2), (10, 1)]);
    }
    assert_eq!(
        counts(&window, &[partial.take_all().unwrap()]),
        [(0, 2), (10, 1)],
        "a snapshot takes nothing away"
    );
}

/// Every aggregate of DataFusion whose result does not depend on the order of rows.
const AGGREGATES: [&str; 41] = [
    "count(*)",
    "count(campaign)",
    "count(distinct campaign)",
    "count(distinct ad)",
    "count(*) filter (where flag)",
    "sum(campaign) filter (where ad = 'a')",
    "sum(campaign)",
    "sum(distinct campaign)",
    "sum(price)",
    "avg(price)",
    "avg(campaign)",
    "min(time)",
    "max(time)",
    "min(ad)",
    "max(ad)",
    "max(price)",
    "max(flag)",
    "median(price)",
    "stddev(price)",
    "stddev_pop(campaign)",
    "var_samp(price)",
    "var_pop(price)",
    "covar_samp(price, campaign)",
    "covar_pop(price, campaign)",
    "corr(price, campaign)",
    "regr_slope(price, campaign)",
    "regr_count(price, campaign)",
    "regr_r2(price, campaign)",
    "regr_intercept(price, campaign)",
    "approx_distinct(ad)",
    "approx_median(price)",
    "approx_percentile_cont(0.9) within group (order by price)",
    "approx_percentile_cont_with_weight(1, 0.9) within group (order by price)",
    "percentile_cont(0.5) within group (order by price)",
    "bit_and(campaign)",
    "bit_or(campaign)",
    "bit_xor(campaign)",
    "bool_and(flag)",
    "bool_or(flag)",
    "any_value(1)",
    "first_value(7)",
];

#[test]
fn every_aggregate_gives_in_parts_what_it_gives_in_one() {
    let ads = [Some("a"), Some("b"), None, Some("c")];
    let rows: Vec<Row> = (0..400)
        .map(|row: i64| {
            let campaign = (row % 7 != 0).then_some(row % 5);
            (
                Some(row / 10),
                campaign,
                ads[(row % 4) as usize],
                (row * 37 % 64) as f64,
                row % 3 == 0,
            )
        })
        .collect();
    for sql in AGGREGATES {
        let window = window(options(&["ad"], &[sql]));
        let mut whole = PartialWindows::new(Arc::clone(&window));
        whole.update(&batch(&rows), None).unwrap();
        let whole = text(&window, &[whole.take_all().unwrap().unwrap()]);
        let mut states = Vec::new();
        for part in rows.chunks(133) {
            let mut partial = PartialWindows::new(Arc::clone(&window));
            for piece in part.chunks(17) {
                partial.update(&batch(piece), None).unwrap();
                let state = partial.snapshot().unwrap();
                let bytes = snapshot::encode(&[("w".into(), state)]).unwrap();
                let state = snapshot::decode(&bytes).unwrap().remove(0).1;
                partial = PartialWindows::new(Arc::clone(&window));
                partial.restore(&state).unwrap();
            }
            states.push(partial.take_all().unwrap().unwrap());
        }
        let round = |text: &str| text.replace("0000000001", "").replace("9999999999", "");
        let parts = text(&window, &states);
        // Sums of floats may differ in their last bits: compare the numbers.
        if round(&parts) != round(&whole) {
            assert!(nearly_equal(&parts, &whole), "{sql}\n{whole}\n{parts}");
        }
    }
}

fn nearly_equal(a: &str, b: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        text.split_whitespace()
            .map(str::to_owned)
            .filter(|word| !word.starts_with("+-"))
            .collect()
    };
    let (a, b) = (words(a), words(b));
    a.len() == b.len()
        && a.iter()
            .zip(&b)
            .all(|(a, b)| match (a.parse::<f64>(), b.parse::<f64>()) {
                (Ok(a), Ok(b)) => (a - b).abs() <= 1e-9 * a.abs().max(1.0),
                _ => a == b,
            })
}

#[derive(Debug, Clone)]
enum Step {
    Rows(usize, Vec<(i64, Option<i64>)>),
    Snapshot(usize),
    Watermark(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let row = (-100i64..200, prop::option::weighted(0.9, 0i64..4));
    prop_oneof![
        4 => (0..3usize, prop::collection::vec(row, 0..20)).prop_map(|(partition, rows)| Step::Rows(partition, rows)),
        1 => (0..3usize).prop_map(Step::Snapshot),
        1 => (-100i64..200).prop_map(Step::Watermark),
    ]
}

proptest! {
    #[test]
    fn partitions_batches_snapshots_and_merge_order_change_no_window(steps in prop::collection::vec(step(), 0..30), rotation in 0..3usize) {
        let window = window(options(&["campaign"], &["count(*)", "min(time)"]));
        let mut partitions: Vec<_> = (0..3).map(|_| PartialWindows::new(Arc::clone(&window))).collect();
        let merger = WindowMerger::new(Arc::clone(&window));
        // The model: a map from window and group to count, a watermark, and what has been emitted.
        let mut open: BTreeMap<(i64, Option<i64>), i64> = BTreeMap::new();
        let (mut expected, mut emitted) = (Vec::new(), Vec::new());
        let (mut watermark, mut late, mut late_expected) = (None::<i64>, 0, 0);
        let mut emit = |states: Vec<RecordBatch>| {
            let Some(rows) = merger.merge(&states).unwrap() else { return };
            let starts = rows.column(0).as_primitive::<TimestampMicrosecondType>();
            let (keys, counts) = (rows.column(2).as_primitive::<Int64Type>(), rows.column(3).as_primitive::<Int64Type>());
            emitted.extend((0..rows.num_rows()).map(|row| {
                ((starts.value(row) / 1_000, keys.is_valid(row).then(|| keys.value(row))), counts.value(row))
            }));
        };
        for step in steps {
            match step {
                Step::Rows(partition, rows) => {
                    for (time, key) in &rows {
                        let start = time.div_euclid(10) * 10;
                        if watermark.is_some_and(|watermark| start + 10 <= watermark) {
                            late_expected += 1;
                        } else {
                            *open.entry((start, *key)).or_default() += 1;
                        }
                    }
                    let rows: Vec<Row> = rows.iter().map(|(time, key)| (Some(*time), *key, None, 0.0, false)).collect();
                    let outcome = partitions[partition].update(&batch(&rows), watermark.map(|watermark| watermark * MS)).unwrap();
                    late += outcome.late_rows;
                }
                Step::Snapshot(partition) => {
                    let state = partitions[partition].snapshot().unwrap();
                    partitions[partition] = PartialWindows::new(Arc::clone(&window));
                    partitions[partition].restore(&state).unwrap();
                }
                Step::Watermark(to) => {
                    watermark = watermark.max(Some(to));
                    let to = watermark.unwrap();
                    let mut states: Vec<_> =
                        partitions.iter_mut().filter_map(|partition| partition.take_closed(to * MS).unwrap()).collect();
                    let by = rotation.min(states.len());
                    states.rotate_left(by);
                    emit(states);
                    let closed: Vec<_> = open.keys().copied().filter(|(start, _)| start + 10 <= to).collect();
                    expected.extend(closed.into_iter().map(|key| (key, open.remove(&key).unwrap())));
                }
            }
        }
        emit(partitions.iter_mut().filter_map(|partition| partition.take_all().unwrap()).collect());
        expected.extend(open);
        prop_assert_eq!(emitted, expected);
        prop_assert_eq!(late, late_expected);
    }
}

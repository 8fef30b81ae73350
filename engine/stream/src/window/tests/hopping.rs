//! Windows that overlap: a row is in several, and each closes in its own time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use proptest::prelude::*;

use super::steps::{Step, step};
use super::{MS, batch, counts, options, schema, times, window};
use crate::snapshot::SnapshotKind;
use crate::stateful::StatefulOperator;
use crate::stateful::error::OperatorError;
use crate::window::{AlignedOptions, AlignedWindow, PartialWindows, WINDOWS_PER_ROW_MAX, WindowMerger};

fn hopping(size_ms: u64, slide_ms: u64) -> AlignedOptions {
    AlignedOptions {
        size: Duration::from_millis(size_ms),
        slide: Duration::from_millis(slide_ms),
        ..options(&["campaign"], &["count(*)"])
    }
}

fn counting(size_ms: u64, slide_ms: u64) -> Arc<AlignedWindow> {
    window(AlignedOptions {
        group_by: vec![],
        ..hopping(size_ms, slide_ms)
    })
}

/// Pitfall 8 of the stream engine: timestamps before 1970 land in the wrong window.
#[test]
fn a_row_is_in_every_window_that_holds_its_time_also_before_1970() {
    let window = counting(10, 5);
    for (time, starts) in [
        (0, [-5, 0]),
        (4, [-5, 0]),
        (5, [0, 5]),
        (-1, [-10, -5]),
        (-5, [-10, -5]),
        (-6, [-15, -10]),
    ] {
        let mut partial = PartialWindows::new(Arc::clone(&window));
        partial.update(&times(&[time]), None).unwrap();
        let all = partial.take_all().unwrap();
        assert_eq!(counts(&window, &[all]), starts.map(|start| (start, 1)), "{time}");
    }
}

#[test]
fn a_row_that_is_late_for_one_of_its_windows_still_counts_in_the_others() {
    let window = counting(10, 5);
    let mut partial = PartialWindows::new(Arc::clone(&window));
    partial.update(&times(&[1, 6]), None).unwrap();
    // The windows that begin at -5 and 0 end at or before the watermark.
    let outcome = partial.update(&times(&[6, 4, 11]), Some(10 * MS)).unwrap();
    assert_eq!(outcome.late_rows, 1, "only 4 has no open window left");
    assert_eq!(outcome.late.unwrap(), times(&[4]));
    let closed = partial.take_closed(10 * MS).unwrap();
    assert_eq!(
        counts(&window, &[closed]),
        [(-5, 1), (0, 2)],
        "as it was when they closed"
    );
    let rest = partial.take_all().unwrap();
    assert_eq!(counts(&window, &[rest]), [(5, 3), (10, 1)]);
}

#[test]
fn windows_close_one_after_another() {
    let window = counting(10, 2);
    let mut partial = PartialWindows::new(Arc::clone(&window));
    partial.update(&times(&[1]), None).unwrap();
    assert_eq!((partial.windows(), partial.groups()), (5, 5));
    for (watermark, start) in [(2, -8), (4, -6), (6, -4), (8, -2), (10, 0)] {
        assert!(
            partial.take_closed(watermark * MS - 1).unwrap().is_none(),
            "{watermark}"
        );
        let closed = partial.take_closed(watermark * MS).unwrap();
        assert_eq!(counts(&window, &[closed]), [(start, 1)]);
    }
    assert_eq!((partial.windows(), partial.groups()), (0, 0));
}

#[test]
fn rows_whose_windows_reach_beyond_the_range_of_nanoseconds_are_counted() {
    let mut partial = PartialWindows::new(counting(1_000, 10));
    let edge = i64::MAX / MS;
    let outcome = partial
        .update(&times(&[edge - 980, edge - 1_100, -edge + 900, -edge + 1_100]), None)
        .unwrap();
    assert_eq!((outcome.unplaced_rows, partial.windows()), (2, 200));
}

#[test]
fn hopping_state_is_not_taken_for_that_of_another_slide() {
    let mut partial = PartialWindows::new(counting(10, 5));
    partial.update(&times(&[1]), None).unwrap();
    let state = partial.snapshot(SnapshotKind::Full).unwrap().unwrap().rows;
    let mut same = PartialWindows::new(counting(10, 5));
    same.restore(&state, None).unwrap();
    assert_eq!(same.windows(), 2);
    let error = PartialWindows::new(counting(10, 1)).restore(&state, None).unwrap_err();
    let (expected, found) = ("10ms every 1ms, a0 = count(*)", "10ms every 5ms, a0 = count(*)");
    assert_eq!(
        error,
        OperatorError::ChangedWindow {
            expected: expected.into(),
            found: found.into()
        }
    );
    let error = PartialWindows::new(counting(10, 10)).restore(&state, None).unwrap_err();
    assert!(matches!(error, OperatorError::MisalignedState { .. }), "{error}");
}

#[test]
fn a_slide_that_makes_no_sense_is_refused() {
    let refused = |size_ms, slide_ms| AlignedWindow::new(&schema(), hopping(size_ms, slide_ms)).unwrap_err();
    assert!(matches!(refused(10, 0), OperatorError::Slide { .. }));
    assert!(matches!(refused(10, 11), OperatorError::SlideBeyondSize { .. }));
    assert!(matches!(refused(10, 3), OperatorError::UnevenSlide { .. }));
    let most = u64::from(WINDOWS_PER_ROW_MAX);
    AlignedWindow::new(&schema(), hopping(most, 1)).unwrap();
    let error = refused(most + 1, 1);
    assert_eq!(
        error.to_string(),
        "every row would be in 1441 windows of 1.441s, one every 1ms; at most 1440 are possible, so take a longer slide"
    );
}

proptest! {
    /// Beside a model that knows nothing of panes: every window is asked whether it holds the row and is open.
    #[test]
    fn every_window_counts_the_rows_that_came_while_it_was_open(
        steps in prop::collection::vec(step(), 0..30),
        (size, slide) in (1i64..5, 1i64..8).prop_map(|(windows, slide)| (windows * slide, slide)),
        lateness in 0i64..15,
    ) {
        let window = window(AlignedOptions {
            allowed_lateness: Duration::from_millis(lateness as u64),
            ..hopping(size as u64, slide as u64)
        });
        let merger = WindowMerger::new(Arc::clone(&window));
        let mut partitions: Vec<_> = (0..3).map(|_| PartialWindows::new(Arc::clone(&window))).collect();
        let mut open: BTreeMap<(i64, Option<i64>), i64> = BTreeMap::new();
        let (mut expected, mut emitted) = (Vec::new(), Vec::new());
        let (mut watermark, mut late, mut late_expected) = (None::<i64>, 0, 0);
        let mut emit = |states: Vec<RecordBatch>| {
            let Some(rows) = merger.merge(&states).unwrap() else { return };
            let times = |column: usize| rows.column(column).as_primitive::<TimestampMicrosecondType>();
            let (keys, counts) = (rows.column(2).as_primitive::<Int64Type>(), rows.column(3).as_primitive::<Int64Type>());
            emitted.extend((0..rows.num_rows()).map(|row| {
                assert_eq!(times(1).value(row) - times(0).value(row), size * 1_000);
                let key = rows.column(2).is_valid(row).then(|| keys.value(row));
                ((times(0).value(row) / 1_000, key), counts.value(row))
            }));
        };
        let closed = |start: i64, watermark: Option<i64>| watermark.is_some_and(|watermark| start + size + lateness <= watermark);
        for step in steps {
            match step {
                Step::Rows(partition, rows) => {
                    for (time, key) in &rows {
                        let holding = (-200i64..300).map(|n| n * slide).filter(|start| (*start..start + size).contains(time));
                        let holding: Vec<i64> = holding.filter(|start| !closed(*start, watermark)).collect();
                        late_expected += u64::from(holding.is_empty());
                        for start in holding {
                            *open.entry((start, *key)).or_default() += 1;
                        }
                    }
                    let rows: Vec<_> = rows.iter().map(|(time, key)| (Some(*time), *key, None, 0.0, false)).collect();
                    let outcome = partitions[partition].update(&batch(&rows), watermark.map(|watermark| watermark * MS)).unwrap();
                    late += outcome.late_rows;
                }
                Step::Snapshot(partition) => {
                    let state = partitions[partition].snapshot(SnapshotKind::Full).unwrap();
                    partitions[partition] = PartialWindows::new(Arc::clone(&window));
                    if let Some(state) = state {
                        partitions[partition].restore(&state.rows, watermark.map(|watermark| watermark * MS)).unwrap();
                    }
                }
                Step::Watermark(to) => {
                    watermark = watermark.max(Some(to));
                    let to = watermark.unwrap();
                    emit(partitions.iter_mut().filter_map(|partition| partition.take_closed(to * MS).unwrap()).collect());
                    let ended: Vec<_> = open.keys().copied().filter(|(start, _)| closed(*start, watermark)).collect();
                    expected.extend(ended.into_iter().map(|key| (key, open.remove(&key).unwrap())));
                }
            }
        }
        emit(partitions.iter_mut().filter_map(|partition| partition.take_all().unwrap()).collect());
        expected.extend(open);
        prop_assert_eq!(emitted, expected);
        prop_assert_eq!(late, late_expected);
    }
}

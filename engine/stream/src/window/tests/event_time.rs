//! Which window a row is in, when it is late, and when windows close.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMillisecondType;
use proptest::prelude::*;

use super::{MS, batch, counting, counts, full, options, times, window};
use crate::snapshot;
use crate::stateful::StatefulOperator;
use crate::window::{AlignedOptions, PartialWindows};

/// Pitfall 8 of the stream engine: pre-1970 timestamps land in the wrong window.
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

/// Pitfall 6 of the stream engine: a batch's own maximum makes its own rows late.
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

/// Pitfall 7 of the stream engine: `ts == watermark` is dropped or kept depending on how batches split.
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

proptest! {
    /// Pitfall 7 of the stream engine: `ts == watermark` is dropped or kept depending on how batches split.
    #[test]
    fn which_rows_are_late_does_not_depend_on_how_batches_are_cut(
        rows in prop::collection::vec(-30i64..30, 1..40),
        cuts in prop::collection::vec(0usize..40, 0..6),
        (at, lateness) in (0usize..40, 0u64..15),
    ) {
        let window = window(AlignedOptions {
            allowed_lateness: Duration::from_millis(lateness),
            ..options(&[], &["count(*)"])
        });
        // The watermark is one of the rows' own times.
        let watermark = rows[at % rows.len()] * MS;
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % rows.len()).chain([0, rows.len()]).collect();
        cuts.sort_unstable();
        let run = |cuts: &[usize]| {
            let mut partial = PartialWindows::new(Arc::clone(&window));
            let mut late = Vec::new();
            for cut in cuts.windows(2) {
                let outcome = partial.update(&times(&rows[cut[0]..cut[1]]), Some(watermark)).unwrap();
                let rows = outcome.late.map(|rows| rows.column(0).as_primitive::<TimestampMillisecondType>().values().to_vec());
                late.extend(rows.unwrap_or_default());
            }
            (late, counts(&window, &[partial.take_all().unwrap()]))
        };
        let (late, counted) = run(&cuts);
        prop_assert!(!late.contains(&(watermark / MS)), "a row at the watermark is not late: {late:?}");
        prop_assert_eq!((late, counted), run(&[0, rows.len()]));
    }
}

/// Pitfall 4 of the stream engine: the watermark regresses after a small batch and reopens a window.
#[test]
fn a_closed_window_is_not_opened_again_by_a_watermark_that_went_back() {
    let window = counting();
    let mut partial = PartialWindows::new(Arc::clone(&window));
    partial.update(&times(&[1, 11]), None).unwrap();
    partial.take_closed(10 * MS).unwrap();
    assert_eq!(partial.update(&times(&[2]), None).unwrap().late_rows, 1);
    let mut restored = PartialWindows::new(Arc::clone(&window));
    let bytes = snapshot::encode(&[("w".into(), full(&mut partial))]).unwrap();
    restored.restore(&snapshot::decode(&bytes).unwrap()[0].1, None).unwrap();
    assert_eq!(
        restored.update(&times(&[2]), None).unwrap().late_rows,
        1,
        "not even after a restart"
    );
}

#[test]
fn allowed_lateness_keeps_a_window_open_longer() {
    let window = window(AlignedOptions {
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

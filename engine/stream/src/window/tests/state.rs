//! State that leaves and comes back.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampNanosecondArray};

use super::{MS, counting, counts, full, options, times, window};
use crate::stateful::StatefulOperator;
use crate::stateful::error::OperatorError;
use crate::window::{AlignedOptions, PartialWindows};

#[test]
fn state_of_another_window_is_a_clear_error() {
    let mut partial = PartialWindows::new(window(options(&["campaign"], &["sum(price)"])));
    partial.update(&times(&[1]), None).unwrap();
    let state = full(&mut partial);
    let mut other = PartialWindows::new(window(options(&["campaign"], &["sum(campaign)"])));
    let error = other.restore(&state, None).unwrap_err().to_string();
    assert!(
        error.contains("a0#0 float64") && error.contains("a0#0 int64"),
        "{error}"
    );
    let unrelated = times(&[1]);
    assert!(matches!(
        other.restore(&unrelated, None),
        Err(OperatorError::ForeignState { .. })
    ));
}

#[test]
fn the_same_snapshot_restored_twice_gives_the_same_windows_twice() {
    let window = counting();
    let mut partial = PartialWindows::new(Arc::clone(&window));
    partial.update(&times(&[1, 2, 11]), None).unwrap();
    let state = full(&mut partial);
    for _ in 0..2 {
        let mut restored = PartialWindows::new(Arc::clone(&window));
        restored.restore(&state, None).unwrap();
        assert_eq!(counts(&window, &[restored.take_all().unwrap()]), [(0, 2), (10, 1)]);
    }
    assert_eq!(
        counts(&window, &[partial.take_all().unwrap()]),
        [(0, 2), (10, 1)],
        "a snapshot takes nothing away"
    );
}

#[test]
fn state_of_this_window_before_it_was_changed_is_refused_and_not_mixed_in() {
    let snapshot = |options| {
        let mut partial = PartialWindows::new(window(options));
        partial.update(&times(&[1, 11]), None).unwrap();
        full(&mut partial)
    };
    let before = snapshot(options(&[], &["count(*)"]));
    let shorter = AlignedOptions {
        size: Duration::from_millis(5),
        slide: Duration::from_millis(5),
        ..options(&[], &["count(*)"])
    };
    for (changed, found, expected) in [
        (shorter, "10ms, a0 = count(*)", "5ms, a0 = count(*)"),
        (
            options(&[], &["count(*) filter (where flag)"]),
            "10ms, a0 = count(*)",
            "10ms, a0 = count(*) filter (where flag)",
        ),
    ] {
        let error = PartialWindows::new(window(changed)).restore(&before, None).unwrap_err();
        let (expected, found) = (expected.to_owned(), found.to_owned());
        assert_eq!(error, OperatorError::ChangedWindow { expected, found });
    }
    let spaced = AlignedOptions {
        allowed_lateness: Duration::from_millis(3),
        ..options(&[], &["count(*)  filter\n (where flag)"])
    };
    let state = snapshot(options(&[], &["count(*) filter (where flag)"]));
    PartialWindows::new(window(spaced)).restore(&state, None).unwrap();
}

#[test]
fn state_that_begins_where_no_window_does_is_refused_instead_of_overflowing() {
    let window = counting();
    let mut partial = PartialWindows::new(Arc::clone(&window));
    partial.update(&times(&[1]), None).unwrap();
    let state = full(&mut partial);
    for start in [5 * MS, i64::MAX, i64::MIN] {
        let starts = TimestampNanosecondArray::from(vec![start]).with_timezone("UTC");
        let columns: Vec<ArrayRef> = vec![Arc::new(starts), Arc::new(Int64Array::from(vec![1]))];
        let state = RecordBatch::try_new(state.schema(), columns).unwrap();
        let error = PartialWindows::new(Arc::clone(&window))
            .restore(&state, None)
            .unwrap_err();
        assert_eq!(error, OperatorError::MisalignedState { start, slide: 10 * MS });
    }
}

#[test]
fn state_whose_description_cannot_be_read_is_refused() {
    let mut partial = PartialWindows::new(counting());
    partial.update(&times(&[11]), None).unwrap();
    partial.take_closed(10 * MS).unwrap();
    let state = full(&mut partial);
    let mut schema = state.schema().as_ref().clone();
    let closed = schema.metadata.insert("closed_through".into(), "soon".into());
    assert_eq!(
        closed.as_deref(),
        Some("1"),
        "the start behind the last closed window's"
    );
    let state = RecordBatch::try_new(Arc::new(schema), state.columns().to_vec()).unwrap();
    let error = PartialWindows::new(counting()).restore(&state, None).unwrap_err();
    assert_eq!(
        error,
        OperatorError::UnreadableState {
            key: "closed_through",
            found: "soon".into()
        }
    );
}

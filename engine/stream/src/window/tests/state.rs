//! State that leaves and comes back.

use std::sync::Arc;

use super::{counting, counts, options, times, window};
use crate::window::{PartialWindows, WindowError};

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

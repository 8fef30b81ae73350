//! Groups, their bound and their order, and windows that are refused.

use std::sync::Arc;
use std::time::Duration;

use super::{batch, options, schema, window};
use crate::stateful::StatefulOperator;
use crate::stateful::error::OperatorError;
use crate::window::{AlignedOptions, AlignedWindow, PartialWindows, WindowMerger};

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
    let window = window(AlignedOptions {
        groups_max: 2,
        ..options(&["campaign"], &["count(*)"])
    });
    let mut partial = PartialWindows::new(window);
    let row = |campaign| (Some(1), Some(campaign), None, 0.0, false);
    partial.update(&batch(&[row(1), row(2), row(1)]), None).unwrap();
    let error = partial.update(&batch(&[row(3)]), None).unwrap_err();
    assert_eq!(error, OperatorError::TooManyGroups { groups_max: 2 });
}

#[test]
fn a_window_that_makes_no_sense_is_refused() {
    for size in [Duration::ZERO, Duration::from_nanos(1_500), Duration::MAX] {
        let refused = AlignedWindow::new(
            &schema(),
            AlignedOptions {
                size,
                slide: size,
                ..options(&[], &["count(*)"])
            },
        );
        assert_eq!(refused.unwrap_err(), OperatorError::Size { size });
    }
    let refused = AlignedWindow::new(
        &schema(),
        AlignedOptions {
            time_column: "ad".into(),
            ..options(&[], &[])
        },
    );
    assert_eq!(refused.unwrap_err(), OperatorError::NoEventTime { column: "ad".into() });
    let refused = AlignedWindow::new(&schema(), options(&["adx"], &[]));
    assert_eq!(
        refused.unwrap_err(),
        OperatorError::NoGroupColumn { column: "adx".into() }
    );
}

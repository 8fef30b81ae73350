//! Which rows make a session, when it closes, and how its state leaves and comes back.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

use super::merge::SessionMerger;
use super::partial::PartialSessions;
use super::{SessionOptions, SessionWindow};
use crate::expression::AggregateExpression;
use crate::snapshot::tests::forged::with_other_values;
use crate::snapshot::{self, SnapshotKind};
use crate::stateful::error::OperatorError;
use crate::stateful::{OpenSessions, StatefulOperator};
use crate::window::tests::{MS, Row, batch, schema, times};

fn options(group_by: &[&str], aggregates: &[&str]) -> SessionOptions {
    let aggregate = |(position, sql): (usize, &&str)| {
        let aggregate = AggregateExpression::parse(sql, &schema()).unwrap();
        (format!("a{position}"), aggregate)
    };
    SessionOptions {
        time_column: "time".into(),
        gap: Duration::from_millis(10),
        allowed_lateness: Duration::ZERO,
        group_by: group_by.iter().map(|name| (*name).to_owned()).collect(),
        aggregates: aggregates.iter().enumerate().map(aggregate).collect(),
        keep_late_rows: true,
        groups_max: 1_000,
    }
}

fn window(options: SessionOptions) -> Arc<SessionWindow> {
    Arc::new(SessionWindow::new(&schema(), options).unwrap())
}

fn counting() -> Arc<SessionWindow> {
    window(options(&[], &["count(*)"]))
}

fn partial(window: &Arc<SessionWindow>) -> PartialSessions {
    PartialSessions::new(Arc::clone(window))
}

/// Start and end in milliseconds and the first aggregate.
fn finals(window: &Arc<SessionWindow>, states: &[RecordBatch]) -> Vec<(i64, i64, i64)> {
    let merger = SessionMerger::new(Arc::clone(window));
    let Some(rows) = merger.merge(states).unwrap() else {
        return vec![];
    };
    let time = |column: usize, row: usize| {
        rows.column(column)
            .as_primitive::<TimestampMicrosecondType>()
            .value(row)
            / 1_000
    };
    let value = rows.column_by_name("a0").unwrap().as_primitive::<Int64Type>();
    (0..rows.num_rows())
        .map(|row| (time(0, row), time(1, row), value.value(row)))
        .collect()
}

fn closed(sessions: &mut PartialSessions, watermark: i64) -> Vec<RecordBatch> {
    sessions.take_closed(watermark * MS).unwrap().into_iter().collect()
}

fn of_campaign(time: i64, campaign: i64) -> Row {
    (Some(time), Some(campaign), Some("a"), 1.0, true)
}

#[test]
fn rows_less_than_a_gap_apart_are_one_session_and_a_whole_gap_ends_it() {
    let window = counting();
    let mut sessions = partial(&window);
    sessions.update(&times(&[0, 9, 18, 28, 29, -5, 100]), None).unwrap();
    let all = sessions.take_all().unwrap().unwrap();
    assert_eq!(finals(&window, &[all]), [(-5, 28, 4), (28, 39, 2), (100, 110, 1)]);
    assert_eq!(sessions.groups(), 0);
}

#[test]
fn a_row_between_two_sessions_makes_one_of_them() {
    let window = window(options(
        &["campaign"],
        &["count(*)", "max(price)", "count(distinct ad)"],
    ));
    let mut sessions = partial(&window);
    let rows = [
        of_campaign(0, 1),
        of_campaign(18, 1),
        of_campaign(36, 1),
        of_campaign(3, 2),
        of_campaign(60, 1),
    ];
    sessions.update(&batch(&rows), None).unwrap();
    assert_eq!(sessions.groups(), 5);
    sessions
        .update(&batch(&[of_campaign(27, 1), of_campaign(9, 1)]), None)
        .unwrap();
    assert_eq!(sessions.groups(), 3);
    let taken = closed(&mut sessions, 50);
    assert_eq!(finals(&window, &taken), [(0, 46, 5), (3, 13, 1)]);
    assert_eq!(sessions.groups(), 1);
    sessions.update(&batch(&[of_campaign(69, 1)]), Some(50 * MS)).unwrap();
    assert_eq!(finals(&window, &closed(&mut sessions, 79)), [(60, 79, 2)]);
}

#[test]
fn a_session_closes_when_the_watermark_reaches_its_end_and_the_allowed_lateness() {
    let window = window(SessionOptions {
        allowed_lateness: Duration::from_millis(5),
        ..options(&[], &["count(*)"])
    });
    let mut sessions = partial(&window);
    sessions.update(&times(&[0, 4]), None).unwrap();
    assert!(closed(&mut sessions, 18).is_empty());
    assert_eq!(finals(&window, &closed(&mut sessions, 19)), [(0, 14, 2)]);
    assert!(closed(&mut sessions, 100).is_empty());
}

#[test]
fn a_row_is_late_if_its_own_session_would_have_closed_whatever_is_open() {
    let window = counting();
    for order in [[0, 15, 9], [15, 0, 9], [9, 15, 0]] {
        let mut sessions = partial(&window);
        let outcome = sessions.update(&times(&order), Some(10 * MS)).unwrap();
        assert_eq!(
            (outcome.late_rows, outcome.late.unwrap().num_rows()),
            (1, 1),
            "{order:?}"
        );
        let all = sessions.take_all().unwrap().unwrap();
        assert_eq!(finals(&window, &[all]), [(9, 25, 2)], "{order:?}");
    }
    let mut sessions = partial(&window);
    closed(&mut sessions, 10);
    assert_eq!(
        sessions.update(&times(&[0, 1]), None).unwrap().late_rows,
        1,
        "also if the watermark went back"
    );
}

#[test]
fn parts_of_several_partitions_become_one_session() {
    let window = counting();
    let (mut one, mut other) = (partial(&window), partial(&window));
    one.update(&times(&[0, 14, 40]), None).unwrap();
    other.update(&times(&[7, 21]), None).unwrap();
    let states = [one.take_all().unwrap().unwrap(), other.take_all().unwrap().unwrap()];
    assert_eq!(finals(&window, &states), [(0, 31, 4), (40, 50, 1)]);
}

#[test]
fn a_part_that_another_partition_holds_open_is_seen_and_absorbed() {
    let window = counting();
    let (mut one, mut other) = (partial(&window), partial(&window));
    one.update(&times(&[0]), None).unwrap();
    other.update(&times(&[5, 12]), None).unwrap();
    let states = closed(&mut one, 15);
    assert!(closed(&mut other, 15).is_empty());
    let merger = SessionMerger::new(Arc::clone(&window));
    let (spans, session_of_row) = merger.spans(&states.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(session_of_row, [[0]]);
    assert_eq!(
        (one.overlapped(&spans), other.overlapped(&spans)),
        (vec![false], vec![true])
    );
    other.absorb(&states[0]).unwrap();
    assert_eq!(finals(&window, &closed(&mut other, 22)), [(0, 22, 3)]);
}

#[test]
fn changes_hold_whole_groups_and_replace_what_was_told_of_them() {
    let window = window(options(&["campaign"], &["count(*)"]));
    let mut sessions = partial(&window);
    let rows = [
        of_campaign(0, 1),
        of_campaign(30, 1),
        of_campaign(0, 2),
        of_campaign(5, 3),
    ];
    sessions.update(&batch(&rows), None).unwrap();
    let full = sessions.snapshot(SnapshotKind::Full).unwrap().unwrap();
    assert_eq!((full.rows.num_rows(), full.closed_at), (4, 40 * MS));
    assert!(sessions.snapshot(SnapshotKind::Changes).unwrap().is_none());
    // A bridge, a session that is longer, one that closes, and one more.
    let rows = [
        of_campaign(9, 1),
        of_campaign(18, 1),
        of_campaign(24, 1),
        of_campaign(20, 2),
    ];
    sessions.update(&batch(&rows), None).unwrap();
    assert_eq!(finals(&window, &closed(&mut sessions, 15)).len(), 2);
    let changes = sessions.snapshot(SnapshotKind::Changes).unwrap().unwrap();
    assert_eq!(changes.rows.num_rows(), 2, "group 3 has nothing to tell any more");
    let mut restored = partial(&window);
    for part in [&full, &changes] {
        restored.restore(&part.rows, Some(15 * MS)).unwrap();
    }
    assert!(
        restored.snapshot(SnapshotKind::Changes).unwrap().is_none(),
        "what was restored was told"
    );
    let all = restored.take_all().unwrap().unwrap();
    assert_eq!(finals(&window, &[all]), [(0, 40, 5), (20, 30, 1)]);
}

#[test]
fn every_state_that_does_not_fit_is_refused() {
    let mut sessions = partial(&counting());
    sessions.update(&times(&[1]), None).unwrap();
    let state = sessions.snapshot(SnapshotKind::Full).unwrap().unwrap().rows;
    let refused = |options: SessionOptions| partial(&window(options)).restore(&state, None).unwrap_err();
    let longer = SessionOptions {
        gap: Duration::from_millis(11),
        ..options(&[], &["count(*)"])
    };
    let error = refused(longer).to_string();
    assert!(error.contains("a session from 1000000 to 11000000 ns"), "{error}");
    let shorter = SessionOptions {
        gap: Duration::from_millis(9),
        ..options(&[], &["count(*)"])
    };
    assert!(matches!(refused(shorter), OperatorError::ChangedWindow { .. }));
    let other = options(&["campaign"], &["count(*)"]);
    assert!(matches!(refused(other), OperatorError::ForeignState { .. }));
    let gap = Duration::from_nanos(10);
    let zero = SessionOptions {
        gap,
        ..options(&[], &["count(*)"])
    };
    assert_eq!(
        SessionWindow::new(&schema(), zero).unwrap_err(),
        OperatorError::Gap { gap }
    );
}

/// All that becomes of a state: restored, told again, closed and merged.
fn read_forged(window: &Arc<SessionWindow>, bytes: &[u8]) -> Result<(), String> {
    let state = snapshot::decode(bytes).map_err(|error| error.to_string())?.remove(0).1;
    let mut sessions = partial(window);
    let mut told = || -> Result<(), OperatorError> {
        sessions.restore(&state, None)?;
        sessions.update(&batch(&[of_campaign(0, 1), of_campaign(9, 1)]), None)?;
        let told = sessions.snapshot(SnapshotKind::Full)?;
        let states: Vec<_> = sessions.take_closed(15 * MS)?.into_iter().collect();
        let merger = SessionMerger::new(Arc::clone(window));
        let (spans, _) = merger.spans(&states.iter().collect::<Vec<_>>())?;
        sessions.overlapped(&spans);
        merger.merge(&[states, told.into_iter().map(|part| part.rows).collect()].concat())?;
        sessions.take_all().map(drop)
    };
    told().map_err(|error| error.to_string())
}

#[test]
fn every_value_of_a_state_may_be_any_other_without_a_panic() {
    let window = window(options(&["campaign"], &["count(*)", "avg(price)"]));
    let mut sessions = partial(&window);
    sessions
        .update(
            &batch(&[of_campaign(0, 1), of_campaign(30, 1), of_campaign(5, 2)]),
            None,
        )
        .unwrap();
    let state = sessions.snapshot(SnapshotKind::Full).unwrap().unwrap().rows;
    let bytes = snapshot::encode(&[("s".into(), state)]).unwrap();
    read_forged(&window, &bytes).unwrap();
    let outcomes: Vec<_> = with_other_values(&bytes)
        .map(|forged| read_forged(&window, &forged))
        .collect();
    let refused = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    assert!(
        refused > 10 && refused < outcomes.len(),
        "{refused} of {}",
        outcomes.len()
    );
}

#[test]
fn state_is_bounded_by_the_number_of_sessions_and_times_at_the_edge_do_not_overflow() {
    let window = window(SessionOptions {
        groups_max: 2,
        ..options(&["campaign"], &["count(*)"])
    });
    let mut sessions = partial(&window);
    let edge = i64::MAX / MS;
    let rows = [
        of_campaign(edge, 1),
        (None, None, None, 0.0, false),
        of_campaign(-edge, 1),
    ];
    assert_eq!(sessions.update(&batch(&rows), None).unwrap().unplaced_rows, 2);
    sessions
        .update(&batch(&[of_campaign(1, 1), of_campaign(2, 1)]), None)
        .unwrap();
    let error = sessions.update(&batch(&[of_campaign(1, 2)]), None).unwrap_err();
    assert_eq!(error, OperatorError::TooManyGroups { groups_max: 2 });
}

fn with_lateness(ms: u64) -> Arc<SessionWindow> {
    window(SessionOptions {
        allowed_lateness: Duration::from_millis(ms),
        ..options(&[], &["count(*)"])
    })
}

/// Another run, with an allowed lateness of its own, from a full segment of the one before.
fn next_run(before: &mut PartialSessions, lateness_ms: u64, watermark: i64) -> (Arc<SessionWindow>, PartialSessions) {
    let segment = before.snapshot(SnapshotKind::Full).unwrap().unwrap();
    let window = with_lateness(lateness_ms);
    let mut sessions = partial(&window);
    sessions.restore(&segment.rows, Some(watermark * MS)).unwrap();
    (window, sessions)
}

#[test]
fn sessions_that_only_a_shorter_lateness_closes_survive_a_crash_before_they_are_taken() {
    let mut sessions = partial(&with_lateness(5));
    sessions.update(&times(&[0, 20]), None).unwrap();
    assert!(closed(&mut sessions, 12).is_empty());
    let (_, mut shorter) = next_run(&mut sessions, 0, 12);
    // The first checkpoint may come before the first look at the watermark.
    let (window, mut again) = next_run(&mut shorter, 0, 12);
    assert_eq!(finals(&window, &closed(&mut again, 12)), [(0, 10, 1)]);
    assert_eq!(again.update(&times(&[1]), None).unwrap().late_rows, 1);
}

#[test]
fn sessions_that_were_taken_stay_taken_under_a_longer_lateness_also_after_another_crash() {
    let mut sessions = partial(&with_lateness(0));
    sessions.update(&times(&[0, 20]), None).unwrap();
    assert_eq!(closed(&mut sessions, 12).len(), 1);
    let (_, mut longer) = next_run(&mut sessions, 5, 12);
    let (_, mut again) = next_run(&mut longer, 5, 12);
    for sessions in [&mut longer, &mut again] {
        assert_eq!(sessions.update(&times(&[0]), Some(12 * MS)).unwrap().late_rows, 1);
    }
}

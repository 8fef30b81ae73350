//! State in segments: what a crash leaves, restored and replayed, gives what a run without a crash gives.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use proptest::prelude::*;

use super::{MS, Row, batch, counting, counts, full, options, times, window};
use crate::snapshot::{self, SnapshotKind};
use crate::stateful::error::OperatorError;
use crate::stateful::{StatePart, StatefulOperator};
use crate::window::{AlignedOptions, AlignedWindow, PartialWindows, WindowMerger};

#[derive(Debug, Clone)]
enum Step {
    Rows(Vec<(i64, Option<i64>, Option<&'static str>)>),
    Watermark(i64),
}

#[derive(Debug, Clone)]
enum Event {
    Step(Step),
    Checkpoint(SnapshotKind),
    /// What was done since the last checkpoint is lost, and done again.
    Crash,
}

fn event() -> impl Strategy<Value = Event> {
    let ad = prop::option::weighted(0.9, prop::sample::select(vec!["a", "b", "c"]));
    let row = (0i64..200, prop::option::weighted(0.9, 0i64..4), ad);
    prop_oneof![
        6 => prop::collection::vec(row, 0..20).prop_map(|rows| Event::Step(Step::Rows(rows))),
        2 => (0i64..200).prop_map(|watermark| Event::Step(Step::Watermark(watermark))),
        3 => prop_oneof![3 => Just(SnapshotKind::Changes), 1 => Just(SnapshotKind::Full)].prop_map(Event::Checkpoint),
        2 => Just(Event::Crash),
    ]
}

/// One partition with its watermark, and what it emitted.
struct Run {
    window: Arc<AlignedWindow>,
    partial: PartialWindows,
    watermark: Option<i64>,
    emitted: Vec<String>,
    late_rows: u64,
}

impl Run {
    fn new(window: &Arc<AlignedWindow>) -> Self {
        Run {
            window: Arc::clone(window),
            partial: PartialWindows::new(Arc::clone(window)),
            watermark: None,
            emitted: Vec::new(),
            late_rows: 0,
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Rows(rows) => {
                let rows: Vec<Row> = rows
                    .iter()
                    .map(|(time, campaign, ad)| (Some(*time), *campaign, *ad, *time as f64, time % 3 == 0))
                    .collect();
                let outcome = self.partial.update(&batch(&rows), self.watermark).unwrap();
                self.late_rows += outcome.late_rows;
            }
            Step::Watermark(to) => {
                let to = self.watermark.max(Some(to * MS)).unwrap();
                self.watermark = Some(to);
                let closed = self.partial.take_closed(to).unwrap();
                self.emit(closed);
            }
        }
    }

    fn emit(&mut self, closed: Option<RecordBatch>) {
        let closed: Vec<RecordBatch> = closed.into_iter().collect();
        if let Some(rows) = WindowMerger::new(Arc::clone(&self.window)).merge(&closed).unwrap() {
            self.emitted.push(pretty_format_batches(&[rows]).unwrap().to_string());
        }
    }

    fn finish(mut self) -> (Vec<String>, u64) {
        let rest = self.partial.take_all().unwrap();
        self.emit(rest);
        (self.emitted, self.late_rows)
    }
}

/// What is kept of a run, as a pipeline keeps it.
#[derive(Default)]
struct Kept {
    segments: Vec<StatePart>,
    watermark: Option<i64>,
    emitted: Vec<String>,
    late_rows: u64,
}

impl Kept {
    fn checkpoint(&mut self, run: &mut Run, kind: SnapshotKind) {
        let part = run.partial.snapshot(kind).unwrap();
        if kind == SnapshotKind::Full {
            self.segments.clear();
        }
        self.segments.extend(part);
        let closed = run.watermark.unwrap_or(i64::MIN);
        self.segments.retain(|segment| segment.closed_at > closed);
        self.watermark = run.watermark;
        self.emitted = run.emitted.clone();
        self.late_rows = run.late_rows;
    }

    fn restore(&self, window: &Arc<AlignedWindow>) -> Run {
        let mut run = Run::new(window);
        for segment in &self.segments {
            let bytes = snapshot::encode(&[("w".into(), segment.rows.clone())]).unwrap();
            let rows = snapshot::decode(&bytes).unwrap().remove(0).1;
            run.partial.restore(&rows, self.watermark).unwrap();
        }
        run.watermark = self.watermark;
        run.emitted = self.emitted.clone();
        run.late_rows = self.late_rows;
        run
    }
}

proptest! {
    #[test]
    fn a_crash_changes_nothing_wherever_it_comes(events in prop::collection::vec(event(), 0..40), lateness in 0u64..15, keys in 0usize..4) {
        let keys = [&[][..], &["campaign"], &["ad"], &["campaign", "ad"]][keys];
        let aggregates = ["count(*)", "min(price)", "avg(price)", "count(distinct ad)", "sum(campaign) filter (where flag)"];
        let window = window(AlignedOptions {
            allowed_lateness: Duration::from_millis(lateness),
            ..options(keys, &aggregates)
        });
        let mut plain = Run::new(&window);
        let (mut run, mut kept, mut since) = (Run::new(&window), Kept::default(), Vec::new());
        for event in &events {
            match event {
                Event::Step(step) => {
                    plain.apply(step);
                    run.apply(step);
                    since.push(step);
                }
                Event::Checkpoint(kind) => {
                    kept.checkpoint(&mut run, *kind);
                    since.clear();
                }
                Event::Crash => {
                    run = kept.restore(&window);
                    since.iter().for_each(|step| run.apply(step));
                }
            }
        }
        prop_assert_eq!(run.finish(), plain.finish());
    }
}

fn changes(partial: &mut PartialWindows) -> Option<StatePart> {
    partial.snapshot(SnapshotKind::Changes).unwrap()
}

#[test]
fn a_snapshot_of_changes_holds_what_was_added_since_the_last_one() {
    let window = counting();
    let mut partial = PartialWindows::new(Arc::clone(&window));
    partial.update(&times(&[1, 11, 12]), None).unwrap();
    let first = changes(&mut partial).unwrap();
    assert_eq!(counts(&window, &[Some(first.rows)]), [(0, 1), (10, 2)]);
    assert!(changes(&mut partial).is_none(), "nothing was added");
    partial.update(&times(&[13]), None).unwrap();
    let second = changes(&mut partial).unwrap();
    assert_eq!(counts(&window, &[Some(second.rows)]), [(10, 1)]);
    partial.update(&times(&[14]), None).unwrap();
    let full = partial.snapshot(SnapshotKind::Full).unwrap().unwrap();
    assert_eq!(counts(&window, &[Some(full.rows)]), [(0, 1), (10, 4)]);
    assert!(changes(&mut partial).is_none(), "a full snapshot holds the changes too");
    assert_eq!(counts(&window, &[partial.take_all().unwrap()]), [(0, 1), (10, 4)]);
}

#[test]
fn a_segment_tells_the_watermark_that_closes_its_last_window() {
    let window = window(AlignedOptions {
        allowed_lateness: Duration::from_millis(3),
        ..options(&[], &["count(*)"])
    });
    let mut partial = PartialWindows::new(window);
    partial.update(&times(&[25, 1]), None).unwrap();
    assert_eq!(changes(&mut partial).unwrap().closed_at, 33 * MS);
    assert!(partial.take_closed(33 * MS - 1).unwrap().is_some());
    assert_eq!(partial.windows(), 1);
    assert!(partial.take_closed(33 * MS).unwrap().is_some());
    assert_eq!(partial.windows(), 0);
}

#[test]
fn what_was_taken_after_a_segment_was_written_does_not_come_back_with_it() {
    let lateness = |ms| {
        window(AlignedOptions {
            allowed_lateness: Duration::from_millis(ms),
            ..options(&[], &["count(*)"])
        })
    };
    let mut partial = PartialWindows::new(lateness(5));
    partial.update(&times(&[1, 11, 21]), None).unwrap();
    let segment = changes(&mut partial).unwrap().rows;
    partial.take_closed(15 * MS).unwrap();
    // With the lateness of the new run, one window less or more would be closed at this watermark; they were not taken by
    // these rules.
    for (ms, restored) in [
        (0, [(10, 1), (20, 1)]),
        (5, [(10, 1), (20, 1)]),
        (500, [(10, 1), (20, 1)]),
    ] {
        let window = lateness(ms);
        let mut again = PartialWindows::new(Arc::clone(&window));
        again.restore(&segment, Some(24 * MS)).unwrap();
        // Another crash, before the new rules were applied for the first time.
        let segment = full(&mut again);
        again = PartialWindows::new(Arc::clone(&window));
        again.restore(&segment, Some(24 * MS)).unwrap();
        assert_eq!(again.update(&times(&[1]), Some(24 * MS)).unwrap().late_rows, 1);
        assert_eq!(counts(&window, &[again.take_all().unwrap()]), restored, "{ms} ms");
    }
}

#[test]
fn the_limit_of_groups_counts_a_group_once_however_often_it_was_kept() {
    let limited = |keys| {
        window(AlignedOptions {
            groups_max: 3,
            ..options(keys, &["count(*)"])
        })
    };
    let row = |time, campaign: Option<i64>, ad| (Some(time), campaign, ad, 0.0, true);
    for keys in [&["campaign"][..], &["ad"], &["campaign", "ad"]] {
        let mut partial = PartialWindows::new(limited(keys));
        let known = [
            row(1, Some(1), Some("a")),
            row(1, None, None),
            row(11, Some(1), Some("a")),
        ];
        for _ in 0..4 {
            for rows in [&known[..2], &known[1..]] {
                partial.update(&batch(rows), None).unwrap();
            }
            changes(&mut partial).unwrap();
            assert_eq!(partial.groups(), 3);
        }
        partial.update(&batch(&known), None).unwrap();
        assert_eq!(partial.groups(), 3, "looked up");
        partial.take_closed(10 * MS).unwrap();
        assert_eq!(partial.groups(), 1);
        partial
            .update(
                &batch(&[row(11, Some(2), Some("b")), row(11, None, None)]),
                Some(10 * MS),
            )
            .unwrap();
        let error = partial.update(&batch(&[row(11, Some(3), Some("c"))]), Some(10 * MS));
        assert_eq!(error.unwrap_err(), OperatorError::TooManyGroups { groups_max: 3 });
    }
}

#[test]
fn a_window_without_columns_to_group_by_is_one_group_in_both_layers() {
    let mut partial = PartialWindows::new(window(AlignedOptions {
        groups_max: 1,
        ..options(&[], &["count(*)"])
    }));
    for _ in 0..3 {
        partial.update(&times(&[1]), None).unwrap();
        changes(&mut partial).unwrap();
    }
    partial.update(&times(&[1]), None).unwrap();
    assert_eq!((partial.groups(), partial.windows()), (1, 1));
    assert!(partial.update(&times(&[11]), None).is_err());
}

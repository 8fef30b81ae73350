//! Sessions over several partitions beside a model that knows of no partitions, batches, slots or restarts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::running::{decode, lines};
use super::{sink, spec, window};
use crate::graph::{ClosedWindows, GraphSpec, SourcePlan, TaskGraph, TransformKind, WindowOutput, keep_open, plan};
use crate::snapshot::{self, SnapshotKind};
use crate::window::WindowKind;

const MS: i64 = 1_000_000;
const GAP_MS: i64 = 10;

fn pipeline(lateness_ms: u64) -> GraphSpec {
    let aggregates = [
        ("n", "count(*)"),
        ("ads", "count(distinct ad_id)"),
        ("total", "sum(campaign_id)"),
    ];
    let mut sessions = window("visits", "events", &["event_type"], &aggregates, None);
    if let TransformKind::Window(window) = &mut sessions.kind {
        window.kind = WindowKind::Session {
            gap: Duration::from_millis(GAP_MS.unsigned_abs()),
        };
        window.allowed_lateness = Duration::from_millis(lateness_ms);
    }
    spec(vec![sessions], vec![sink("out", Some("visits"))])
}

/// Takes what a watermark closes, as the coordinator does.
fn close(plan: &Arc<SourcePlan>, tasks: &mut [TaskGraph], watermark_ns: i64) -> Vec<ClosedWindows> {
    let mut closed = Vec::new();
    for task in tasks.iter_mut() {
        closed.extend(task.take_closed(watermark_ns).unwrap());
    }
    let spans = WindowOutput::new(plan).session_spans(&closed).unwrap();
    let holders: Vec<Vec<Option<usize>>> = spans
        .iter()
        .map(|spans| {
            let of_tasks: Vec<Vec<bool>> = tasks.iter_mut().map(|task| task.overlapped(spans)).collect();
            (0..spans.len())
                .map(|session| of_tasks.iter().position(|overlapped| overlapped[session]))
                .collect()
        })
        .collect();
    let (closed, open) = keep_open(closed, &spans, &holders);
    for (task, parts) in open {
        tasks[task].absorb(&parts).unwrap();
    }
    closed
}

/// Start, end, group, and the aggregates.
type Final = (i64, i64, i64, [i64; 3]);

fn finals(plan: &Arc<SourcePlan>, closed: Vec<ClosedWindows>) -> Vec<Final> {
    let mut outputs = Vec::new();
    WindowOutput::new(plan).merge(closed, &mut outputs).unwrap();
    let row = |line: &String| {
        let row: Value = serde_json::from_str(line.split_once(' ').unwrap().1).unwrap();
        let integer = |column: &str| row[column].as_i64().unwrap();
        let group = row["event_type"].as_str().map_or(-1, |group| group.parse().unwrap());
        (
            integer("window_start"),
            integer("window_end"),
            group,
            ["n", "ads", "total"].map(integer),
        )
    };
    lines(plan, &outputs).iter().map(row).collect()
}

/// A row: its time in milliseconds and its group, -1 for null.
fn event((time, group): (i64, i64)) -> String {
    let group = if group < 0 {
        "null".to_owned()
    } else {
        format!("\"{group}\"")
    };
    format!(
        r#"{{"event_type":{group},"ad_id":"{}","campaign_id":{time},"event_time":{}}}"#,
        time % 3,
        time * MS
    )
}

/// The model: sessions as lists of times.
#[derive(Debug, Clone, Default)]
struct Model {
    open: BTreeMap<i64, Vec<Vec<i64>>>,
    watermark: Option<i64>,
}

impl Model {
    /// Whether the row was late.
    fn add(&mut self, (time, group): (i64, i64), lateness: i64) -> bool {
        if self
            .watermark
            .is_some_and(|watermark| time + GAP_MS + lateness <= watermark)
        {
            return true;
        }
        let sessions = self.open.entry(group).or_default();
        let near = |session: &mut Vec<i64>| {
            session.iter().any(|other| (other - time).abs() < GAP_MS)
                || session.iter().min() < Some(&time) && Some(&time) < session.iter().max()
        };
        let mut joined: Vec<i64> = sessions.extract_if(.., near).flatten().collect();
        joined.push(time);
        sessions.push(joined);
        false
    }

    /// The final rows of sessions that end at or before this, without order.
    fn take(&mut self, until: i64) -> Vec<Final> {
        let mut taken = Vec::new();
        for (group, sessions) in &mut self.open {
            for times in sessions.extract_if(.., |times| times.iter().max().unwrap() + GAP_MS <= until) {
                let ads: std::collections::BTreeSet<i64> = times.iter().map(|time| time % 3).collect();
                let (start, end) = (times.iter().min().unwrap(), times.iter().max().unwrap() + GAP_MS);
                let values = [times.len() as i64, ads.len() as i64, times.iter().sum()];
                taken.push((*start, end, *group, values));
            }
        }
        taken.sort_unstable();
        taken
    }
}

#[derive(Debug, Clone)]
enum Step {
    Rows(usize, Vec<(i64, i64)>),
    Watermark(i64),
    Checkpoint(SnapshotKind),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![3 => Just(SnapshotKind::Changes), 1 => Just(SnapshotKind::Full)];
    prop_oneof![
        6 => (0..3usize, prop::collection::vec((0..150i64, -1..2i64), 0..6)).prop_map(|(task, rows)| Step::Rows(task, rows)),
        3 => (0..150i64).prop_map(Step::Watermark),
        2 => kind.prop_map(Step::Checkpoint),
        1 => Just(Step::Restart),
    ]
}

/// A segment with the watermark that closes all of it.
type Kept = (Vec<u8>, Option<i64>);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn partitions_batches_snapshots_and_restarts_change_no_session(
        steps in prop::collection::vec(step(), 0..40),
        lateness in prop_oneof![Just(0i64), Just(7)],
    ) {
        let plan = &plan(&pipeline(lateness.unsigned_abs())).unwrap().sources[0];
        let new_tasks = || -> Vec<TaskGraph> { (0..3).map(|_| TaskGraph::new(plan)).collect() };
        let mut tasks = new_tasks();
        let mut model = Model::default();
        let mut segments: Vec<Vec<Kept>> = vec![Vec::new(); 3];
        let mut committed = model.clone();
        for step in steps {
            match step {
                Step::Rows(task, rows) => {
                    let late = rows.iter().filter(|row| model.add(**row, lateness)).count();
                    let events: Vec<String> = rows.into_iter().map(event).collect();
                    let (first, second) = events.split_at(events.len() / 2);
                    let mut found = 0;
                    for half in [first, second] {
                        let half: Vec<&str> = half.iter().map(String::as_str).collect();
                        let watermark = model.watermark.map(|ms| ms * MS);
                        found += tasks[task].push(&decode(plan, &half), watermark, &mut vec![]).unwrap().late_rows;
                    }
                    prop_assert_eq!(found, late as u64);
                }
                Step::Watermark(to) => {
                    model.watermark = model.watermark.max(Some(to));
                    let to = model.watermark.unwrap();
                    let mut found = finals(plan, close(plan, &mut tasks, to * MS));
                    // Nulls come first in both.
                    found.sort_unstable();
                    prop_assert_eq!(found, model.take(to - lateness));
                }
                Step::Checkpoint(kind) => {
                    for (task, kept) in tasks.iter_mut().zip(&mut segments) {
                        let segment = task.snapshot(kind).unwrap();
                        if segment.kind == SnapshotKind::Full {
                            kept.clear();
                        }
                        kept.push((snapshot::encode(&segment.parts).unwrap(), segment.closed_at));
                        // What is closed is not kept.
                        let watermark = model.watermark.map_or(i64::MIN, |ms| ms * MS);
                        kept.retain(|(_, closed_at)| closed_at.is_some_and(|closed_at| closed_at > watermark));
                    }
                    committed = model.clone();
                }
                Step::Restart => {
                    model = committed.clone();
                    tasks = new_tasks();
                    for (task, kept) in tasks.iter_mut().zip(&segments) {
                        for (bytes, _) in kept {
                            let parts = snapshot::decode(bytes).unwrap();
                            task.restore(&parts, model.watermark.map(|ms| ms * MS)).unwrap();
                        }
                    }
                }
            }
        }
        let all = tasks.iter_mut().flat_map(|task| task.take_all().unwrap()).collect();
        let mut found = finals(plan, all);
        found.sort_unstable();
        prop_assert_eq!(found, model.take(i64::MAX));
    }
}

#[test]
fn a_chain_over_three_partitions_closes_as_one_when_its_last_part_does() {
    let plan = &plan(&pipeline(0)).unwrap().sources[0];
    let mut tasks: Vec<TaskGraph> = (0..3).map(|_| TaskGraph::new(plan)).collect();
    for (task, rows) in [(0, vec![0, 40]), (1, vec![6, 13]), (2, vec![20])] {
        let events: Vec<String> = rows.into_iter().map(|time| event((time, 0))).collect();
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        tasks[task].push(&decode(plan, &events), None, &mut vec![]).unwrap();
    }
    assert!(finals(plan, close(plan, &mut tasks, 10 * MS)).is_empty());
    assert!(finals(plan, close(plan, &mut tasks, 29 * MS)).is_empty());
    let found = finals(plan, close(plan, &mut tasks, 30 * MS));
    assert_eq!(found, [(0, 30, 0, [4, 3, 39])]);
    assert_eq!(
        finals(plan, close(plan, &mut tasks, 50 * MS)),
        [(40, 50, 0, [1, 1, 40])]
    );
}

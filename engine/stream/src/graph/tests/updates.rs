//! Windows in update mode: which rows come before their windows close, over several partitions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::running::{decode, lines};
use super::{sink, spec, window};
use crate::graph::{ChangedGroups, GraphSpec, Output, SourcePlan, TaskGraph, TransformKind, WindowOutput, plan};
use crate::snapshot::{self, SnapshotKind};
use crate::window::{OutputMode, WindowKind};

fn updating(group_by: &[&str], change: impl Fn(&mut crate::graph::WindowSpec)) -> GraphSpec {
    let mut transform = window("counts", "events", group_by, &[("n", "count(*)")], None);
    let TransformKind::Window(window) = &mut transform.kind else {
        unreachable!("a window was made")
    };
    window.mode = OutputMode::Update;
    change(window);
    spec(vec![transform], vec![sink("out", Some("counts"))])
}

fn only_source(spec: &GraphSpec) -> Arc<SourcePlan> {
    Arc::clone(&plan(spec).unwrap().sources[0])
}

fn push(plan: &SourcePlan, task: &mut TaskGraph, events: &[(i64, Option<i64>)], watermark_ms: Option<i64>) {
    let payloads = events.iter().map(|(ms, campaign)| {
        let campaign = campaign.map_or("null".to_owned(), |campaign| campaign.to_string());
        format!(r#"{{"event_time":{},"campaign_id":{campaign}}}"#, ms * 1_000_000)
    });
    let payloads: Vec<String> = payloads.collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let watermark = watermark_ms.map(|ms| ms * 1_000_000);
    task.push(&decode(plan, &payloads), watermark, &mut vec![]).unwrap();
}

/// What a checkpoint emits, and then writes.
fn checkpoint(plan: &Arc<SourcePlan>, tasks: &mut [TaskGraph]) -> Vec<Output> {
    let changed = ChangedGroups::concat(tasks.iter().flat_map(TaskGraph::changed_groups).collect());
    let copies = tasks.iter_mut().flat_map(|task| task.copy_states_of(&changed).unwrap());
    let mut outputs = Vec::new();
    WindowOutput::new(plan).merge(copies.collect(), &mut outputs).unwrap();
    for task in tasks {
        task.snapshot(SnapshotKind::Changes).unwrap();
    }
    outputs
}

fn close(plan: &Arc<SourcePlan>, tasks: &mut [TaskGraph], watermark_ms: i64) -> Vec<Output> {
    let closed = tasks
        .iter_mut()
        .flat_map(|task| task.take_closed(watermark_ms * 1_000_000).unwrap());
    let mut outputs = Vec::new();
    WindowOutput::new(plan).merge(closed.collect(), &mut outputs).unwrap();
    outputs
}

#[test]
fn a_checkpoint_gives_the_groups_that_changed_as_all_partitions_know_them() {
    let plan = only_source(&updating(&["campaign_id"], |_| {}));
    let mut tasks = [TaskGraph::new(&plan), TaskGraph::new(&plan)];
    let row = |campaign: &str, n: i64| {
        format!(r#"out {{"window_start":0,"window_end":10,"campaign_id":{campaign},"n":{n}}}"#)
    };
    push(&plan, &mut tasks[0], &[(1, Some(1)), (2, Some(2)), (3, None)], None);
    push(&plan, &mut tasks[1], &[(1, Some(1)), (4, Some(3))], None);
    let emitted = checkpoint(&plan, &mut tasks);
    assert_eq!(
        lines(&plan, &emitted),
        [row("null", 1), row("1", 2), row("2", 1), row("3", 1)]
    );
    assert!(checkpoint(&plan, &mut tasks).is_empty(), "nothing changed since");
    // One partition has something new of a group that the other knows, in its base and in what came since.
    push(&plan, &mut tasks[1], &[(5, Some(2)), (6, None)], None);
    push(&plan, &mut tasks[0], &[(5, Some(2))], None);
    let emitted = checkpoint(&plan, &mut tasks);
    assert_eq!(lines(&plan, &emitted), [row("null", 2), row("2", 3)]);
    let closed = close(&plan, &mut tasks, 10);
    assert_eq!(
        lines(&plan, &closed),
        [row("null", 2), row("1", 2), row("2", 3), row("3", 1)],
        "every row a last time"
    );
    assert!(checkpoint(&plan, &mut tasks).is_empty());
}

#[test]
fn rows_within_the_allowed_lateness_give_updates_and_those_after_it_none() {
    let plan = only_source(&updating(&[], |window| {
        window.allowed_lateness = Duration::from_millis(5)
    }));
    let mut tasks = [TaskGraph::new(&plan)];
    let n = |outputs: &[Output]| lines(&plan, outputs).join("");
    push(&plan, &mut tasks[0], &[(1, None)], None);
    assert!(n(&checkpoint(&plan, &mut tasks)).ends_with(r#""n":1}"#));
    assert!(close(&plan, &mut tasks, 14).is_empty());
    push(&plan, &mut tasks[0], &[(2, None)], Some(14));
    assert!(n(&checkpoint(&plan, &mut tasks)).ends_with(r#""n":2}"#));
    assert!(n(&close(&plan, &mut tasks, 15)).ends_with(r#""n":2}"#));
    push(&plan, &mut tasks[0], &[(3, None)], Some(15));
    assert!(checkpoint(&plan, &mut tasks).is_empty());
}

#[test]
fn windows_in_append_mode_give_nothing_before_they_close() {
    let spec = updating(&["campaign_id"], |window| window.mode = OutputMode::Append);
    let plan = only_source(&spec);
    assert!(!plan.has_updates());
    let mut tasks = [TaskGraph::new(&plan)];
    push(&plan, &mut tasks[0], &[(1, Some(1))], None);
    assert!(checkpoint(&plan, &mut tasks).is_empty());
}

#[test]
fn a_sink_that_keeps_every_row_is_refused_behind_updates_also_through_a_filter() {
    let mut spec = updating(&["campaign_id"], |_| {});
    spec.transforms.push(super::filter("many", "counts", "n > 1"));
    let mut files = sink("files", Some("many"));
    files.keeps_all = true;
    spec.sinks.push(files);
    let errors = plan(&spec).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(
        (errors[0].part.to_string().as_str(), errors[0].option.as_str()),
        ("sinks.files", "input")
    );
    assert!(
        errors[0]
            .message
            .starts_with("these rows come again whenever they change"),
        "{}",
        errors[0].message
    );
}

#[derive(Debug, Clone)]
enum Step {
    Rows(usize, Vec<(i64, Option<i64>)>),
    Checkpoint,
    Restart,
    Watermark(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let row = (0i64..60, prop::option::weighted(0.9, 0i64..4));
    prop_oneof![
        4 => (0..3usize, prop::collection::vec(row, 0..10)).prop_map(|(partition, rows)| Step::Rows(partition, rows)),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Restart),
        1 => (0i64..80).prop_map(Step::Watermark),
    ]
}

proptest! {
    /// Whoever keeps the last row of each window and group has, after each checkpoint, the counts as they are.
    #[test]
    fn the_last_row_of_each_group_is_its_count_at_the_checkpoint(
        steps in prop::collection::vec(step(), 0..25),
        slide in prop_oneof![Just(5u64), Just(10)],
    ) {
        let plan = only_source(&updating(&["campaign_id"], |window| {
            window.kind = WindowKind::Hopping { size: Duration::from_millis(10), slide: Duration::from_millis(slide) };
        }));
        let slide = slide as i64;
        let mut tasks: Vec<TaskGraph> = (0..3).map(|_| TaskGraph::new(&plan)).collect();
        let (mut counts, mut seen) = (BTreeMap::new(), BTreeMap::new());
        let mut changed = std::collections::BTreeSet::new();
        let mut watermark = None;
        for step in steps {
            match step {
                Step::Rows(partition, rows) => {
                    for (time, campaign) in &rows {
                        let starts = (0..10 / slide).map(|back| (time.div_euclid(slide) - back) * slide);
                        for start in starts.filter(|start| watermark.is_none_or(|watermark| start + 10 > watermark)) {
                            *counts.entry((start, *campaign)).or_insert(0) += 1;
                            changed.insert((start, *campaign));
                        }
                    }
                    push(&plan, &mut tasks[partition], &rows, watermark);
                }
                Step::Checkpoint => {
                    let rows = read(&plan, &checkpoint(&plan, &mut tasks));
                    prop_assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), changed.iter().copied().collect::<Vec<_>>());
                    changed.clear();
                    seen.extend(rows);
                    prop_assert_eq!(&seen, &counts);
                }
                Step::Restart => {
                    seen.extend(read(&plan, &checkpoint(&plan, &mut tasks)));
                    changed.clear();
                    tasks = tasks.iter_mut().map(|task| {
                        let segment = task.snapshot(SnapshotKind::Full).unwrap();
                        let bytes = snapshot::encode(&segment.parts).unwrap();
                        let mut restored = TaskGraph::new(&plan);
                        restored.restore(&snapshot::decode(&bytes).unwrap(), watermark.map(|ms: i64| ms * 1_000_000)).unwrap();
                        restored
                    }).collect();
                    prop_assert!(checkpoint(&plan, &mut tasks).is_empty(), "nothing changed while it was down");
                }
                Step::Watermark(to) => {
                    let to = watermark.max(Some(to)).unwrap();
                    watermark = Some(to);
                    seen.extend(read(&plan, &close(&plan, &mut tasks, to)));
                    changed.retain(|(start, _)| start + 10 > to);
                    let closed = |counts: &BTreeMap<(i64, Option<i64>), i64>| -> Vec<_> {
                        counts.iter().filter(|((start, _), _)| start + 10 <= to).map(|(key, n)| (*key, *n)).collect()
                    };
                    prop_assert_eq!(closed(&seen), closed(&counts));
                }
            }
        }
    }
}

fn read(plan: &SourcePlan, outputs: &[Output]) -> Vec<((i64, Option<i64>), i64)> {
    let rows = lines(plan, outputs).into_iter().map(|line| {
        let row: serde_json::Value = serde_json::from_str(line.strip_prefix("out ").unwrap()).unwrap();
        let key = (row["window_start"].as_i64().unwrap(), row["campaign_id"].as_i64());
        (key, row["n"].as_i64().unwrap())
    });
    rows.collect()
}

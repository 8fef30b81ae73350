//! Rows through the operators of a plan.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::{ad_campaigns, filter, select, sink, spec, window};
use crate::graph::{Output, PushOutcome, SourcePlan, TaskGraph, WindowOutput, plan};
use crate::json::{JsonEncoder, TimestampFormat};
use crate::micro_batch::{MicroBatchBuilder, SourceRecord};
use crate::snapshot::{self, SnapshotKind};

pub(super) fn decode(plan: &SourcePlan, payloads: &[&str]) -> RecordBatch {
    let mut builder = MicroBatchBuilder::new(&plan.projection, "ad-events", 0);
    for (offset, payload) in payloads.iter().enumerate() {
        let record = SourceRecord {
            offset: offset as i64,
            timestamp: 0,
            key: None,
            value: Some(payload.as_bytes()),
            headers: std::iter::empty::<(&[u8], Option<&[u8]>)>(),
        };
        builder.push(record).unwrap();
    }
    builder.finish()
}

pub(super) fn lines(plan: &SourcePlan, outputs: &[Output]) -> Vec<String> {
    let mut lines = Vec::new();
    for output in outputs {
        let (name, schema) = &plan.sinks[output.sink];
        assert_eq!(output.batch.schema_ref().fields().len(), schema.fields().len());
        let encoder = JsonEncoder::new(schema, TimestampFormat::default()).unwrap();
        let rows = encoder.rows(&output.batch);
        for row in 0..rows.len() {
            let mut line = Vec::new();
            rows.write(row, &mut line);
            lines.push(format!("{name} {}", String::from_utf8(line).unwrap()));
        }
    }
    lines
}

#[test]
fn two_partitions_give_the_windows_of_both() {
    let plan = &plan(&ad_campaigns()).unwrap().sources[0];
    let mut tasks = [TaskGraph::new(plan), TaskGraph::new(plan)];
    let mut outputs = Vec::new();
    let event = |kind: &str, campaign: i64, ms: i64| {
        format!(
            r#"{{"event_type":"{kind}","campaign_id":{campaign},"event_time":{},"produce_time":{ms},"ad_id":"x"}}"#,
            ms * 1_000_000
        )
    };
    for (task, events) in [
        (0, [event("view", 1, 1), event("click", 1, 2)]),
        (1, [event("view", 1, 9), event("view", 2, 12)]),
    ] {
        let batch = decode(plan, &events.each_ref().map(String::as_str));
        assert_eq!(
            tasks[task].push(&batch, None, &mut outputs).unwrap(),
            PushOutcome::default()
        );
    }
    let closed: Vec<_> = tasks
        .iter_mut()
        .rev()
        .flat_map(|task| task.take_closed(10_000_000).unwrap())
        .collect();
    WindowOutput::new(plan).merge(closed, &mut outputs).unwrap();
    let row = r#"{"window_start":0,"window_end":10,"campaign_id":1,"events":2,"max_produce_time":9}"#;
    assert_eq!(lines(plan, &outputs), [format!("results {row}"), format!("lake {row}")]);
}

#[test]
fn state_survives_a_restart_through_bytes() {
    let plan = &plan(&ad_campaigns()).unwrap().sources[0];
    let event = r#"{"event_type":"view","campaign_id":1,"event_time":1,"produce_time":5}"#;
    let mut task = TaskGraph::new(plan);
    task.push(&decode(plan, &[event]), None, &mut vec![]).unwrap();
    let bytes = snapshot::encode(&task.snapshot(SnapshotKind::Full).unwrap().parts).unwrap();
    let mut restored = TaskGraph::new(plan);
    restored.restore(&snapshot::decode(&bytes).unwrap(), None).unwrap();
    restored.push(&decode(plan, &[event]), None, &mut vec![]).unwrap();
    restored.snapshot(SnapshotKind::Changes).unwrap();
    assert_eq!(restored.groups(), 1);
    let mut outputs = Vec::new();
    WindowOutput::new(plan)
        .merge(restored.take_all().unwrap(), &mut outputs)
        .unwrap();
    assert!(lines(plan, &outputs)[0].contains(r#""events":2"#));
    let unknown = [(
        "other".to_owned(),
        task.snapshot(SnapshotKind::Full).unwrap().parts.remove(0).1,
    )];
    let error = restored.restore(&unknown, None).unwrap_err().to_string();
    assert!(error.contains("there is state of a window \"other\""), "{error}");
}

#[test]
fn after_a_drain_nothing_that_was_kept_before_counts() {
    let plan = &plan(&ad_campaigns()).unwrap().sources[0];
    let event = r#"{"event_type":"view","campaign_id":1,"event_time":1,"produce_time":5}"#;
    let mut task = TaskGraph::new(plan);
    let mut kinds = Vec::new();
    for drain in [false, true, false] {
        task.push(&decode(plan, &[event]), None, &mut vec![]).unwrap();
        if drain {
            task.take_all().unwrap();
        }
        let segment = task.snapshot(SnapshotKind::Changes).unwrap();
        assert_eq!(segment.closed_at.is_some(), !segment.parts.is_empty());
        kinds.push((segment.kind, segment.parts.len()));
    }
    assert_eq!(
        kinds,
        [
            (SnapshotKind::Changes, 1),
            (SnapshotKind::Full, 0),
            (SnapshotKind::Changes, 1)
        ]
    );
}

#[test]
fn late_rows_reach_their_sink_with_all_columns_of_the_windows_input() {
    let transforms = vec![
        filter("views", "events", "event_type = 'view'"),
        window("counts", "views", &[], &[("n", "count(*)")], Some("late")),
    ];
    let plan = &plan(&spec(transforms, vec![sink("late", None), sink("out", Some("counts"))]))
        .unwrap()
        .sources[0];
    let mut outputs = Vec::new();
    let events = [
        r#"{"event_type":"view","event_time":1,"campaign_id":7}"#,
        r#"{"event_type":"click","event_time":1}"#,
        r#"{"event_type":"view","event_time":20000000}"#,
    ];
    let outcome = TaskGraph::new(plan)
        .push(&decode(plan, &events), Some(10_000_000), &mut outputs)
        .unwrap();
    assert_eq!(
        outcome,
        PushOutcome {
            late_rows: 1,
            ..PushOutcome::default()
        }
    );
    let late = r#"late {"ad_id":null,"event_type":"view","campaign_id":7,"produce_time":null,"event_time":0}"#;
    assert_eq!(lines(plan, &outputs), [late]);
}

#[test]
fn rows_branch_and_what_comes_after_a_window_runs_on_merged_rows() {
    let transforms = vec![
        filter("views", "events", "event_type = 'view'"),
        select(
            "slim",
            "views",
            &[("who", "upper(ad_id)"), ("at", "_offset"), ("unused", "campaign_id")],
        ),
        filter("first", "slim", "at < 1"),
        window("counts", "events", &["event_type"], &[("n", "count(*)")], None),
        filter("many", "counts", "n > 1"),
        select("named", "many", &[("kind", "event_type"), ("twice", "n * 2")]),
    ];
    let sinks = vec![
        sink("raw", Some("events")),
        sink("slim", Some("first")),
        sink("named", Some("named")),
    ];
    let plan = &plan(&spec(transforms, sinks)).unwrap().sources[0];
    let mut task = TaskGraph::new(plan);
    let mut outputs = Vec::new();
    let events = [
        r#"{"event_type":"view","ad_id":"a","event_time":1}"#,
        r#"{"event_type":"view","ad_id":"b","event_time":2}"#,
        r#"{"event_type":"click","event_time":3}"#,
    ];
    task.push(&decode(plan, &events), None, &mut outputs).unwrap();
    WindowOutput::new(plan)
        .merge(task.take_all().unwrap(), &mut outputs)
        .unwrap();
    let lines = lines(plan, &outputs);
    assert_eq!(lines.len(), 5);
    assert!(
        lines[0].starts_with(r#"raw {"ad_id":"a","event_type":"view""#) && !lines[0].contains("_offset"),
        "{}",
        lines[0]
    );
    assert_eq!(lines[3], r#"slim {"who":"A","at":0,"unused":null}"#);
    assert_eq!(lines[4], r#"named {"kind":"view","twice":4}"#);
}

#[test]
fn a_failure_on_a_row_names_the_transform() {
    let plan = &plan(&spec(
        vec![select("s", "events", &[("x", "1 / campaign_id")])],
        vec![sink("out", Some("s"))],
    ))
    .unwrap()
    .sources[0];
    let batch = decode(plan, &[r#"{"campaign_id":0,"event_time":1}"#]);
    let error = TaskGraph::new(plan).push(&batch, None, &mut vec![]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "transforms.s: `1 / campaign_id`: Divide by zero error"
    );
}

#[test]
fn a_task_can_move_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<TaskGraph>();
    is_send::<WindowOutput>();
    is_send::<Arc<SourcePlan>>();
}

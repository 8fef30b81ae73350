//! The allowed lateness may be changed between two runs: what was emitted by either stays emitted, and nothing is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use super::running::{decode, lines};
use super::{sink, spec, window};
use crate::graph::{GraphSpec, TaskGraph, TransformKind, WindowOutput, plan};
use crate::snapshot::{SnapshotKind, StateSegment};
use crate::window::WindowKind;

const MS: i64 = 1_000_000;

fn pipeline(kind: WindowKind, lateness_ms: u64) -> GraphSpec {
    let mut counts = window("counts", "events", &[], &[("n", "count(*)")], None);
    if let TransformKind::Window(window) = &mut counts.kind {
        window.kind = kind;
        window.allowed_lateness = Duration::from_millis(lateness_ms);
    }
    spec(vec![counts], vec![sink("out", Some("counts"))])
}

/// A run: its task, from the segments that the one before left.
fn run(spec: &GraphSpec, segments: &[StateSegment], watermark_ms: i64) -> TaskGraph {
    let mut task = TaskGraph::new(&plan(spec).unwrap().sources[0]);
    for segment in segments {
        task.restore(&segment.parts, Some(watermark_ms * MS)).unwrap();
    }
    task
}

/// Writes a checkpoint as a pipeline keeps it.
fn checkpoint(task: &mut TaskGraph, kind: SnapshotKind, segments: &mut Vec<StateSegment>) {
    let segment = task.snapshot(kind).unwrap();
    if segment.kind == SnapshotKind::Full {
        segments.clear();
    }
    segments.extend((!segment.parts.is_empty()).then_some(segment));
}

fn close(spec: &GraphSpec, task: &mut TaskGraph, watermark_ms: i64) -> usize {
    let plan = &plan(spec).unwrap().sources[0];
    let closed = task.take_closed(watermark_ms * MS).unwrap();
    let mut outputs = Vec::new();
    WindowOutput::new(plan).merge(closed, &mut outputs).unwrap();
    lines(plan, &outputs).len()
}

#[test]
fn what_a_shorter_lateness_closed_does_not_come_back_with_segments_from_before() {
    let ms = Duration::from_millis;
    for kind in [
        WindowKind::Tumbling { size: ms(10) },
        WindowKind::Hopping {
            size: ms(10),
            slide: ms(10),
        },
        WindowKind::Session { gap: ms(10) },
    ] {
        let (longer, shorter) = (pipeline(kind, 5), pipeline(kind, 0));
        let mut segments = Vec::new();
        let mut first = run(&longer, &[], 0);
        let events = [0, 30].map(|time| format!(r#"{{"event_time":{}}}"#, time * MS));
        let batch = decode(
            &plan(&longer).unwrap().sources[0],
            &events.each_ref().map(String::as_str),
        );
        first.push(&batch, None, &mut vec![]).unwrap();
        assert_eq!(close(&longer, &mut first, 12), 0);
        checkpoint(&mut first, SnapshotKind::Full, &mut segments);
        // It checkpoints before it looks at the watermark, and once more after.
        let mut second = run(&shorter, &segments, 12);
        checkpoint(&mut second, SnapshotKind::Full, &mut segments);
        assert_eq!(close(&shorter, &mut second, 12), 1);
        checkpoint(&mut second, SnapshotKind::Changes, &mut segments);
        let mut third = run(&shorter, &segments, 12);
        assert_eq!(close(&shorter, &mut third, 39), 0, "{kind:?}: emitted before");
        assert_eq!(close(&shorter, &mut third, 40), 1);
    }
}

#[test]
fn what_was_emitted_stays_closed_by_a_longer_lateness_also_where_nothing_was_kept() {
    let ms = Duration::from_millis;
    for kind in [
        WindowKind::Tumbling { size: ms(10) },
        WindowKind::Hopping {
            size: ms(10),
            slide: ms(10),
        },
        WindowKind::Session { gap: ms(10) },
    ] {
        let longer = pipeline(kind, 5);
        let events = [0, 30].map(|time| format!(r#"{{"event_time":{}}}"#, time * MS));
        let batch = decode(
            &plan(&longer).unwrap().sources[0],
            &events.each_ref().map(String::as_str),
        );
        // A run without lateness has emitted at 12 what ended at 10; by the longer one it would still be open.
        for (taken_up_to, emitted) in [(None, 2), (Some(9), 2), (Some(10), 1), (Some(12), 1)] {
            let mut task = TaskGraph::new(&plan(&longer).unwrap().sources[0]);
            if let Some(end) = taken_up_to {
                task.handle_taken(&BTreeMap::from([("counts".to_owned(), end * MS)]));
            }
            task.push(&batch, Some(12 * MS), &mut vec![]).unwrap();
            assert_eq!(close(&longer, &mut task, 60), emitted, "{kind:?}, {taken_up_to:?}");
        }
    }
}

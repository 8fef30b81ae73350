//! A dedup in a graph: what it needs, what is wrong with one, and that its rows go on.

use std::time::Duration;

use super::running::{decode, lines};
use super::{filter, select, sink, source, spec, window};
use crate::graph::WindowOutput;
use crate::graph::{DedupSpec, GraphSpec, NodeKind, PushOutcome, TaskGraph, TransformKind, TransformSpec, plan};
use crate::snapshot::SnapshotKind;

fn dedup(name: &str, input: &str, keys: &[&str]) -> TransformSpec {
    TransformSpec {
        name: name.into(),
        input: input.into(),
        kind: TransformKind::Dedup(DedupSpec {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            horizon: Duration::from_secs(1),
            keys_max: DedupSpec::KEYS_MAX,
        }),
    }
}

fn pipeline() -> GraphSpec {
    let transforms = vec![
        filter("views", "events", "event_type = 'view'"),
        dedup("unique", "views", &["ad_id"]),
        window("counts", "unique", &["campaign_id"], &[("n", "count(*)")], None),
    ];
    spec(
        transforms,
        vec![sink("rows", Some("unique")), sink("out", Some("counts"))],
    )
}

const EVENTS: [&str; 3] = [
    r#"{"event_type":"view","ad_id":"a","campaign_id":7,"event_time":1}"#,
    r#"{"event_type":"view","ad_id":"a","campaign_id":7,"event_time":1}"#,
    r#"{"event_type":"view","ad_id":"b","campaign_id":7,"event_time":3}"#,
];

#[test]
fn windows_count_what_went_through_a_dedup_also_after_a_restart() {
    let plan = &plan(&pipeline()).unwrap().sources[0];
    let mut task = TaskGraph::new(plan);
    let mut outputs = Vec::new();
    let outcome = task.push(&decode(plan, &EVENTS), None, &mut outputs).unwrap();
    let expected = PushOutcome {
        duplicate_rows: 1,
        ..PushOutcome::default()
    };
    assert_eq!(outcome, expected);
    assert_eq!(lines(plan, &outputs).len(), 2, "two rows went on at once");
    let segment = task.snapshot(SnapshotKind::Full).unwrap();
    let mut restored = TaskGraph::new(plan);
    restored.restore(&segment.parts, None).unwrap();
    let outcome = restored.push(&decode(plan, &EVENTS), None, &mut outputs).unwrap();
    assert_eq!(outcome.duplicate_rows, 3);
    outputs.clear();
    let closed = restored.take_all().unwrap();
    WindowOutput::new(plan).merge(closed, &mut outputs).unwrap();
    assert!(
        lines(plan, &outputs)[0].contains(r#""n":2"#),
        "{:?}",
        lines(plan, &outputs)
    );
    let segment = restored.snapshot(SnapshotKind::Changes).unwrap();
    assert_eq!(segment.parts.len(), 1, "a drain takes the windows and leaves the keys");
}

#[test]
fn a_dedup_needs_its_keys_and_event_time_and_offers_what_it_gets() {
    let transforms = vec![
        dedup("unique", "events", &["ad_id"]),
        select("s", "unique", &[("x", "campaign_id")]),
    ];
    let plan = &plan(&spec(transforms, vec![sink("out", Some("s"))])).unwrap().sources[0];
    let decoded: Vec<&str> = plan.projection.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(decoded, ["ad_id", "campaign_id", "event_time"]);
    let node = &plan.nodes[1];
    assert_eq!((node.kind, node.columns.fields().len()), (NodeKind::Dedup, 5));
    assert_eq!(node.needed.fields().len(), 1, "the key ends at the dedup");
}

#[test]
fn every_mistake_in_a_dedup_is_reported_with_its_place() {
    let mut spec = spec(
        vec![
            dedup("none", "events", &[]),
            dedup("unknown", "events", &["ad_id", "ad", "ad_id"]),
            window("w", "events", &[], &[("n", "count(*)")], None),
            dedup("behind", "w", &["n"]),
            select("s", "events", &[("x", "ad_id")]),
            dedup("timeless", "s", &["x"]),
            dedup("elsewhere", "more", &["ad_id"]),
        ],
        vec![],
    );
    spec.sources.push(crate::graph::SourceSpec {
        watermark: None,
        ..source("more")
    });
    let errors = plan(&spec).unwrap_err();
    let found: Vec<String> = errors
        .iter()
        .map(|error| format!("{} {} {:?}: {}", error.part, error.option, error.index, error.message))
        .collect();
    for expected in [
        "transforms.none keys None: a dedup needs at least one column",
        "transforms.unknown keys Some(1): there is no column \"ad\"",
        "transforms.unknown keys Some(2): the column \"ad_id\" is there twice",
        "transforms.behind input None: a dedup cannot read a window's rows",
        "transforms.timeless input None: a dedup needs the event time \"event_time\"",
        "transforms.elsewhere input None: a dedup needs event time; add [sources.more.watermark]",
    ] {
        assert!(
            found.iter().any(|error| error.starts_with(expected)),
            "{expected}\n{found:#?}"
        );
    }
    assert_eq!(found.len(), 6, "{found:#?}");
}

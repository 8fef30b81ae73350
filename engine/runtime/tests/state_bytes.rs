//! What a checkpoint writes is what changed: with a million keys open of which ten thousand change, counted in bytes.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray as _, Int64Array, RecordBatch, TimestampNanosecondArray};
use arrow::datatypes::Int64Type;
use engine_runtime::checkpoint::CheckpointId;
use engine_runtime::checkpoint::chunk;
use engine_runtime::checkpoint::segments::{LiveSegments, Segment};
use engine_stream::graph::{
    GraphSpec, SinkSpec, SourcePlan, SourceSpec, TaskGraph, TransformKind, TransformSpec, WatermarkSpec, WindowSpec,
    plan,
};
use engine_stream::schema::{Field, FieldType, SourceSchema};
use engine_stream::snapshot::{self, SnapshotKind};
use engine_stream::watermark::WatermarkConfig;
use engine_stream::window::{OutputMode, WindowKind};
use engine_wire::compression::Compressor;

const KEYS: i64 = 1_000_000;
const CHANGED: i64 = 10_000;
const CHECKPOINTS: u64 = 250;

fn spec() -> GraphSpec {
    let field = |name: &str, field_type: &str| Field::new(name, field_type.parse::<FieldType>().unwrap());
    let window = WindowSpec {
        kind: WindowKind::Tumbling {
            size: Duration::from_secs(86_400),
        },
        group_by: vec!["key".into()],
        aggregates: vec![("events".into(), "count(*)".into())],
        allowed_lateness: Duration::ZERO,
        late_output: None,
        mode: OutputMode::Append,
        groups_max: WindowSpec::GROUPS_MAX,
    };
    GraphSpec {
        sources: vec![SourceSpec {
            name: "events".into(),
            schema: SourceSchema::new(vec![field("key", "int64"), field("time", "timestamp(ns)")]).unwrap(),
            watermark: Some(WatermarkSpec {
                column: "time".into(),
                config: WatermarkConfig::default(),
            }),
        }],
        transforms: vec![TransformSpec {
            name: "counts".into(),
            input: "events".into(),
            kind: TransformKind::Window(window),
        }],
        sinks: vec![SinkSpec {
            name: "results".into(),
            input: Some("counts".into()),
            uses: vec![],
            keeps_all: false,
        }],
    }
}

/// One row for each of these numbers, whose keys are spread over all keys.
fn push(task: &mut TaskGraph, plan: &SourcePlan, numbers: std::ops::Range<i64>) {
    let numbers: Vec<i64> = numbers.collect();
    for rows in numbers.chunks(16 * 1024) {
        let keys = rows.iter().map(|row| row * 7_919 % KEYS);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(keys)),
            Arc::new(TimestampNanosecondArray::from_iter_values(rows.iter().copied()).with_timezone("UTC")),
        ];
        let batch = RecordBatch::try_new(plan.projection.schema(), columns).unwrap();
        task.push(&batch, None, &mut vec![]).unwrap();
    }
}

#[test]
fn a_checkpoint_of_a_million_keys_writes_the_ten_thousand_that_changed() {
    let plan = &plan(&spec()).unwrap().sources[0];
    let (mut task, mut live, mut compressor) = (TaskGraph::new(plan), LiveSegments::default(), Compressor::new());
    let mut topic: Vec<(u64, Vec<bytes::Bytes>)> = Vec::new();
    let (mut full, mut changes) = (Vec::new(), Vec::new());
    push(&mut task, plan, 0..KEYS);
    for id in 1..=CHECKPOINTS {
        let checkpoint = CheckpointId(id);
        let segment = task.snapshot(live.next(1)).unwrap();
        let values = chunk::encode(checkpoint, &snapshot::encode(&segment.parts).unwrap(), &mut compressor);
        let written = Segment {
            checkpoint,
            chunks: values.len() as u32,
            bytes: values.iter().map(|value| value.len() as u64).sum(),
            entries: segment.parts.iter().map(|(_, rows)| rows.num_rows() as u64).sum(),
            closed_at_ns: segment.closed_at.unwrap(),
        };
        match segment.kind {
            SnapshotKind::Full => full.push(written.bytes),
            SnapshotKind::Changes => changes.push(written.bytes),
        }
        assert_eq!(task.groups(), KEYS as usize);
        topic.push((id, values));
        for obsolete in live.handle_written(segment.kind, Some(written), KEYS as u64, None) {
            topic.retain(|(id, _)| *id != obsolete.checkpoint.0);
        }
        let next = KEYS + (id as i64 - 1) * CHANGED;
        push(&mut task, plan, next..next + CHANGED);
    }

    let (of_keys, of_changed) = (full[0], *changes.iter().max().unwrap());
    let (all, rewritten) = (full.iter().chain(&changes).sum::<u64>(), full.len() - 1);
    println!(
        "{KEYS} keys open, {CHANGED} changed per checkpoint: {of_keys} bytes for all keys, at most {of_changed} for those \
         that changed; {} a checkpoint on average over {CHECKPOINTS}, with {rewritten} times all keys anew",
        (all - of_keys) / (CHECKPOINTS - 1)
    );
    // One key in a hundred changed: a hundredth of the bytes, give or take what its keys compress worse.
    assert!(of_changed < of_keys / 50, "{of_changed} of {of_keys}");
    assert!(
        of_changed > of_keys / 200,
        "{of_changed} of {of_keys}: too little to be true"
    );
    // With the full segments that keep a restart short, over a long time: about twice of what changed.
    let changed = of_changed * (CHECKPOINTS - 1);
    assert!(
        all - of_keys < 5 * changed / 2,
        "{all} bytes, {changed} of them changes"
    );
    assert!((1..=3).contains(&rewritten), "{rewritten}");
    assert!(live.bytes() < 3 * of_keys, "a restart reads {} bytes", live.bytes());

    let mut restored = TaskGraph::new(plan);
    let mut decompressor = chunk::decompressor();
    for (_, values) in &topic {
        let mut segment = Vec::new();
        for value in values {
            segment.extend_from_slice(chunk::decode(value, &mut decompressor).unwrap().bytes);
        }
        restored.restore(&snapshot::decode(&segment).unwrap(), None).unwrap();
    }
    assert_eq!(restored.groups(), KEYS as usize);
    let closed = restored.take_all().unwrap();
    let counts = closed
        .iter()
        .map(|closed| closed.state.column(2).as_primitive::<Int64Type>());
    let rows: i64 = counts.flat_map(|counts| counts.values().iter().copied()).sum();
    // What came after the last checkpoint is not in it.
    assert_eq!(rows, KEYS + (CHECKPOINTS as i64 - 1) * CHANGED);
}

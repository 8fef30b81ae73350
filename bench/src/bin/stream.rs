//! What happens behind the decoder: filter views, 10 s windows per key, merge and snapshot, on columns. Then the kinds of
//! windows beside each other, with a watermark after each batch.
//!
//! Run with `cargo run --release -p engine-bench --bin stream`. One thread; best of several rounds. Quote the ratios.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray, TimestampNanosecondArray,
};
use engine_stream::graph::{
    GraphSpec, SinkSpec, SourceSpec, TaskGraph, TransformKind, TransformSpec, WatermarkSpec, WindowOutput, WindowSpec,
    plan,
};
use engine_stream::schema::{Field, FieldType, SourceSchema};
use engine_stream::snapshot::{self, SnapshotKind};
use engine_stream::watermark::WatermarkConfig;
use engine_stream::window::{OutputMode, WindowKind};

const ROWS: usize = 64 * 1024;
const BATCHES: usize = 64;
const ROUNDS: usize = 5;
/// Event time between two rows.
const NANOSECONDS_PER_ROW: i64 = 25_000;
const TUMBLING: WindowKind = WindowKind::Tumbling {
    size: Duration::from_secs(10),
};

fn main() {
    println!(
        "{} rows in batches of {ROWS}; filter a third, count(*) and max in 10 s windows",
        ROWS * BATCHES
    );
    println!(
        "{:>9} {:>14} {:>14} {:>14} {:>14}",
        "keys", "push ns/row", "M rows/s", "snapshot ms", "close+merge ms"
    );
    for keys in [10, 1_000, 100_000, 1_000_000] {
        run(keys);
    }
    println!("\nkinds of windows, closed by a watermark after each batch: push and close ns/row");
    println!("{:>28} {:>12} {:>12}", "window", "1000 keys", "100000 keys");
    let ms = Duration::from_millis;
    let hopping = |slide| WindowKind::Hopping {
        size: ms(10_000),
        slide,
    };
    for (name, kind) in [
        ("tumbling 10 s", TUMBLING),
        ("hopping 10 s every 5 s", hopping(ms(5_000))),
        ("hopping 10 s every 2 s", hopping(ms(2_000))),
        ("hopping 10 s every 1 s", hopping(ms(1_000))),
        ("sessions, gap 100 ms", WindowKind::Session { gap: ms(100) }),
        ("sessions, gap 10 s", WindowKind::Session { gap: ms(10_000) }),
    ] {
        let [few, many] = [1_000, 100_000].map(|keys| push_and_close(kind, keys));
        println!("{name:>28} {few:>12.1} {many:>12.1}");
    }
}

/// Nanoseconds per row.
fn push_and_close(kind: WindowKind, keys: i64) -> f64 {
    let plan = &plan(&spec(kind)).expect("a graph without mistakes").sources[0];
    let batches: Vec<RecordBatch> = (0..BATCHES).map(|number| batch(plan, number, keys)).collect();
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let (mut graph, mut watermark) = (TaskGraph::new(plan), None);
        let start = Instant::now();
        for (number, batch) in batches.iter().enumerate() {
            graph.push(batch, watermark, &mut Vec::new()).expect("rows of the plan");
            let reached = ((number + 1) * ROWS) as i64 * NANOSECONDS_PER_ROW;
            watermark = Some(reached);
            black_box(graph.take_closed(reached).expect("state"));
        }
        best = best.min(start.elapsed());
    }
    best.as_nanos() as f64 / (ROWS * BATCHES) as f64
}

fn run(keys: i64) {
    let plan = &plan(&spec(TUMBLING)).expect("a graph without mistakes").sources[0];
    let batches: Vec<RecordBatch> = (0..BATCHES).map(|number| batch(plan, number, keys)).collect();
    let mut best = [Duration::MAX; 3];
    for _ in 0..ROUNDS {
        let mut graph = TaskGraph::new(plan);
        let mut outputs = Vec::new();
        let start = Instant::now();
        for batch in &batches {
            graph.push(batch, None, &mut outputs).expect("rows of the plan");
        }
        best[0] = best[0].min(start.elapsed());
        let start = Instant::now();
        black_box(snapshot::encode(&graph.snapshot(SnapshotKind::Full).expect("state").parts).expect("columns"));
        best[1] = best[1].min(start.elapsed());
        let start = Instant::now();
        let closed = graph.take_all().expect("state");
        WindowOutput::new(plan)
            .merge(closed, &mut outputs)
            .expect("state of this plan");
        best[2] = best[2].min(start.elapsed());
        black_box(outputs);
    }
    let nanoseconds = best[0].as_nanos() as f64 / (ROWS * BATCHES) as f64;
    println!(
        "{keys:>9} {nanoseconds:>14.2} {:>14.1} {:>14.2} {:>14.2}",
        1e3 / nanoseconds,
        best[1].as_secs_f64() * 1e3,
        best[2].as_secs_f64() * 1e3
    );
}

fn spec(kind: WindowKind) -> GraphSpec {
    let field =
        |name: &str, field_type: &str| Field::new(name, field_type.parse::<FieldType>().expect("a type's name"));
    let fields = vec![
        field("event_type", "string"),
        field("campaign_id", "int64"),
        field("produce_time", "timestamp(ms)"),
        field("event_time", "timestamp(ns)"),
    ];
    let window = WindowSpec {
        kind,
        group_by: vec!["campaign_id".into()],
        aggregates: vec![
            ("events".into(), "count(*)".into()),
            ("max_produce_time".into(), "max(produce_time)".into()),
        ],
        allowed_lateness: Duration::ZERO,
        late_output: None,
        groups_max: WindowSpec::GROUPS_MAX,
        mode: OutputMode::Append,
    };
    GraphSpec {
        sources: vec![SourceSpec {
            name: "events".into(),
            schema: SourceSchema::new(fields).expect("four names"),
            watermark: Some(WatermarkSpec {
                column: "event_time".into(),
                config: WatermarkConfig::default(),
            }),
        }],
        transforms: vec![
            TransformSpec {
                name: "views".into(),
                input: "events".into(),
                kind: TransformKind::Filter {
                    condition: "event_type = 'view'".into(),
                },
            },
            TransformSpec {
                name: "counts".into(),
                input: "views".into(),
                kind: TransformKind::Window(window),
            },
        ],
        sinks: vec![SinkSpec {
            name: "results".into(),
            input: Some("counts".into()),
            uses: vec![],
            keeps_all: false,
        }],
    }
}

fn batch(plan: &engine_stream::graph::SourcePlan, number: usize, keys: i64) -> RecordBatch {
    let rows = (number * ROWS) as i64..((number + 1) * ROWS) as i64;
    let key = |row: i64| row.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64).rem_euclid(keys);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(
            rows.clone()
                .map(|row| ["view", "click", "purchase"][(row % 3) as usize]),
        )),
        Arc::new(Int64Array::from_iter_values(rows.clone().map(key))),
        Arc::new(TimestampMillisecondArray::from_iter_values(rows.clone().map(|row| row / 40)).with_timezone("UTC")),
        Arc::new(
            TimestampNanosecondArray::from_iter_values(rows.map(|row| row * NANOSECONDS_PER_ROW)).with_timezone("UTC"),
        ),
    ];
    RecordBatch::try_new(plan.projection.schema(), columns).expect("columns of the projection")
}

//! What an engine before the second format left in a state topic is read, value by value, and written anew in the format
//! of today.
//!
//! `state_format_1/state-topic.txt` holds the records of a checkpoint as that engine encoded them: a key and a value on
//! each line, states in hexadecimal. Two partitions, tumbling windows of 10 s by user, the watermark at 10 s:
//!
//! ```text
//! partition 0: ann 1.5 at 9 s (emitted), ann 2.5 at 11 s, bob null at 12 s, ann 0.25 at 19.999 s, null 8 at 21 s
//! partition 1: ann 4 at 10 s
//! ```

use std::sync::Arc;
use std::time::Duration;

use engine_runtime::checkpoint::state_table::{RestoredState, StateTable};
use engine_stream::graph::{
    GraphSpec, SinkSpec, SourcePlan, SourceSpec, TaskGraph, TransformKind, TransformSpec, WatermarkSpec, WindowOutput,
    WindowSpec, plan,
};
use engine_stream::json::{JsonEncoder, TimestampFormat};
use engine_stream::schema::{Field, FieldType, SourceSchema};
use engine_stream::snapshot::{self, SnapshotKind};
use engine_stream::watermark::WatermarkConfig;
use engine_stream::window::{OutputMode, WindowKind};

const RECORDS: &str = include_str!("state_format_1/state-topic.txt");

const ROWS: [&str; 3] = [
    r#"{"window_start":10000,"window_end":20000,"user":"ann","events":3,"spent":6.75,"average":2.25,"last":"ann"}"#,
    r#"{"window_start":10000,"window_end":20000,"user":"bob","events":1,"spent":null,"average":null,"last":"bob"}"#,
    r#"{"window_start":20000,"window_end":30000,"user":null,"events":1,"spent":8.0,"average":8.0,"last":null}"#,
];

#[test]
fn state_of_the_first_format_goes_on_where_it_stood_and_is_kept_in_the_second() {
    let plan = plan_of(Duration::from_secs(10));
    let restored = table(RECORDS).restore().unwrap().unwrap();
    assert_eq!(restored.manifest.checkpoint.0, 7);
    assert_eq!(table(RECORDS).next_owner_epoch().0, 4);
    assert_eq!(rows(&plan, tasks(&plan, &restored)), ROWS);

    let mut again = Vec::new();
    for mut task in tasks(&plan, &restored) {
        let segment = task.snapshot(SnapshotKind::Full).unwrap();
        let bytes = snapshot::encode(&segment.parts).unwrap();
        let mut task = TaskGraph::new(&plan);
        let watermark = restored.manifest.watermark_ns("events");
        task.restore(&snapshot::decode(&bytes).unwrap(), watermark).unwrap();
        again.push(task);
    }
    assert_eq!(rows(&plan, again), ROWS);
}

#[test]
fn state_of_the_first_format_that_no_longer_fits_is_an_error_and_not_a_fresh_start() {
    let restored = table(RECORDS).restore().unwrap().unwrap();
    let plan = plan_of(Duration::from_secs(20));
    let segment = &restored.segments[&("events".into(), "events".into(), 0)][0];
    let error = TaskGraph::new(&plan).restore(&snapshot::decode(segment).unwrap(), None);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("per_user"), "{error}");

    for (damage, expected) in [
        // Of the checkpoint before, in the other slot's place.
        (
            ("0000000000000007455354", "0000000000000006455354"),
            "is of checkpoint 6",
        ),
        (
            ("\"bytes\":1844", "\"bytes\":1845"),
            "ends 1844 bytes, where the manifest says 1845",
        ),
        (
            ("state/3/1/events/events/1/0", "state/3/0/events/events/1/0"),
            "is missing",
        ),
    ] {
        assert!(RECORDS.contains(damage.0), "{damage:?}");
        let error = table(&RECORDS.replace(damage.0, damage.1))
            .restore()
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("state/3/1/events/events/"), "{error}");
    }
    let flipped = RECORDS.replacen("616e6e626f62", "616e6e626f63", 1);
    assert_ne!(flipped, RECORDS);
    let restored = table(&flipped).restore().unwrap().unwrap();
    let error = snapshot::decode(&restored.segments[&("events".into(), "events".into(), 0)][0]);
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("the snapshot is corrupt: its checksum is"), "{error}");
}

fn table(records: &str) -> StateTable {
    let mut table = StateTable::default();
    for (line, offset) in records.lines().zip(0..) {
        let (key, value) = line.split_once(' ').unwrap();
        let value = match key.starts_with("manifest/") {
            true => value.as_bytes().to_vec(),
            false => (0..value.len() / 2)
                .map(|at| u8::from_str_radix(&value[2 * at..2 * at + 2], 16).unwrap())
                .collect(),
        };
        table.apply(offset, Some(key.as_bytes()), Some(&value)).unwrap();
    }
    table
}

/// The tasks of both partitions, restored.
fn tasks(plan: &Arc<SourcePlan>, restored: &RestoredState) -> Vec<TaskGraph> {
    let watermark = restored.manifest.watermark_ns("events");
    let tasks = (0..2).map(|partition| {
        let mut task = TaskGraph::new(plan);
        for segment in &restored.segments[&("events".into(), "events".into(), partition)] {
            task.restore(&snapshot::decode(segment).unwrap(), watermark).unwrap();
        }
        task
    });
    tasks.collect()
}

/// All windows that are open, as a sink writes them.
fn rows(plan: &Arc<SourcePlan>, tasks: Vec<TaskGraph>) -> Vec<String> {
    let mut tasks = tasks;
    let closed = tasks.iter_mut().flat_map(|task| task.take_all().unwrap()).collect();
    let mut outputs = Vec::new();
    WindowOutput::new(plan).merge(closed, &mut outputs).unwrap();
    let encoder = JsonEncoder::new(&plan.sinks[0].1, TimestampFormat::Milliseconds).unwrap();
    let mut rows = Vec::new();
    for output in &outputs {
        let encoded = encoder.rows(&output.batch);
        rows.extend((0..output.batch.num_rows()).map(|row| {
            let mut text = Vec::new();
            encoded.write(row, &mut text);
            String::from_utf8(text).unwrap()
        }));
    }
    rows.sort();
    rows
}

fn plan_of(size: Duration) -> Arc<SourcePlan> {
    let field = |name: &str, field_type: &str| Field::new(name, field_type.parse::<FieldType>().unwrap());
    let fields = vec![
        field("user", "string"),
        field("price", "float64"),
        field("time", "timestamp(ms)"),
    ];
    let aggregates = [
        ("events", "count(*)"),
        ("spent", "sum(price)"),
        ("average", "avg(price)"),
        ("last", "max(user)"),
    ];
    let spec = GraphSpec {
        sources: vec![SourceSpec {
            name: "events".into(),
            schema: SourceSchema::new(fields).unwrap(),
            watermark: Some(WatermarkSpec {
                column: "time".into(),
                config: WatermarkConfig::default(),
            }),
        }],
        transforms: vec![TransformSpec {
            name: "per_user".into(),
            input: "events".into(),
            kind: TransformKind::Window(WindowSpec {
                kind: WindowKind::Tumbling { size },
                group_by: vec!["user".into()],
                aggregates: aggregates.map(|(name, sql)| (name.to_owned(), sql.to_owned())).to_vec(),
                allowed_lateness: Duration::ZERO,
                late_output: None,
                mode: OutputMode::Append,
                groups_max: WindowSpec::GROUPS_MAX,
            }),
        }],
        sinks: vec![SinkSpec {
            name: "results".into(),
            input: Some("per_user".into()),
            uses: vec![],
            keeps_all: false,
        }],
    };
    plan(&spec).unwrap().sources[0].clone()
}

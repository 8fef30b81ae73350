use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;

use super::*;
use crate::json::{JsonEncoder, TimestampFormat};
use crate::micro_batch::{MicroBatchBuilder, SourceRecord};
use crate::schema::{Field, FieldType, SourceSchema, type_name};
use crate::snapshot;
use crate::watermark::WatermarkConfig;

fn source(name: &str) -> SourceSpec {
    let fields = [
        ("ad_id", "string"),
        ("event_type", "string"),
        ("campaign_id", "int64"),
        ("produce_time", "timestamp(ms)"),
        ("event_time", "timestamp(ns)"),
    ];
    let fields = fields.map(|(name, field_type)| Field::new(name, field_type.parse::<FieldType>().unwrap()));
    SourceSpec {
        name: name.into(),
        schema: SourceSchema::new(fields.to_vec()).unwrap(),
        watermark: Some(WatermarkSpec {
            column: "event_time".into(),
            config: WatermarkConfig::default(),
        }),
    }
}

fn filter(name: &str, input: &str, condition: &str) -> TransformSpec {
    TransformSpec {
        name: name.into(),
        input: input.into(),
        kind: TransformKind::Filter {
            condition: condition.into(),
        },
    }
}

fn select(name: &str, input: &str, columns: &[(&str, &str)]) -> TransformSpec {
    let columns = columns
        .iter()
        .map(|(name, sql)| ((*name).into(), (*sql).into()))
        .collect();
    TransformSpec {
        name: name.into(),
        input: input.into(),
        kind: TransformKind::Select { columns },
    }
}

fn window(
    name: &str,
    input: &str,
    group_by: &[&str],
    aggregates: &[(&str, &str)],
    late: Option<&str>,
) -> TransformSpec {
    let kind = TransformKind::Window(WindowSpec {
        size: Duration::from_millis(10),
        group_by: group_by.iter().map(|name| (*name).into()).collect(),
        aggregates: aggregates
            .iter()
            .map(|(name, sql)| ((*name).into(), (*sql).into()))
            .collect(),
        allowed_lateness: Duration::ZERO,
        late_output: late.map(Into::into),
        groups_max: WindowSpec::GROUPS_MAX,
    });
    TransformSpec {
        name: name.into(),
        input: input.into(),
        kind,
    }
}

fn sink(name: &str, input: Option<&str>) -> SinkSpec {
    SinkSpec {
        name: name.into(),
        input: input.map(Into::into),
        uses: vec![],
    }
}

fn spec(transforms: Vec<TransformSpec>, sinks: Vec<SinkSpec>) -> GraphSpec {
    GraphSpec {
        sources: vec![source("events")],
        transforms,
        sinks,
    }
}

/// The pipeline of the design page.
fn ad_campaigns() -> GraphSpec {
    let aggregates = [("events", "count(*)"), ("max_produce_time", "max(produce_time)")];
    let mut results = sink("results", Some("per_campaign"));
    results.uses.push(("key".into(), "campaign_id".into()));
    spec(
        vec![
            window("per_campaign", "views", &["campaign_id"], &aggregates, None),
            filter("views", "events", "event_type = 'view'"),
        ],
        vec![results, sink("lake", Some("per_campaign"))],
    )
}

fn mistakes(spec: &GraphSpec) -> Vec<(String, String)> {
    let errors = plan(spec).err().unwrap_or_default();
    errors
        .into_iter()
        .map(|error| (format!("{} {}", error.part, error.option), error.message))
        .collect()
}

fn decode(plan: &SourcePlan, payloads: &[&str]) -> RecordBatch {
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

fn lines(plan: &SourcePlan, outputs: &[Output]) -> Vec<String> {
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
fn only_the_columns_that_are_needed_are_decoded_and_carried() {
    let plan = plan(&ad_campaigns()).unwrap();
    let source = &plan.sources[0];
    let names: Vec<&str> = source
        .projection
        .fields
        .iter()
        .map(|field| field.name.as_str())
        .collect();
    assert_eq!(names, ["event_type", "campaign_id", "produce_time", "event_time"]);
    assert!(source.projection.meta.is_empty());
    assert!(
        source.projection.fields[3].required,
        "a record without event time is malformed"
    );
    let views = source.nodes.iter().find(|node| node.name == "views").unwrap();
    assert_eq!(views.needed.fields().len(), 3, "event_type ends at the filter");
    assert_eq!(views.columns.fields().len(), 5);
    assert_eq!(source.event_time_column(), Some(3));
}

#[test]
fn a_plan_says_what_every_node_offers() {
    let plan = plan(&ad_campaigns()).unwrap();
    let node = plan.sources[0].nodes.last().unwrap();
    assert_eq!(
        (node.name.as_str(), node.input.as_deref(), node.kind),
        ("per_campaign", Some("views"), NodeKind::Window)
    );
    assert_eq!(node.sinks, ["results", "lake"]);
    let columns: Vec<String> = node
        .columns
        .fields()
        .iter()
        .map(|field| format!("{} {}", field.name(), type_name(field.data_type())))
        .collect();
    assert_eq!(
        columns,
        [
            "window_start timestamp(us)",
            "window_end timestamp(us)",
            "campaign_id int64",
            "events int64",
            "max_produce_time timestamp(ms)"
        ]
    );
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
    let bytes = snapshot::encode(&task.snapshot().unwrap()).unwrap();
    let mut restored = TaskGraph::new(plan);
    restored.restore(&snapshot::decode(&bytes).unwrap()).unwrap();
    restored.push(&decode(plan, &[event]), None, &mut vec![]).unwrap();
    assert_eq!(restored.groups(), 1);
    let mut outputs = Vec::new();
    WindowOutput::new(plan)
        .merge(restored.take_all().unwrap(), &mut outputs)
        .unwrap();
    assert!(lines(plan, &outputs)[0].contains(r#""events":2"#));
    let unknown = [("other".to_owned(), task.snapshot().unwrap().remove(0).1)];
    let error = restored.restore(&unknown).unwrap_err().to_string();
    assert!(error.contains("there is state of a window \"other\""), "{error}");
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
            unplaced_rows: 0
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
fn every_mistake_is_reported_at_once_with_its_place() {
    let transforms = vec![
        filter("a", "evnts", "true"),
        filter("b", "events", "event_typ = 'view'"),
        select("c", "events", &[("x", "campaign_id +"), ("y", "now()")]),
        window(
            "d",
            "b",
            &["campaign", "campaign_id"],
            &[("n", "conut(*)"), ("campaign_id", "count(*)")],
            Some("nowhere"),
        ),
        window("e", "b", &[], &[("n", "count(*)")], None),
        window("f", "e", &[], &[("n", "count(*)")], None),
        select("g", "events", &[("z", "campaign_id")]),
        window("h", "g", &[], &[("n", "count(*)")], None),
        filter("i", "j", "true"),
        filter("j", "i", "true"),
        filter("k", "out", "campaign_id"),
        filter("l", "events", "campaign_id"),
    ];
    let mut out = sink("out", Some("e"));
    out.uses.push(("key".into(), "campaign".into()));
    let found = mistakes(&spec(transforms, vec![out, sink("lonely", None)]));
    let expected = [
        ("transforms.a input", "there is no source or transform \"evnts\""),
        (
            "transforms.k input",
            "\"out\" is a sink, and nothing comes out of a sink",
        ),
        ("transforms.i input", "this goes in a circle: i reads j reads i"),
        ("transforms.b where", "there is no column \"event_typ\""),
        ("transforms.c columns.x", "Expected: an expression, found: EOF"),
        ("transforms.c columns.y", "now() gives another result each time"),
        (
            "transforms.l where",
            "a condition is true or false, but `campaign_id` is int64",
        ),
        ("transforms.d group_by", "there is no column \"campaign\""),
        (
            "transforms.d aggregates.campaign_id",
            "the window already has a column \"campaign_id\"",
        ),
        ("transforms.d aggregates.n", "there is no function \"conut\""),
        ("transforms.h input", "a window needs the event time \"event_time\""),
        ("transforms.f input", "a window cannot read another window's rows yet"),
        ("transforms.d late_output", "there is no sink \"nowhere\""),
        ("sinks.out key", "there is no column \"campaign\""),
        ("sinks.lonely input", "a sink needs an input"),
    ];
    for (place, message) in expected {
        assert!(
            found.iter().any(|(at, what)| at == place && what.starts_with(message)),
            "{place}: {message}\n{found:#?}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn a_mistake_carries_its_position_and_the_nearest_name() {
    let errors = plan(&spec(vec![filter("b", "event", "seen and event_typ = 'view'")], vec![])).unwrap_err();
    assert_eq!(errors[0].suggestion.as_deref(), Some("events"));
    let errors = plan(&spec(
        vec![filter("b", "events", "campaign_id = 1 and event_typ = 'view'")],
        vec![],
    ))
    .unwrap_err();
    assert_eq!(
        (errors[0].position, errors[0].suggestion.as_deref()),
        (Some(20), Some("event_type"))
    );
    let transforms = vec![window(
        "w",
        "events",
        &["ad_id", "compaign_id"],
        &[("n", "count(*)")],
        None,
    )];
    let errors = plan(&spec(transforms, vec![])).unwrap_err();
    assert_eq!(
        (errors[0].index, errors[0].suggestion.as_deref()),
        (Some(1), Some("campaign_id"))
    );
}

#[test]
fn event_time_must_be_a_timestamp_of_the_source() {
    for (column, message) in [
        ("campaign_id", "event time is a timestamp, but \"campaign_id\" is int64"),
        ("evnt_time", "there is no column \"evnt_time\""),
    ] {
        let mut spec = ad_campaigns();
        spec.sources[0].watermark.as_mut().unwrap().column = column.into();
        let found = mistakes(&spec);
        assert_eq!(found[0].0, "sources.events watermark.column");
        assert!(found[0].1.starts_with(message), "{found:?}");
    }
    let mut spec = ad_campaigns();
    spec.sources[0].watermark = None;
    assert!(mistakes(&spec)[0].1.contains("add [sources.events.watermark]"));
    let mut spec = ad_campaigns();
    spec.sources[0].watermark.as_mut().unwrap().column = "_timestamp".into();
    let plan = plan(&spec).unwrap();
    assert_eq!(plan.sources[0].projection.meta, [crate::schema::MetaColumn::Timestamp]);
}

#[test]
fn two_sources_have_a_plan_each() {
    let mut spec = ad_campaigns();
    spec.sources.push(source("more"));
    spec.sinks.push(sink("copy", Some("more")));
    let plan = plan(&spec).unwrap();
    assert_eq!(
        plan.sources[1]
            .sinks
            .iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>(),
        ["copy"]
    );
    assert_eq!(plan.sources[1].projection.fields.len(), 5);
    assert!(plan.sources[1].windows.is_empty());
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

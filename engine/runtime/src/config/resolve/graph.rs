//! The graph of sources, transforms and sinks, checked by the room that runs it; its mistakes get carets here.
//!
//! Never here: SQL.

use arrow::datatypes::{DataType, Schema};
use engine_stream::graph::{
    GraphPlan, GraphSpec, SinkSpec, SourceSpec, TransformKind, TransformSpec, WatermarkSpec, plan,
};
use engine_stream::schema::type_name;
use engine_stream::watermark::WatermarkConfig;

use super::super::document::Value;
use super::super::fields::Fields;
use super::super::pipeline::{
    AggregateColumn, Dedup, Operator, PartitionColumn, SelectColumn, Sink, SinkInput, SinkKind, Source, StreamId,
    Transform, Window,
};
use super::super::source_text::Span;
use super::sink::{DATE_LEVEL, SinkDraft};

mod mistakes;

use self::mistakes::{report, warn_of_keyless_updates, warn_of_unread};

/// The graph, resolved.
pub(crate) struct Graph {
    pub(crate) spec: GraphSpec,
    pub(crate) plan: GraphPlan,
    pub(crate) transforms: Vec<Transform>,
    pub(crate) sinks: Vec<Sink>,
}

/// Checks the graph and resolves what depends on its columns.
pub(crate) fn resolve(
    root: &Fields<'_>,
    sources: &[Source],
    transforms: Vec<TransformSpec>,
    drafts: Vec<SinkDraft>,
) -> Option<Graph> {
    let mut spec = GraphSpec {
        sources: sources.iter().map(source_spec).collect(),
        transforms,
        sinks: Vec::new(),
    };
    spec.sinks = drafts.iter().map(|draft| sink_spec(draft, &spec)).collect();
    let plan = match plan(&spec) {
        Ok(plan) => plan,
        Err(errors) => {
            errors
                .iter()
                .filter(|error| !error.option.is_empty())
                .for_each(|error| report(root, error));
            return None;
        }
    };
    warn_of_unread(root, &spec);
    warn_of_keyless_updates(root, &spec, &drafts);
    let order = sorted(&spec, &plan);
    let transforms = order
        .iter()
        .map(|transform| resolved(transform, &order, &spec))
        .collect();
    let sinks = drafts
        .into_iter()
        .map(|draft| finish(root, draft, &order, &spec, &plan))
        .collect();
    Some(Graph {
        spec,
        plan,
        transforms,
        sinks,
    })
}

/// The transforms, inputs first.
fn sorted<'a>(spec: &'a GraphSpec, plan: &GraphPlan) -> Vec<&'a TransformSpec> {
    let nodes = plan.sources.iter().flat_map(|source| &source.nodes);
    nodes
        .filter_map(|node| spec.transforms.iter().find(|transform| transform.name == node.name))
        .collect()
}

fn stream_id(name: &str, order: &[&TransformSpec], spec: &GraphSpec) -> StreamId {
    let transform = order
        .iter()
        .position(|transform| transform.name == name)
        .map(StreamId::Transform);
    let source = || {
        spec.sources
            .iter()
            .position(|source| source.name == name)
            .map(StreamId::Source)
    };
    transform.or_else(source).expect("inputs were checked")
}

fn resolved(transform: &TransformSpec, order: &[&TransformSpec], spec: &GraphSpec) -> Transform {
    let input = stream_id(&transform.input, order, spec);
    let operator = match &transform.kind {
        TransformKind::Filter { condition } => Operator::Filter {
            condition: condition.clone(),
        },
        TransformKind::Select { columns } => Operator::Select {
            columns: columns
                .iter()
                .map(|(name, expression)| SelectColumn {
                    name: name.clone(),
                    expression: expression.clone(),
                })
                .collect(),
        },
        TransformKind::Dedup(dedup) => Operator::Dedup(Dedup {
            keys: dedup.keys.clone(),
            time_column: event_time_of(input, order, spec),
            horizon: dedup.horizon,
            keys_max: dedup.keys_max,
        }),
        TransformKind::Window(window) => Operator::Window(Window {
            kind: window.kind,
            time_column: event_time_of(input, order, spec),
            group_by: window.group_by.clone(),
            aggregates: window
                .aggregates
                .iter()
                .map(|(name, expression)| AggregateColumn {
                    name: name.clone(),
                    expression: expression.clone(),
                })
                .collect(),
            allowed_lateness: window.allowed_lateness,
            late_output: window.late_output.as_ref().map(|late| {
                spec.sinks
                    .iter()
                    .position(|sink| sink.name == *late)
                    .expect("late outputs were checked")
            }),
            groups_max: window.groups_max,
            mode: window.mode,
        }),
    };
    Transform {
        name: transform.name.clone(),
        input,
        operator,
    }
}

/// The event time of the source behind a stream that was checked to have it.
fn event_time_of(stream: StreamId, order: &[&TransformSpec], spec: &GraphSpec) -> String {
    let mut source = stream;
    while let StreamId::Transform(index) = source {
        source = stream_id(&order[index].input, order, spec);
    }
    let StreamId::Source(source) = source else {
        unreachable!("the loop ends at a source")
    };
    let watermark = spec.sources[source].watermark.as_ref();
    watermark
        .expect("what needs event time was checked to have it")
        .column
        .clone()
}

fn source_spec(source: &Source) -> SourceSpec {
    SourceSpec {
        name: source.name.clone(),
        schema: source.schema.clone(),
        watermark: source.watermark.as_ref().map(|watermark| WatermarkSpec {
            column: watermark.column.clone(),
            config: WatermarkConfig {
                delay: watermark.delay,
                idle_timeout: Some(watermark.idle_timeout),
                max_future_skew: Some(watermark.max_future_skew),
            },
        }),
    }
}

fn sink_spec(draft: &SinkDraft, spec: &GraphSpec) -> SinkSpec {
    let mut uses = Vec::new();
    match &draft.kind {
        SinkKind::Kafka(kafka) => uses.extend(kafka.key.iter().map(|key| ("key".to_owned(), key.clone()))),
        SinkKind::Parquet(parquet) => {
            for level in parquet.partition_by.iter().map(level_name) {
                if level != DATE_LEVEL {
                    uses.push(("partition_by".to_owned(), level.to_owned()));
                } else if let Some(column) = event_time(draft, spec) {
                    uses.push(("partition_by".to_owned(), column));
                }
            }
        }
    }
    SinkSpec {
        name: draft.name.clone(),
        input: draft.input.clone(),
        uses,
        keeps_all: matches!(draft.kind, SinkKind::Parquet(_)),
    }
}

/// The event-time column of rows that come to a sink without a window or a select between.
fn event_time(draft: &SinkDraft, spec: &GraphSpec) -> Option<String> {
    let is_late = |transform: &&TransformSpec| matches!(&transform.kind, TransformKind::Window(window) if window.late_output.as_ref() == Some(&draft.name));
    let late = || spec.transforms.iter().find(is_late).map(|transform| &transform.input);
    let mut input = draft.input.as_ref().or_else(late)?;
    // Bounded, because inputs may go in a circle.
    for _ in 0..=spec.transforms.len() {
        if let Some(source) = spec.sources.iter().find(|source| source.name == *input) {
            return source.watermark.as_ref().map(|watermark| watermark.column.clone());
        }
        let transform = spec.transforms.iter().find(|transform| transform.name == *input)?;
        if !matches!(transform.kind, TransformKind::Filter { .. } | TransformKind::Dedup(_)) {
            return None;
        }
        input = &transform.input;
    }
    None
}

fn finish(root: &Fields<'_>, draft: SinkDraft, order: &[&TransformSpec], spec: &GraphSpec, plan: &GraphPlan) -> Sink {
    let names_it = |transform: &&TransformSpec| matches!(&transform.kind, TransformKind::Window(window) if window.late_output.as_ref() == Some(&draft.name));
    let input = match &draft.input {
        Some(input) => SinkInput::Stream(stream_id(input, order, spec)),
        None => SinkInput::LateRows(
            order
                .iter()
                .position(names_it)
                .expect("a sink without input was checked"),
        ),
    };
    let mut source_and_schema = plan
        .sources
        .iter()
        .flat_map(|source| source.sinks.iter().map(move |(name, schema)| (source, name, schema)));
    let (source, _, schema) = source_and_schema
        .find(|(_, name, _)| **name == draft.name)
        .expect("every sink was planned");
    let event_time = source.watermark.as_ref().map(|watermark| watermark.column.as_str());
    let mut kind = draft.kind;
    if let SinkKind::Parquet(parquet) = &mut kind {
        for (index, level) in parquet.partition_by.iter_mut().enumerate() {
            let span = partition_span(root, &draft.name, index);
            match resolve_level(level_name(level), schema, event_time) {
                Ok(resolved) => *level = resolved,
                Err(message) => root.problems.error(&span, message),
            }
        }
    }
    Sink {
        name: draft.name,
        input,
        kind,
    }
}

/// A folder level as written.
fn level_name(level: &PartitionColumn) -> &str {
    match level {
        PartitionColumn::Column(name) => name,
        PartitionColumn::Date { .. } => DATE_LEVEL,
    }
}

fn resolve_level(name: &str, schema: &Schema, event_time: Option<&str>) -> Result<PartitionColumn, String> {
    if name.starts_with(['_', '.']) {
        return Err(format!(
            "a folder cannot be named after `{name}`: readers pass over names that begin with `_` or `.`; a select can \
             give the column another name"
        ));
    }
    let Ok(field) = schema.field_with_name(name) else {
        let dated = ["window_start"].into_iter().chain(event_time).find(|column| {
            schema
                .field_with_name(column)
                .is_ok_and(|field| matches!(field.data_type(), DataType::Timestamp(..)))
        });
        return dated
            .map(|column| PartitionColumn::Date {
                column: column.to_owned(),
            })
            .ok_or_else(|| {
                "`dt` is the date of the window's start or of the event time, and these rows have neither".to_owned()
            });
    };
    match field.data_type() {
        DataType::Utf8 | DataType::Boolean | DataType::Date32 => Ok(PartitionColumn::Column(name.to_owned())),
        data_type if data_type.is_integer() => Ok(PartitionColumn::Column(name.to_owned())),
        other => Err(format!(
            "a folder cannot be named after `{name}`, which is {}; strings, integers, booleans and dates can",
            type_name(other)
        )),
    }
}

fn partition_span(root: &Fields<'_>, sink: &str, index: usize) -> Span {
    match root
        .table
        .find(&["sinks", sink, "partition_by"])
        .map(|entry| &entry.node)
    {
        Some(node) => match &node.value {
            Value::Array(items) => items.get(index).map_or(&node.span, |item| &item.span).clone(),
            _ => node.span.clone(),
        },
        None => root.span.clone(),
    }
}

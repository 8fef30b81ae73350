//! A resolved pipeline in the words of the stream engine.

use engine_stream::graph::{GraphSpec, SinkSpec, SourceSpec, TransformKind, TransformSpec, WatermarkSpec, WindowSpec};
use engine_stream::watermark::WatermarkConfig;

use crate::config::pipeline::{Operator, PartitionColumn, Pipeline, SinkInput, SinkKind, Source, Transform};

/// The graph of a pipeline, for [`engine_stream::graph::plan`].
pub(crate) fn spec_of(pipeline: &Pipeline) -> GraphSpec {
    GraphSpec {
        sources: pipeline.sources.iter().map(source).collect(),
        transforms: pipeline.transforms.iter().map(|of| transform(pipeline, of)).collect(),
        sinks: pipeline.sinks.iter().map(|sink| self::sink(pipeline, sink)).collect(),
    }
}

fn source(source: &Source) -> SourceSpec {
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

fn transform(pipeline: &Pipeline, transform: &Transform) -> TransformSpec {
    let kind = match &transform.operator {
        Operator::Filter { condition } => TransformKind::Filter {
            condition: condition.clone(),
        },
        Operator::Select { columns } => TransformKind::Select {
            columns: columns
                .iter()
                .map(|column| (column.name.clone(), column.expression.clone()))
                .collect(),
        },
        Operator::Window(window) => {
            let crate::config::pipeline::WindowKind::Tumbling { size } = window.kind;
            TransformKind::Window(WindowSpec {
                size,
                group_by: window.group_by.clone(),
                aggregates: window
                    .aggregates
                    .iter()
                    .map(|aggregate| (aggregate.name.clone(), aggregate.expression.clone()))
                    .collect(),
                allowed_lateness: window.allowed_lateness,
                late_output: window.late_output.map(|sink| pipeline.sinks[sink].name.clone()),
                groups_max: window.groups_max,
            })
        }
    };
    TransformSpec {
        name: transform.name.clone(),
        input: pipeline.stream_name(transform.input).to_owned(),
        kind,
    }
}

fn sink(pipeline: &Pipeline, sink: &crate::config::pipeline::Sink) -> SinkSpec {
    let uses = match &sink.kind {
        SinkKind::Kafka(kafka) => kafka.key.iter().map(|key| ("key".to_owned(), key.clone())).collect(),
        SinkKind::Parquet(parquet) => parquet
            .partition_by
            .iter()
            .map(|column| match column {
                PartitionColumn::Date { column } | PartitionColumn::Column(column) => {
                    ("partition_by".to_owned(), column.clone())
                }
            })
            .collect(),
    };
    let input = match sink.input {
        SinkInput::Stream(stream) => Some(pipeline.stream_name(stream).to_owned()),
        SinkInput::LateRows(_) => None,
    };
    SinkSpec {
        name: sink.name.clone(),
        input,
        uses,
    }
}

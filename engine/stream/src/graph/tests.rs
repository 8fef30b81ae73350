mod dedup;
mod lateness;
mod mistakes;
mod planning;
mod running;
mod sessions;
mod updates;

use std::time::Duration;

use super::{GraphSpec, SinkSpec, SourceSpec, TransformKind, TransformSpec, WatermarkSpec, WindowSpec};
use crate::schema::{Field, FieldType, SourceSchema};
use crate::watermark::WatermarkConfig;
use crate::window::{OutputMode, WindowKind};

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
        kind: WindowKind::Tumbling {
            size: Duration::from_millis(10),
        },
        group_by: group_by.iter().map(|name| (*name).into()).collect(),
        aggregates: aggregates
            .iter()
            .map(|(name, sql)| ((*name).into(), (*sql).into()))
            .collect(),
        allowed_lateness: Duration::ZERO,
        late_output: late.map(Into::into),
        groups_max: WindowSpec::GROUPS_MAX,
        mode: OutputMode::Append,
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
        keeps_all: false,
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

//! What a pipeline will do, told before it runs: graph, columns, state and its bound, names, files.
//!
//! One [`Explanation`], shown as text or as JSON.
//! Never here: brokers, anything that has to be asked.

mod text;

use std::time::Duration;

use arrow::datatypes::Schema;
use engine_client::ConsumerConfig;
use engine_stream::graph::{NodeInfo, NodeKind};
use engine_stream::schema::type_name;
use serde::Serialize;

use crate::config::pipeline::{
    Bootstrap, Generator, KafkaOptions, Operator, OutputMode, ParquetSink, PartitionColumn, Pipeline, Sink, SinkInput,
    SinkKind, TopicSelection, Window, WindowKind,
};
use crate::config::values::{show_duration, show_size};
use crate::generate::ads::AdCampaigns;
use crate::generate::arrivals::Arrivals;
use crate::generate::config::{GeneratorKind, Pace};
use crate::seconds;

/// The plan of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The pipeline's name.
    pub name: String,
    /// The brokers, or `embedded`.
    pub brokers: String,
    /// What a crash may do to the results.
    pub guarantee: String,
    /// The consumer group.
    pub group_id: String,
    /// How long the group waits for a process that died before another one takes over.
    #[serde(rename = "session_timeout_seconds", serialize_with = "seconds::serialize")]
    pub session_timeout: Duration,
    /// The transactional id of whichever process owns the partitions; `None` without transactions.
    pub transactional_id: Option<String>,
    /// How long a process that died may hold up readers under `read_committed`; `None` without transactions.
    #[serde(
        rename = "transaction_timeout_seconds",
        serialize_with = "seconds::serialize_optional"
    )]
    pub transaction_timeout: Option<Duration>,
    /// The compacted topic of the state.
    pub state_topic: String,
    /// Where malformed records go.
    pub dead_letter_topic: Option<String>,
    /// Where the HTTP server listens.
    pub server: Option<String>,
    /// Sources and transforms, inputs first.
    pub nodes: Vec<Node>,
    /// The sinks.
    pub sinks: Vec<Output>,
    /// Load made inside the process.
    pub generators: Vec<Load>,
}

/// A source or a transform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// `source`, `filter`, `select`, `dedup` or `window`.
    pub kind: String,
    /// What it reads: a node's name, or a source's topics.
    pub input: String,
    /// What it does, line by line.
    pub details: Vec<String>,
    /// The columns it offers.
    pub columns: Vec<Column>,
    /// What it remembers and what bounds that; `None` for one without state.
    pub state: Option<String>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub r#type: String,
    /// Whether anyone needs it: what nobody needs is not even parsed.
    pub is_needed: bool,
}

/// A sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// What it is given.
    pub input: String,
    /// Where the rows go: a topic, or the layout of files.
    pub target: String,
    /// What else there is of it, line by line: where files are before they can be read, and what becomes of them.
    pub details: Vec<String>,
    /// The columns that are written.
    pub columns: Vec<Column>,
}

/// A generator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Load {
    /// Its name.
    pub name: String,
    /// The topic it fills.
    pub topic: String,
    /// What it makes, how fast and for how long.
    pub details: String,
}

/// Explains a pipeline.
#[must_use]
pub fn explain(pipeline: &Pipeline) -> Explanation {
    Explanation {
        name: pipeline.name.clone(),
        brokers: match &pipeline.kafka.bootstrap {
            Bootstrap::Embedded => "embedded".to_owned(),
            Bootstrap::Servers(servers) => servers.clone(),
        },
        guarantee: pipeline.checkpoint.guarantee.name().to_owned(),
        group_id: pipeline.group_id(),
        // The membership is the first source's; see `RunContext`.
        session_timeout: milliseconds(&pipeline.sources[0].kafka, "session.timeout.ms")
            .unwrap_or(ConsumerConfig::default().session_timeout),
        transaction_timeout: pipeline
            .transaction
            .as_ref()
            .and_then(|options| milliseconds(options, "transaction.timeout.ms")),
        transactional_id: pipeline.transaction.as_ref().map(|_| pipeline.transactional_id()),
        state_topic: pipeline.state_topic(),
        dead_letter_topic: pipeline
            .dead_letter
            .as_ref()
            .map(|dead_letter| dead_letter.topic.clone()),
        server: pipeline.server.map(|server| format!("http://{}", server.listen)),
        nodes: pipeline
            .plan
            .sources
            .iter()
            .flat_map(|source| &source.nodes)
            .map(|info| node(pipeline, info))
            .collect(),
        sinks: pipeline.sinks.iter().map(|sink| output(pipeline, sink)).collect(),
        generators: pipeline.generators.iter().map(load).collect(),
    }
}

impl Explanation {
    /// The plan as one JSON object.
    ///
    /// # Panics
    /// Never: strings and booleans always have a JSON form.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and booleans always have a JSON form")
    }
}

/// What an option says, if the file or a default of ours sets it. The address of an embedded broker is not known yet, so no
/// client's configuration can be made here.
fn milliseconds(options: &KafkaOptions, name: &str) -> Option<Duration> {
    options.value(name)?.parse().ok().map(Duration::from_millis)
}

fn node(pipeline: &Pipeline, info: &NodeInfo) -> Node {
    let mut details = Vec::new();
    let mut state = None;
    let mut input = info.input.clone().unwrap_or_default();
    if let Some(source) = pipeline.sources.iter().find(|source| source.name == info.name) {
        input = match &source.topics {
            TopicSelection::Names(names) => format!("topics {}", names.join(", ")),
            TopicSelection::Pattern(pattern) => format!("topics like {pattern}"),
        };
        details.push(format!("malformed records: {}", source.on_error.name()));
        details.extend(source.watermark.as_ref().map(|watermark| {
            let (delay, idle) = (show_duration(watermark.delay), show_duration(watermark.idle_timeout));
            format!("watermark: {} - {delay}, idle after {idle}", watermark.column)
        }));
    }
    match pipeline
        .transforms
        .iter()
        .find(|transform| transform.name == info.name)
        .map(|transform| &transform.operator)
    {
        Some(Operator::Filter { condition }) => details.push(format!("where {condition}")),
        Some(Operator::Select { columns }) => {
            details.extend(
                columns
                    .iter()
                    .map(|column| format!("{} = {}", column.name, column.expression)),
            );
        }
        Some(Operator::Window(window)) => {
            explain_window(pipeline, window, &mut details);
            let open = match window.kind {
                WindowKind::Tumbling { .. } => "window".to_owned(),
                WindowKind::Hopping { size, slide } => {
                    format!("window ({} of each row)", size.as_nanos() / slide.as_nanos().max(1))
                }
                WindowKind::Session { .. } => "session".to_owned(),
            };
            state = Some(format!(
                "one row per open {open} and group, in each partition; at most {} groups of a partition, more stop the pipeline",
                window.groups_max
            ));
        }
        Some(Operator::Dedup(dedup)) => {
            details.push(format!(
                "first row of each {} within {} of {}, in each partition: repeats in other partitions go on",
                dedup.keys.join(", "),
                show_duration(dedup.horizon),
                dedup.time_column
            ));
            details.push("repeats and late rows: counted".to_owned());
            state = Some(format!(
                "the keys of the last {} behind the watermark and of what is ahead of it, in each partition; at most {} keys of a partition, more stop the pipeline",
                show_duration(dedup.horizon),
                dedup.keys_max
            ));
        }
        None => {}
    }
    let is_needed = |name: &str| info.needed.field_with_name(name).is_ok();
    Node {
        name: info.name.clone(),
        kind: match info.kind {
            NodeKind::Source => "source",
            NodeKind::Filter => "filter",
            NodeKind::Select => "select",
            NodeKind::Dedup => "dedup",
            NodeKind::Window => "window",
        }
        .to_owned(),
        input,
        details,
        columns: columns_of(&info.columns, is_needed),
        state,
    }
}

fn explain_window(pipeline: &Pipeline, window: &Window, details: &mut Vec<String>) {
    details.push(match window.kind {
        WindowKind::Tumbling { size } => format!("tumbling, {} of {}", show_duration(size), window.time_column),
        WindowKind::Hopping { size, slide } => {
            let (size, slide) = (show_duration(size), show_duration(slide));
            format!("hopping, {size} of {} every {slide}", window.time_column)
        }
        WindowKind::Session { gap } => {
            let gap = show_duration(gap);
            format!(
                "session, until {gap} of {} without a row of the group",
                window.time_column
            )
        }
    });
    if !window.group_by.is_empty() {
        details.push(format!("group by {}", window.group_by.join(", ")));
    }
    details.extend(
        window
            .aggregates
            .iter()
            .map(|aggregate| format!("{} = {}", aggregate.name, aggregate.expression)),
    );
    details.push(match window.mode {
        OutputMode::Append => "emitted once, when it closes".to_owned(),
        OutputMode::Update => "emitted with each checkpoint where it changed, and when it closes".to_owned(),
    });
    let late = match window.late_output {
        Some(sink) => format!("late rows: to {}", pipeline.sinks[sink].name),
        None => "late rows: counted".to_owned(),
    };
    details.push(if window.allowed_lateness.is_zero() {
        late
    } else {
        format!("{late}, after {} more", show_duration(window.allowed_lateness))
    });
}

fn output(pipeline: &Pipeline, sink: &Sink) -> Output {
    Output {
        name: sink.name.clone(),
        input: match sink.input {
            SinkInput::Stream(stream) => pipeline.stream_name(stream).to_owned(),
            SinkInput::LateRows(window) => format!("late rows of {}", pipeline.transforms[window].name),
        },
        target: match &sink.kind {
            SinkKind::Kafka(kafka) => match &kafka.key {
                Some(key) => format!("topic {}, key {key}", kafka.topic),
                None => format!("topic {}", kafka.topic),
            },
            SinkKind::Parquet(parquet) => layout(parquet),
        },
        details: match &sink.kind {
            SinkKind::Kafka(_) => Vec::new(),
            SinkKind::Parquet(parquet) => lake_details(pipeline, &sink.name, parquet),
        },
        columns: columns_of(&pipeline.sink_schema(&sink.name), |_| true),
    }
}

fn layout(parquet: &ParquetSink) -> String {
    let levels = parquet.partition_by.iter().map(|level| match level {
        PartitionColumn::Date { column } => format!("dt=<date of {column}>/"),
        PartitionColumn::Column(column) => format!("{column}=<{column}>/"),
    });
    let endpoint = parquet.s3.endpoint.as_ref().map(|endpoint| format!(" at {endpoint}"));
    format!(
        "files {}/{}*.parquet{}, {}, about {} each",
        parquet.path.display(),
        levels.collect::<String>(),
        endpoint.unwrap_or_default(),
        parquet.compression.name(),
        show_size(parquet.target_file_bytes)
    )
}

fn lake_details(pipeline: &Pipeline, sink: &str, parquet: &ParquetSink) -> Vec<String> {
    let merged = match parquet.compaction {
        Some(compaction) => format!(
            "{} or more small files of a folder become one, at most every {}",
            compaction.files_min,
            show_duration(compaction.interval)
        ),
        None => format!("small files stay as they are: {}", why_unmerged(parquet)),
    };
    vec![
        format!(
            "staged in _staging/{}.{sink}.0/ until their checkpoint has committed; _manifest/ tells what each added",
            pipeline.name
        ),
        merged,
    ]
}

fn why_unmerged(parquet: &ParquetSink) -> &'static str {
    if parquet.path.to_string_lossy().starts_with("s3://") {
        "in a bucket nothing replaces several objects in one step"
    } else if parquet.partition_by.is_empty() {
        "without `partition_by` there is no folder that could be replaced in one step"
    } else {
        "`compact = false`"
    }
}

fn columns_of(schema: &Schema, is_needed: impl Fn(&str) -> bool) -> Vec<Column> {
    let column = |field: &arrow::datatypes::FieldRef| Column {
        name: field.name().clone(),
        r#type: type_name(field.data_type()),
        is_needed: is_needed(field.name()),
    };
    schema.fields().iter().map(column).collect()
}

fn load(generator: &Generator) -> Load {
    let load = &generator.load;
    let what = match load.kind {
        GeneratorKind::Ads(AdCampaigns {
            campaigns,
            ads_per_campaign,
        }) => {
            let arrivals = match load.arrivals {
                Arrivals::Uniform => "uniform".to_owned(),
                Arrivals::Poisson => "poisson".to_owned(),
                Arrivals::Mmpp(mmpp) => format!("mmpp of ratio {}", mmpp.rate_ratio),
            };
            let speed = match load.pace {
                Pace::RealTime => "",
                Pace::Max => " of event time, sent as fast as possible",
            };
            format!(
                "ads of {campaigns} campaigns x {ads_per_campaign}; {arrivals}, {} per second{speed}",
                load.rate
            )
        }
        GeneratorKind::Fixed(fixed) => format!(
            "{} messages of {} bytes every {} from each producer",
            fixed.batch_messages,
            fixed.message_bytes,
            show_duration(fixed.interval)
        ),
    };
    let extent = match (load.count, load.duration) {
        (Some(count), _) => format!("{count} events"),
        (None, Some(duration)) => format!("for {}", show_duration(duration)),
        (None, None) => "without end".to_owned(),
    };
    Load {
        name: generator.name.clone(),
        topic: load.topic.clone(),
        details: format!("{what}; {} producers; {extent}; seed {}", load.producers, load.seed),
    }
}

//! What a pipeline file means: every name resolved, every number in its unit, every default filled in.
//!
//! A [`Pipeline`] cannot hold an impossible state: intervals and window sizes are positive, inputs are
//! indices that exist and point backwards, columns that are named exist. What was *written*, with its
//! positions, is the document's business (`config::document`).
//! Never here: TOML, spans, diagnostics.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use engine_client::{ClientConfig, ConsumerConfig, ProducerConfig, PropertyError};
use engine_stream::graph::{GraphPlan, GraphSpec};

pub use self::generator::Generator;
pub use self::sink::{
    KafkaSink, LakeCompaction, LakeCompression, ParquetSink, PartitionColumn, Sink, SinkInput, SinkKind, Timestamps,
};
pub use self::source::{Format, OnError, Source, TopicSelection, Watermark};
pub use self::test::{Expectation, Expected, ExpectedRow, InputRow, PipelineTest, TestInput, TestRows};
pub use self::transform::{
    AggregateColumn, Dedup, Operator, OutputMode, SelectColumn, StreamId, Transform, Window, WindowKind,
};

mod generator;
mod sink;
mod source;
mod test;
mod transform;

/// A whole pipeline, checked and resolved.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Stable name; see [`Pipeline::group_id`] and its neighbours for what derives from it.
    /// Only the characters that Kafka allows in a topic name, at most [`PIPELINE_NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// Where the brokers are and whether missing source topics may be created.
    pub kafka: Kafka,
    /// When a micro-batch is processed.
    pub trigger: Trigger,
    /// When and how progress is committed.
    pub checkpoint: Checkpoint,
    /// The options of the one producer of all outputs, present exactly under [`Guarantee::ExactlyOnce`]: one transaction
    /// is one producer's. Without `transactional.id`, which [`Pipeline::transactional_id`] gives.
    pub transaction: Option<KafkaOptions>,
    /// The sources, in the order of the file; at least one.
    pub sources: Vec<Source>,
    /// The transforms, sorted so that every input comes before its readers.
    pub transforms: Vec<Transform>,
    /// Sources, transforms and sinks as the operators' room takes them.
    pub graph: GraphSpec,
    /// What `graph` comes to: projections and every node's and sink's columns; one plan per source, in their order.
    pub plan: GraphPlan,
    /// The sinks, in the order of the file; at least one.
    pub sinks: Vec<Sink>,
    /// Where malformed records go; present whenever a source says `on_error = "dead_letter"`.
    pub dead_letter: Option<DeadLetter>,
    /// The HTTP server, if the pipeline has one.
    pub server: Option<Server>,
    /// Load made inside the process, in the order of the file.
    pub generators: Vec<Generator>,
    /// The pipeline's own tests, in the order of the file.
    pub tests: Vec<PipelineTest>,
}

/// The columns of a dead letter, in tests.
const DEAD_LETTER_COLUMNS: &[&str] = &["source", "topic", "partition", "offset", "key", "value", "error"];

/// The key of a record, in tests.
pub(crate) const RECORD_KEY: &str = "_key";

/// Longest pipeline name: it leaves room in Kafka's 249-byte topic names for the suffixes we add.
pub const PIPELINE_NAME_BYTES_MAX: usize = 200;

impl Pipeline {
    /// The consumer group of this pipeline's sources: the pipeline's name.
    #[must_use]
    pub fn group_id(&self) -> String {
        self.name.clone()
    }

    /// The compacted topic that holds this pipeline's state: `engine-state-<name>`.
    #[must_use]
    pub fn state_topic(&self) -> String {
        state_topic_of(&self.name)
    }

    /// The transactional id of whichever process owns the partitions: `engine-<name>`. It is the same for all, so that a
    /// process that takes over fences the one before it and ends its open transaction.
    #[must_use]
    pub fn transactional_id(&self) -> String {
        format!("engine-{}", self.name)
    }

    /// The `client.id` that this pipeline's connections use unless the file sets one: `engine-<name>`.
    #[must_use]
    pub fn client_id(&self) -> String {
        format!("engine-{}", self.name)
    }

    /// The name of a source or a transform.
    ///
    /// # Panics
    /// If `stream` comes from another pipeline and is out of range here.
    #[must_use]
    pub fn stream_name(&self, stream: StreamId) -> &str {
        match stream {
            StreamId::Source(index) => &self.sources[index].name,
            StreamId::Transform(index) => &self.transforms[index].name,
        }
    }

    /// The source whose records reach `stream`, following inputs back to it.
    ///
    /// # Panics
    /// If `stream` comes from another pipeline and is out of range here.
    #[must_use]
    pub fn source_of(&self, stream: StreamId) -> usize {
        match stream {
            StreamId::Source(index) => index,
            StreamId::Transform(index) => self.source_of(self.transforms[index].input),
        }
    }

    /// The columns that a sink is given.
    ///
    /// # Panics
    /// If there is no such sink.
    #[must_use]
    pub fn sink_schema(&self, name: &str) -> SchemaRef {
        let mut sinks = self.plan.sources.iter().flat_map(|source| &source.sinks);
        let (_, schema) = sinks
            .find(|(sink, _)| sink == name)
            .expect("every sink of a pipeline has columns");
        Arc::clone(schema)
    }

    /// The columns that can be expected of something: of a Kafka sink also `_key`, unless it has a column of that name.
    ///
    /// # Panics
    /// If `of` comes from another pipeline and is out of range here.
    #[must_use]
    pub fn columns_of(&self, of: Expected) -> Vec<String> {
        let schema = match of {
            Expected::DeadLetter => {
                return DEAD_LETTER_COLUMNS.iter().map(|&name| name.to_owned()).collect();
            }
            Expected::Sink(index) => self.sink_schema(&self.sinks[index].name),
            Expected::Stream(stream) => {
                let name = self.stream_name(stream);
                let mut nodes = self.plan.sources.iter().flat_map(|source| &source.nodes);
                let node = nodes.find(|node| node.name == name);
                Arc::clone(&node.expect("every stream of a pipeline has columns").columns)
            }
        };
        let mut columns: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let is_record = matches!(of, Expected::Sink(index) if matches!(self.sinks[index].kind, SinkKind::Kafka(_)));
        if is_record && !columns.iter().any(|column| column == RECORD_KEY) {
            columns.push(RECORD_KEY.to_owned());
        }
        columns
    }

    /// Puts the address of the embedded broker in the place of `bootstrap.servers = "embedded"`.
    /// Does nothing for a pipeline that names real brokers.
    pub fn use_embedded_broker(&mut self, address: SocketAddr) {
        if self.kafka.bootstrap != Bootstrap::Embedded {
            return;
        }
        let address = address.to_string();
        self.kafka.bootstrap = Bootstrap::Servers(address.clone());
        let options = [&mut self.kafka.options, &mut self.kafka.state_options]
            .into_iter()
            .chain(self.sources.iter_mut().map(|source| &mut source.kafka))
            .chain(self.sinks.iter_mut().filter_map(|sink| match &mut sink.kind {
                SinkKind::Kafka(kafka) => Some(&mut kafka.kafka),
                SinkKind::Parquet(_) => None,
            }))
            .chain(self.dead_letter.iter_mut().map(|dead_letter| &mut dead_letter.kafka))
            .chain(self.transaction.iter_mut())
            .chain(self.generators.iter_mut().map(|generator| &mut generator.kafka));
        for options in options {
            options.set("bootstrap.servers", &address);
        }
    }
}

/// The shared `[kafka]` table.
#[derive(Debug, Clone)]
pub struct Kafka {
    /// The brokers.
    pub bootstrap: Bootstrap,
    /// The client options of `[kafka]` itself, `bootstrap.servers` included. Every source and sink
    /// carries its own, already merged with these; admin clients use these.
    pub options: KafkaOptions,
    /// What the state topic is written with at least once: the producer options of `[kafka]`.
    pub state_options: KafkaOptions,
    /// Given with `create_topics = true`: how a missing *source* topic is created. Without it a missing
    /// source topic is an error. Topics of our own (state, dead letter, results, a generator's) are
    /// always created, with [`Kafka::own_topics`].
    pub create_topics: Option<TopicLayout>,
    /// How missing topics of our own are created: `partitions` and `replication_factor` where the file
    /// gives them, else the broker's defaults (`None` inside).
    pub own_topics: OwnTopicLayout,
}

/// Where the brokers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bootstrap {
    /// `bootstrap.servers = "embedded"`: the broker inside this process, whose address
    /// [`Pipeline::use_embedded_broker`] fills in.
    Embedded,
    /// `host:port` pairs, separated by commas.
    Servers(String),
}

/// Partitions and replicas of a topic to be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicLayout {
    /// Number of partitions.
    pub partitions: NonZeroU32,
    /// Number of replicas of each partition.
    pub replication_factor: NonZeroU32,
}

/// Partitions and replicas of topics that the engine creates for itself; `None` leaves it to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnTopicLayout {
    /// Number of partitions.
    pub partitions: Option<NonZeroU32>,
    /// Number of replicas of each partition.
    pub replication_factor: Option<NonZeroU32>,
}

/// `fetch.prefetch.bytes` of a source that does not set it: 8 MiB, less than a client's own default, because a micro-batch
/// is gathered ahead too.
const PREFETCH_BYTES: &str = "8388608";

/// Kafka client options under Kafka's dotted names, in the order of the file, each name once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KafkaOptions {
    options: Vec<(String, String)>,
}

impl KafkaOptions {
    /// Sets an option, replacing an earlier value.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.options.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.options.push((name.to_owned(), value.to_owned())),
        }
    }

    /// The value of an option, if it was given.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.options
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The settings of a connection or an admin client.
    ///
    /// # Panics
    /// If these are not the options of a resolved pipeline whose embedded broker, if it has one, has an address.
    #[must_use]
    pub fn client_config(&self) -> ClientConfig {
        checked(ClientConfig::from_properties(self.iter()))
    }

    /// The settings of a consumer in a group, which fetches 8 MiB ahead if no option says otherwise.
    ///
    /// # Panics
    /// As [`KafkaOptions::client_config`], and if these are not the options of a source.
    #[must_use]
    pub fn consumer_config(&self, group_id: &str) -> ConsumerConfig {
        let prefetch = ("fetch.prefetch.bytes", PREFETCH_BYTES);
        let prefetch = Some(prefetch).filter(|(name, _)| self.value(name).is_none());
        checked(ConsumerConfig::from_properties(
            self.without_creation().chain([("group.id", group_id)]).chain(prefetch),
        ))
    }

    /// The settings of a producer.
    ///
    /// # Panics
    /// As [`KafkaOptions::client_config`], and if these are not the options of a sink, a generator or a dead letter.
    #[must_use]
    pub fn producer_config(&self) -> ProducerConfig {
        checked(ProducerConfig::from_properties(self.without_creation()))
    }

    /// The settings of the transactional producer.
    ///
    /// # Panics
    /// As [`KafkaOptions::client_config`], and if these are not a pipeline's options of its transaction.
    #[must_use]
    pub fn transactional_config(&self, transactional_id: &str) -> ProducerConfig {
        let id = ("transactional.id", transactional_id);
        checked(ProducerConfig::from_properties(self.without_creation().chain([id])))
    }

    /// The options of whoever reads and writes records. The engine makes its topics itself, with the settings they need: one
    /// that somebody deletes must be missed, not made anew by asking for it, without its settings.
    fn without_creation(&self) -> impl Iterator<Item = (&str, &str)> {
        let (name, value) = ("allow.auto.create.topics", "false");
        let default = self.value(name).is_none().then_some((name, value));
        self.iter().chain(default)
    }

    /// Every option as (name, value), ready for a client's `from_properties`.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.options.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// When a micro-batch is processed: whichever of the two comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trigger {
    /// Longest wait before a micro-batch is processed; positive.
    pub interval: Duration,
    /// Most records of one trigger, over all partitions.
    pub records_max: NonZeroUsize,
}

/// When and how progress is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Time between two checkpoints; positive.
    pub interval: Duration,
    /// What a crash may do to the results.
    pub guarantee: Guarantee,
}

/// What a crash may do to the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    /// Nothing is lost; what was written after the last checkpoint is written again after a restart.
    AtLeastOnce,
    /// Outputs, state, offsets and lake files of a checkpoint are there together or not at all.
    ExactlyOnce,
}

impl Guarantee {
    /// The word that the file uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Guarantee::AtLeastOnce => "at_least_once",
            Guarantee::ExactlyOnce => "exactly_once",
        }
    }
}

/// Where malformed records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The topic; created if it is missing.
    pub topic: String,
    /// Producer options, `[kafka]` merged in.
    pub kafka: KafkaOptions,
}

/// The HTTP server: `/metrics`, `/healthz`, `/readyz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server {
    /// The address to listen on; port 0 takes any free port.
    pub listen: SocketAddr,
}

/// A size in bytes that is never zero.
pub type ByteSize = NonZeroU64;

/// The topic that the state of a pipeline of this name is in.
pub(crate) fn state_topic_of(name: &str) -> String {
    format!("engine-state-{name}")
}

fn checked<T>(config: Result<T, Vec<PropertyError>>) -> T {
    config.unwrap_or_else(|errors| panic!("options were checked when the pipeline was resolved: {}", errors[0]))
}

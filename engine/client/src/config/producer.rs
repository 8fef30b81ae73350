//! The producer's settings.

use std::time::Duration;

use engine_wire::compression::Codec;

use super::{
    client::{ClientConfig, HasClient, client_properties},
    property::{
        Property, PropertyError, Schema, boolean, bytes_positive, check_durations, complete, millis, millis_positive,
        one_of, parse, properties,
    },
};

/// How many replicas must have a batch before it counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// The batch is not acknowledged at all; offsets are not known and losses not noticed.
    None,
    /// The leader has it.
    Leader,
    /// All in-sync replicas have it.
    All,
}

impl Acks {
    /// The protocol's number.
    pub fn code(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}

/// Settings of a producer. Defaults are those of the Java client unless a field says otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct ProducerConfig {
    /// Connection settings.
    pub client: ClientConfig,
    /// `acks`. Default `all`.
    pub acks: Acks,
    /// `enable.idempotence`: retries neither duplicate nor reorder. Default true.
    pub enable_idempotence: bool,
    /// `compression.type`. Default none. `lz4` costs least; `zstd` makes JSON about half as large as that, at two to
    /// three times the CPU.
    pub compression: Codec,
    /// `compression.gzip.level`: 1 to 9; `None` (-1, default) is the codec's own default.
    pub compression_level: Option<i32>,
    /// `linger.ms`: how long a batch waits for more records. Default 5 ms.
    pub linger: Duration,
    /// `batch.size`: bytes of a batch before compression. Default 128 KiB, not Java's 16 KiB,
    /// because each batch costs both sides a fixed price.
    pub batch_bytes_max: usize,
    /// `buffer.memory`: memory of batches not yet acknowledged; sends wait beyond it. Two batches that are kept for
    /// reuse, and one per core that is being compressed, come on top. Default 32 MiB.
    pub buffer_bytes_max: usize,
    /// `max.request.size`: bytes of the batches in one Produce request, and of a batch with a single record, before
    /// compression. Default 1 MiB.
    pub request_bytes_max: usize,
    /// `max.block.ms`: how long a send waits for memory or for metadata. Default 60 s.
    pub block_max: Duration,
    /// `delivery.timeout.ms`: from append to acknowledgement, all retries included. Default 120 s.
    pub delivery_timeout: Duration,
    /// `max.in.flight.requests.per.connection`: Default 5, the most that idempotence allows.
    pub in_flight_max: usize,
    /// `retries`: attempts after the first. Default unlimited; `delivery.timeout` is the better bound.
    pub retries: u32,
    /// `transactional.id`: whoever has it later fences whoever had it before. `None` (default) is without transactions.
    pub transactional_id: Option<String>,
    /// `transaction.timeout.ms`: the coordinator aborts what takes longer, and fences the producer. Default 60 s.
    pub transaction_timeout: Duration,
    /// `partitioner.ignore.keys`: spread keyed records like those without key. Default false.
    pub partitioner_ignore_keys: bool,
    /// `partitioner.adaptive.partitioning.enable`: give slow partitions less (KIP-794). Default true.
    pub partitioner_adaptive: bool,
    /// `partitioner.availability.timeout.ms`: a broker that has taken nothing for so long although something was ready
    /// gets no records without key until it does, unless all are like that. Zero (default): it does.
    pub partitioner_availability_timeout: Duration,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            client: ClientConfig::default(),
            acks: Acks::All,
            enable_idempotence: true,
            compression: Codec::None,
            compression_level: None,
            linger: Duration::from_millis(5),
            batch_bytes_max: 128 * 1024,
            buffer_bytes_max: 32 * 1024 * 1024,
            request_bytes_max: 1024 * 1024,
            block_max: Duration::from_secs(60),
            delivery_timeout: Duration::from_secs(120),
            in_flight_max: 5,
            retries: u32::MAX,
            transactional_id: None,
            transaction_timeout: Duration::from_secs(60),
            partitioner_ignore_keys: false,
            partitioner_adaptive: true,
            partitioner_availability_timeout: Duration::ZERO,
        }
    }
}

impl ProducerConfig {
    /// Defaults with one bootstrap server.
    pub fn new(bootstrap_server: impl Into<String>) -> Self {
        Self {
            client: ClientConfig::new(bootstrap_server),
            ..Self::default()
        }
    }

    /// Reads Kafka's dotted names; all mistakes at once.
    ///
    /// As in Kafka, `acks` other than `all` turns idempotence off unless it is asked for by name,
    /// which is a contradiction.
    pub fn from_properties<'a>(
        properties: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Vec<PropertyError>> {
        let mut config = Self::default();
        let given = SCHEMA.read(&mut config, properties)?;
        if !given.contains(&"enable.idempotence") {
            config.enable_idempotence =
                config.acks == Acks::All && config.in_flight_max <= IN_FLIGHT_IDEMPOTENT_MAX && config.retries > 0;
        }
        complete(config.clone(), config.validate())
    }

    /// What contradicts or is missing, whichever way the struct was made.
    pub fn validate(&self) -> Vec<PropertyError> {
        let mut errors = self.client.validate();
        let durations = [
            ("linger.ms", self.linger),
            ("max.block.ms", self.block_max),
            ("delivery.timeout.ms", self.delivery_timeout),
            ("transaction.timeout.ms", self.transaction_timeout),
            (
                "partitioner.availability.timeout.ms",
                self.partitioner_availability_timeout,
            ),
        ];
        check_durations(&durations, &mut errors);
        let mut contradiction = |text: String| errors.push(PropertyError::Contradiction(text));
        if self.enable_idempotence {
            if self.acks != Acks::All {
                contradiction("`enable.idempotence` = `true` needs `acks` = `all`".into());
            }
            if self.in_flight_max > IN_FLIGHT_IDEMPOTENT_MAX {
                contradiction(format!(
                    "`enable.idempotence` = `true` needs `max.in.flight.requests.per.connection` of at most 5, not {}",
                    self.in_flight_max
                ));
            }
            if self.retries == 0 {
                contradiction("`enable.idempotence` = `true` needs `retries` of at least 1".into());
            }
        }
        if let Some(transactional_id) = &self.transactional_id {
            if transactional_id.is_empty() {
                contradiction("`transactional.id` is empty".into());
            }
            if !self.enable_idempotence {
                contradiction(
                    "`transactional.id` needs `enable.idempotence` = `true`, and with it `acks` = `all`".into(),
                );
            }
        }
        if self.in_flight_max == 0 {
            contradiction("`max.in.flight.requests.per.connection` must be at least 1".into());
        }
        if self.delivery_timeout < self.linger.saturating_add(self.client.request_timeout) {
            contradiction(format!(
                "`delivery.timeout.ms` ({} ms) is less than `linger.ms` ({} ms) plus `request.timeout.ms` ({} ms)",
                self.delivery_timeout.as_millis(),
                self.linger.as_millis(),
                self.client.request_timeout.as_millis()
            ));
        }
        if self.batch_bytes_max > self.buffer_bytes_max {
            contradiction(format!(
                "`batch.size` ({}) is more than `buffer.memory` ({})",
                self.batch_bytes_max, self.buffer_bytes_max
            ));
        }
        errors
    }
}

impl HasClient for ProducerConfig {
    fn client(&mut self) -> &mut ClientConfig {
        &mut self.client
    }
}

const SCHEMA: Schema<ProducerConfig> = Schema {
    tables: &[&client_properties(), PRODUCER],
    elsewhere: &[(
        &[
            "group.*",
            "auto.offset.reset",
            "isolation.level",
            "fetch.*",
            "session.timeout.ms",
            "max.poll.*",
            "enable.auto.commit",
        ],
        "it is a property of consumers, this is a producer",
    )],
};

const PRODUCER: &[Property<ProducerConfig>] = &properties! { |c, value|
    "acks" => c.acks = acks(value)?,
    "enable.idempotence" => c.enable_idempotence = boolean(value)?,
    "compression.type" => c.compression = compression(value)?,
    "compression.gzip.level" => c.compression_level = gzip_level(value)?,
    "linger.ms" => c.linger = millis(value)?,
    "batch.size" => c.batch_bytes_max = bytes_positive(value)?,
    "buffer.memory" => c.buffer_bytes_max = parse(value, "a number of bytes")?,
    "max.request.size" => c.request_bytes_max = bytes_positive(value)?,
    "max.block.ms" => c.block_max = millis(value)?,
    "delivery.timeout.ms" => c.delivery_timeout = millis_positive(value)?,
    "max.in.flight.requests.per.connection" => c.in_flight_max = parse(value, "a number of requests, at least 1")?,
    "retries" => c.retries = parse(value, "a number of retries, 0 or more")?,
    "transactional.id" => c.transactional_id = Some(value.to_owned()),
    "transaction.timeout.ms" => c.transaction_timeout = millis_positive(value)?,
    "partitioner.ignore.keys" => c.partitioner_ignore_keys = boolean(value)?,
    "partitioner.adaptive.partitioning.enable" => c.partitioner_adaptive = boolean(value)?,
    "partitioner.availability.timeout.ms" => c.partitioner_availability_timeout = millis(value)?,
    "allow.auto.create.topics" => c.client.allow_auto_create_topics = boolean(value)?,
};

fn acks(value: &str) -> Result<Acks, String> {
    let choices = [
        ("all", Acks::All),
        ("-1", Acks::All),
        ("1", Acks::Leader),
        ("0", Acks::None),
    ];
    one_of(value, &choices)
}

fn compression(value: &str) -> Result<Codec, String> {
    let choices = [
        ("none", Codec::None),
        ("gzip", Codec::Gzip),
        ("snappy", Codec::Snappy),
        ("lz4", Codec::Lz4),
        ("zstd", Codec::Zstd),
    ];
    one_of(value, &choices)
}

fn gzip_level(value: &str) -> Result<Option<i32>, String> {
    match parse(value, "-1 or a level from 1 to 9")? {
        -1 => Ok(None),
        level @ 1..=9 => Ok(Some(level)),
        _ => Err("expected -1 or a level from 1 to 9".into()),
    }
}

/// Brokers remember the last five batches of a producer in each partition.
const IN_FLIGHT_IDEMPOTENT_MAX: usize = 5;

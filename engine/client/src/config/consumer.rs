//! The consumer's settings.

use std::{fmt, time::Duration};

use engine_proto::group::assignor::single_owner::SingleOwnerAssignor;

use super::{
    client::{ClientConfig, HasClient, client_properties},
    property::{
        Property, PropertyError, Schema, boolean, bytes_positive, check_durations, complete, millis, millis_positive,
        one_of, properties,
    },
};

/// Where to start without a committed offset, or with one that is out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AutoOffsetReset {
    /// At the oldest record.
    Earliest,
    /// Behind the newest record.
    #[default]
    Latest,
    /// At the first record of the last so much time, behind the newest record if there is none: `by_duration:PT1H`
    /// (KIP-1106).
    ByDuration(Duration),
    /// Nowhere: it is an error.
    None,
}

/// Which records of transactions are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IsolationLevel {
    /// All.
    #[default]
    ReadUncommitted,
    /// Those of committed transactions, and those outside of transactions.
    ReadCommitted,
}

impl IsolationLevel {
    /// The protocol's number.
    pub fn code(self) -> i8 {
        match self {
            IsolationLevel::ReadUncommitted => 0,
            IsolationLevel::ReadCommitted => 1,
        }
    }
}

/// How a group's leader deals partitions out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssignmentStrategy {
    /// Per topic, contiguous ranges.
    Range,
    /// All partitions of all topics in turn.
    RoundRobin,
    /// As even as can be, and each member keeps what it had as far as that allows.
    Sticky,
    /// The same, and members go on reading what they keep while the group rebalances (KIP-429). Only if all strategies
    /// of a member are cooperative.
    CooperativeSticky,
    /// Everything to the member that started first, the others stand by: for applications whose state spans
    /// partitions. Ours, not Kafka's, and not to be chosen by `partition.assignment.strategy`.
    SingleOwner {
        /// When this member started, in ms since 1970.
        started_ms: i64,
    },
}

impl AssignmentStrategy {
    /// The name that members agree on.
    pub fn name(self) -> &'static str {
        match self {
            AssignmentStrategy::Range => "range",
            AssignmentStrategy::RoundRobin => "roundrobin",
            AssignmentStrategy::Sticky => "sticky",
            AssignmentStrategy::CooperativeSticky => "cooperative-sticky",
            AssignmentStrategy::SingleOwner { .. } => SingleOwnerAssignor::NAME,
        }
    }
}

impl fmt::Display for AssignmentStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Settings of a consumer. Defaults are those of the Java client unless a field says otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsumerConfig {
    /// Connection settings.
    pub client: ClientConfig,
    /// `group.id`: needed to subscribe and to commit.
    pub group_id: Option<String>,
    /// `group.instance.id`: a static member (KIP-345).
    pub group_instance_id: Option<String>,
    /// `client.rack`: read from a replica in this rack where the brokers allow it.
    pub client_rack: Option<String>,
    /// `auto.offset.reset`. Default latest.
    pub auto_offset_reset: AutoOffsetReset,
    /// `isolation.level`. Default `read_uncommitted`.
    pub isolation_level: IsolationLevel,
    /// `session.timeout.ms`: without heartbeats for this long, the member is out. Default 45 s.
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms`. Default 3 s.
    pub heartbeat_interval: Duration,
    /// `max.poll.interval.ms`: without a poll for this long, the member leaves. Default 5 min.
    pub poll_interval_max: Duration,
    /// `rebalance.timeout.ms`: how long a rebalance waits for a member to hand over. `None` (default) is
    /// `max.poll.interval.ms`, as in the Java client, which has no property of its own for it.
    pub rebalance_timeout: Option<Duration>,
    /// `partition.assignment.strategy`, in order of preference. Default range, then round-robin.
    pub partition_assignment_strategy: Vec<AssignmentStrategy>,
    /// `fetch.min.bytes`: a fetch waits for this much. Default 1.
    pub fetch_bytes_min: usize,
    /// `fetch.max.bytes`: of one fetch answer. Default 50 MiB.
    pub fetch_bytes_max: usize,
    /// `max.partition.fetch.bytes`: of one partition in a fetch answer. Default 1 MiB.
    pub partition_fetch_bytes_max: usize,
    /// `fetch.max.wait.ms`: how long a fetch waits for `fetch.min.bytes`. Default 500 ms.
    pub fetch_wait_max: Duration,
    /// `check.crcs`. Default true.
    pub check_crcs: bool,
    /// `fetch.prefetch.bytes`, our own: how much is fetched ahead of the application, over all
    /// partitions together. Default 16 MiB. Nothing more is fetched at the bound, except what one
    /// answer adds to it.
    pub prefetch_bytes_max: usize,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            client: ClientConfig::default(),
            group_id: None,
            group_instance_id: None,
            client_rack: None,
            auto_offset_reset: AutoOffsetReset::default(),
            isolation_level: IsolationLevel::default(),
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            poll_interval_max: Duration::from_secs(300),
            rebalance_timeout: None,
            partition_assignment_strategy: vec![AssignmentStrategy::Range, AssignmentStrategy::RoundRobin],
            fetch_bytes_min: 1,
            fetch_bytes_max: 50 * 1024 * 1024,
            partition_fetch_bytes_max: 1024 * 1024,
            fetch_wait_max: Duration::from_millis(500),
            check_crcs: true,
            prefetch_bytes_max: 16 * 1024 * 1024,
        }
    }
}

impl ConsumerConfig {
    /// Defaults with one bootstrap server.
    pub fn new(bootstrap_server: impl Into<String>) -> Self {
        Self {
            client: ClientConfig::new(bootstrap_server),
            ..Self::default()
        }
    }

    /// Reads Kafka's dotted names; all mistakes at once.
    pub fn from_properties<'a>(
        properties: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Vec<PropertyError>> {
        let mut config = Self::default();
        SCHEMA.read(&mut config, properties)?;
        complete(config.clone(), config.validate())
    }

    /// How long a rebalance waits for this member.
    pub fn rebalance_timeout(&self) -> Duration {
        self.rebalance_timeout.unwrap_or(self.poll_interval_max)
    }

    /// What contradicts or is missing, whichever way the struct was made.
    pub fn validate(&self) -> Vec<PropertyError> {
        let mut errors = self.client.validate();
        let durations = [
            ("session.timeout.ms", self.session_timeout),
            ("heartbeat.interval.ms", self.heartbeat_interval),
            ("max.poll.interval.ms", self.poll_interval_max),
            ("rebalance.timeout.ms", self.rebalance_timeout.unwrap_or_default()),
            ("fetch.max.wait.ms", self.fetch_wait_max),
        ];
        check_durations(&durations, &mut errors);
        let mut contradiction = |text: String| errors.push(PropertyError::Contradiction(text));
        if self.heartbeat_interval >= self.session_timeout {
            contradiction(format!(
                "`heartbeat.interval.ms` ({} ms) must be less than `session.timeout.ms` ({} ms)",
                self.heartbeat_interval.as_millis(),
                self.session_timeout.as_millis()
            ));
        }
        if self.fetch_bytes_min > self.fetch_bytes_max {
            contradiction(format!(
                "`fetch.min.bytes` ({}) is more than `fetch.max.bytes` ({})",
                self.fetch_bytes_min, self.fetch_bytes_max
            ));
        }
        if self.fetch_wait_max >= self.client.request_timeout {
            contradiction(format!(
                "`fetch.max.wait.ms` ({} ms) must be less than `request.timeout.ms` ({} ms)",
                self.fetch_wait_max.as_millis(),
                self.client.request_timeout.as_millis()
            ));
        }
        if self.group_instance_id.is_some() && self.group_id.is_none() {
            contradiction("`group.instance.id` needs a `group.id`".into());
        }
        if self.partition_assignment_strategy.is_empty() {
            contradiction("`partition.assignment.strategy` must name at least one strategy".into());
        }
        errors
    }
}

impl HasClient for ConsumerConfig {
    fn client(&mut self) -> &mut ClientConfig {
        &mut self.client
    }
}

const SCHEMA: Schema<ConsumerConfig> = Schema {
    tables: &[&client_properties(), CONSUMER],
    elsewhere: &[(
        &[
            "acks",
            "linger.ms",
            "batch.size",
            "buffer.memory",
            "compression.*",
            "enable.idempotence",
            "delivery.timeout.ms",
            "max.request.size",
            "max.block.ms",
            "max.in.flight.requests.per.connection",
            "retries",
            "partitioner.*",
        ],
        "it is a property of producers, this is a consumer",
    )],
};

const CONSUMER: &[Property<ConsumerConfig>] = &properties! { |c, value|
    "group.id" => c.group_id = Some(name(value)?),
    "group.instance.id" => c.group_instance_id = Some(name(value)?),
    "client.rack" => c.client_rack = Some(value.into()).filter(|_| !value.is_empty()),
    "auto.offset.reset" => c.auto_offset_reset = auto_offset_reset(value)?,
    "isolation.level" => c.isolation_level = isolation_level(value)?,
    "session.timeout.ms" => c.session_timeout = millis_positive(value)?,
    "heartbeat.interval.ms" => c.heartbeat_interval = millis_positive(value)?,
    "max.poll.interval.ms" => c.poll_interval_max = millis_positive(value)?,
    "rebalance.timeout.ms" => c.rebalance_timeout = Some(millis_positive(value)?),
    "partition.assignment.strategy" => c.partition_assignment_strategy = strategies(value)?,
    "fetch.min.bytes" => c.fetch_bytes_min = bytes_positive(value)?,
    "fetch.max.bytes" => c.fetch_bytes_max = bytes_positive(value)?,
    "max.partition.fetch.bytes" => c.partition_fetch_bytes_max = bytes_positive(value)?,
    "fetch.max.wait.ms" => c.fetch_wait_max = millis(value)?,
    "check.crcs" => c.check_crcs = boolean(value)?,
    "fetch.prefetch.bytes" => c.prefetch_bytes_max = bytes_positive(value)?,
    "allow.auto.create.topics" => c.client.allow_auto_create_topics = boolean(value)?,
    "enable.auto.commit" => no_auto_commit(value)?,
};

fn auto_offset_reset(value: &str) -> Result<AutoOffsetReset, String> {
    if let Some(duration) = value.strip_prefix("by_duration:") {
        let duration = iso_duration(duration);
        return duration.map(AutoOffsetReset::ByDuration).ok_or_else(|| {
            "must be by_duration: and an ISO 8601 duration, such as by_duration:PT1H or P2DT30M".into()
        });
    }
    let choices = [
        ("earliest", AutoOffsetReset::Earliest),
        ("latest", AutoOffsetReset::Latest),
        ("none", AutoOffsetReset::None),
    ];
    one_of(value, &choices)
}

/// `PnDTnHnMnS`, as Java reads durations, without signs; seconds may have a fraction.
fn iso_duration(text: &str) -> Option<Duration> {
    let (days, time) = match text.strip_prefix('P')?.split_once('T') {
        Some((days, time)) if !time.is_empty() => (days, time),
        Some(_) => return None,
        None => (text.strip_prefix('P')?, ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let mut total = match days {
        "" => Duration::ZERO,
        days => seconds(days.strip_suffix('D')?, 86_400)?,
    };
    let mut rest = time;
    for (unit, factor) in [('H', 3_600), ('M', 60)] {
        if let Some((number, behind)) = rest.split_once(unit) {
            total = total.checked_add(seconds(number, factor)?)?;
            rest = behind;
        }
    }
    if rest.is_empty() {
        return Some(total);
    }
    let number = rest.strip_suffix('S')?;
    let is_decimal = number.starts_with(|c: char| c.is_ascii_digit()) && number.ends_with(|c: char| c.is_ascii_digit());
    let is_plain = number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let fraction: f64 = number.parse().ok().filter(|_| is_decimal && is_plain)?;
    total.checked_add(Duration::try_from_secs_f64(fraction).ok()?)
}

fn seconds(number: &str, factor: u64) -> Option<Duration> {
    let number: u64 = number
        .parse()
        .ok()
        .filter(|_| number.bytes().all(|b| b.is_ascii_digit()))?;
    number.checked_mul(factor).map(Duration::from_secs)
}

fn isolation_level(value: &str) -> Result<IsolationLevel, String> {
    let choices = [
        ("read_uncommitted", IsolationLevel::ReadUncommitted),
        ("read_committed", IsolationLevel::ReadCommitted),
    ];
    one_of(value, &choices)
}

fn no_auto_commit(value: &str) -> Result<(), String> {
    one_of(value, &[("false", ())]).map_err(|_| "there is no auto-commit; commit from the application".into())
}

fn name(value: &str) -> Result<String, String> {
    if value.is_empty() {
        return Err("must not be empty".into());
    }
    Ok(value.into())
}

/// Names as the protocol has them, or Java's class names.
fn strategies(value: &str) -> Result<Vec<AssignmentStrategy>, String> {
    const PACKAGE: &str = "org.apache.kafka.clients.consumer.";
    let choices = [
        ("range", AssignmentStrategy::Range),
        ("roundrobin", AssignmentStrategy::RoundRobin),
        ("sticky", AssignmentStrategy::Sticky),
        ("cooperative-sticky", AssignmentStrategy::CooperativeSticky),
        ("RangeAssignor", AssignmentStrategy::Range),
        ("RoundRobinAssignor", AssignmentStrategy::RoundRobin),
        ("StickyAssignor", AssignmentStrategy::Sticky),
        ("CooperativeStickyAssignor", AssignmentStrategy::CooperativeSticky),
    ];
    value
        .split(',')
        .map(|name| {
            let name = name.trim();
            one_of(name.strip_prefix(PACKAGE).unwrap_or(name), &choices).map_err(|_| {
                format!("`{name}` is not there; expected some of `range`, `roundrobin`, `sticky`, `cooperative-sticky`")
            })
        })
        .collect()
}

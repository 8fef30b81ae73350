//! Every key of a pipeline file: what the reader accepts, and what `config.md` has to describe.
//!
//! Never here: what keys mean. Names that a user chooses (a source's, a column's) and Kafka's options are not keys.

pub(crate) const ROOT: &[&str] = &[
    "name",
    "kafka",
    "trigger",
    "checkpoint",
    "sources",
    "transforms",
    "sinks",
    "dead_letter",
    "server",
    "tests",
    "generators",
];
pub(crate) const TEST: &[&str] = &["name", "input", "expect", "drain", "ordered"];
/// Our own keys in `[kafka]`, beside Kafka's options.
pub(crate) const KAFKA: &[&str] = &["create_topics", "partitions", "replication_factor"];
pub(crate) const TRIGGER: &[&str] = &["interval", "max_records"];
pub(crate) const CHECKPOINT: &[&str] = &["interval", "guarantee"];
pub(crate) const SOURCE: &[&str] = &[
    "type",
    "topics",
    "topic_pattern",
    "format",
    "on_error",
    "kafka",
    "schema",
    "watermark",
];
pub(crate) const FIELD: &[&str] = &["type", "from", "required"];
pub(crate) const WATERMARK: &[&str] = &["column", "delay", "idle_timeout", "max_future_skew"];
pub(crate) const FILTER: &[&str] = &["type", "input", "where"];
pub(crate) const SELECT: &[&str] = &["type", "input", "columns"];
pub(crate) const DEDUP: &[&str] = &["type", "input", "keys", "horizon", "keys_max"];
pub(crate) const WINDOW: &[&str] = &[
    "type",
    "input",
    "kind",
    "size",
    "slide",
    "gap",
    "group_by",
    "aggregates",
    "allowed_lateness",
    "late_output",
    "mode",
    "groups_max",
];
pub(crate) const KAFKA_SINK: &[&str] = &["type", "input", "topic", "key", "format", "timestamps", "kafka"];
pub(crate) const PARQUET_SINK: &[&str] = &[
    "type",
    "input",
    "path",
    "partition_by",
    "target_file_size",
    "row_group_rows",
    "compression",
    "dictionary",
    "compact",
    "compact_interval",
    "compact_files_min",
    "s3",
];
pub(crate) const S3: &[&str] = &[
    "endpoint",
    "region",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "path_style",
    "ca_bundle",
    "retry_timeout",
];
pub(crate) const DEAD_LETTER: &[&str] = &["topic", "kafka"];
pub(crate) const SERVER: &[&str] = &["listen"];
/// What every generator takes, beside the keys of its kind.
pub(crate) const GENERATOR: &[&str] = &["kind", "topic", "producers", "duration", "count", "seed", "kafka"];
pub(crate) const ADS: &[&str] = &[
    "arrivals",
    "rate",
    "avg_rate",
    "rate_ratio",
    "q12",
    "q21",
    "campaigns",
    "ads_per_campaign",
];
pub(crate) const FIXED: &[&str] = &["message_size", "batch_messages", "interval"];

/// Every table with its keys, under the name that `config.md` uses.
pub const TABLES: &[(&str, &[&str])] = &[
    ("pipeline", ROOT),
    ("kafka", KAFKA),
    ("trigger", TRIGGER),
    ("checkpoint", CHECKPOINT),
    ("sources.NAME", SOURCE),
    ("sources.NAME.schema", FIELD),
    ("sources.NAME.watermark", WATERMARK),
    ("transforms.NAME (filter)", FILTER),
    ("transforms.NAME (select)", SELECT),
    ("transforms.NAME (dedup)", DEDUP),
    ("transforms.NAME (window)", WINDOW),
    ("sinks.NAME (kafka)", KAFKA_SINK),
    ("sinks.NAME (parquet)", PARQUET_SINK),
    ("sinks.NAME.s3", S3),
    ("dead_letter", DEAD_LETTER),
    ("server", SERVER),
    ("tests", TEST),
    ("generators.NAME", GENERATOR),
    ("generators.NAME (ads)", ADS),
    ("generators.NAME (fixed)", FIXED),
];

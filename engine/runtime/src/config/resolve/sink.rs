//! `[sinks.NAME]` and `[dead_letter]`. Inputs and columns are checked by `graph`.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use engine_lake::{CompactionConfig, Compression};

use super::super::diagnostic::Diagnostic;
use super::super::fields::Fields;
use super::super::keys;
use super::super::pipeline::{
    DeadLetter, Format, KafkaSink, LakeCompaction, LakeCompression, ParquetSink, PartitionColumn, SinkKind, Timestamps,
};
use super::kafka::{Role, SharedOptions};
use super::{s3, topic};

/// The folder level that is a date.
pub(crate) const DATE_LEVEL: &str = "dt";
const TARGET_FILE_BYTES: NonZeroU64 = NonZeroU64::new(128_000_000).unwrap();
const ROW_GROUP_ROWS: NonZeroUsize = NonZeroUsize::new(1 << 20).unwrap();

/// A sink whose input is still a name.
pub(crate) struct SinkDraft {
    pub(crate) name: String,
    pub(crate) input: Option<String>,
    pub(crate) kind: SinkKind,
}

#[derive(Clone, Copy)]
enum Kind {
    Kafka,
    Parquet,
}

/// Resolves one sink; `None` if its type is unknown.
pub(crate) fn resolve(name: &str, fields: &Fields<'_>, shared: &SharedOptions) -> Option<SinkDraft> {
    let kind = match fields.required_choice("type", &[("kafka", Kind::Kafka), ("parquet", Kind::Parquet)])? {
        Kind::Kafka => SinkKind::Kafka(kafka(fields, shared)),
        Kind::Parquet => SinkKind::Parquet(parquet(fields)),
    };
    let input = fields
        .text("input", "the name of a source or a transform")
        .map(|input| input.as_str().to_owned());
    Some(SinkDraft {
        name: name.to_owned(),
        input,
        kind,
    })
}

/// Resolves `[dead_letter]`.
pub(crate) fn dead_letter(root: &Fields<'_>, shared: &SharedOptions) -> Option<DeadLetter> {
    let fields = root.fields("dead_letter")?;
    fields.only(&[keys::DEAD_LETTER]);
    let kafka = shared.merged(&fields, Role::Producer);
    let name = fields.required_text("topic", "the topic for malformed records")?;
    Some(DeadLetter {
        topic: topic(&fields, name),
        kafka,
    })
}

fn kafka(fields: &Fields<'_>, shared: &SharedOptions) -> KafkaSink {
    fields.only(&[keys::KAFKA_SINK]);
    let name = fields.required_text("topic", "the topic to write to");
    KafkaSink {
        topic: name.map(|name| topic(fields, name)).unwrap_or_default(),
        key: fields
            .text("key", "the name of a column")
            .map(|key| key.as_str().to_owned()),
        format: fields
            .choice("format", &[("json", Format::Json)])
            .unwrap_or(Format::Json),
        timestamps: fields
            .choice(
                "timestamps",
                &[("ms", Timestamps::Milliseconds), ("rfc3339", Timestamps::Rfc3339)],
            )
            .unwrap_or(Timestamps::Milliseconds),
        kafka: shared.merged(fields, Role::Producer),
    }
}

fn parquet(fields: &Fields<'_>) -> ParquetSink {
    fields.only(&[keys::PARQUET_SINK]);
    let path = fields.required_text("path", "the folder of the table, or s3://BUCKET/PREFIX");
    let s3 = s3::options(fields, path);
    let levels = fields.texts("partition_by", "an array of columns").unwrap_or_default();
    let compression = fields
        .text("compression", "a compression such as \"snappy\"")
        .and_then(|written| {
            // The lake knows why it has no zstd.
            let parsed = written
                .as_str()
                .parse::<Compression>()
                .map(|compression| match compression {
                    Compression::None => LakeCompression::None,
                    Compression::Snappy => LakeCompression::Snappy,
                    Compression::Gzip => LakeCompression::Gzip,
                    Compression::Lz4Raw => LakeCompression::Lz4Raw,
                });
            if let Err(error) = &parsed {
                let diagnostic = Diagnostic::error(written.span, error.to_string());
                fields.problems.push(diagnostic.suggest(
                    "values",
                    written.as_str(),
                    ["snappy", "lz4_raw", "gzip", "none"],
                ));
            }
            parsed.ok()
        });
    let rows = fields.integer("row_group_rows", 1, 100_000_000);
    let is_local = path.is_none_or(|path| !path.as_str().starts_with("s3://"));
    ParquetSink {
        path: PathBuf::from(path.map(|path| path.as_str()).unwrap_or_default()),
        partition_by: levels
            .iter()
            .map(|level| PartitionColumn::Column(level.as_str().to_owned()))
            .collect(),
        target_file_bytes: s3::target_file_size(fields, path).unwrap_or(TARGET_FILE_BYTES),
        row_group_rows: rows
            .and_then(|rows| NonZeroUsize::new(usize::try_from(rows).ok()?))
            .unwrap_or(ROW_GROUP_ROWS),
        compression: compression.unwrap_or(LakeCompression::Snappy),
        dictionary: fields.boolean("dictionary").unwrap_or(true),
        compaction: compaction(fields, is_local, !levels.is_empty()),
        s3,
    }
}

/// On unless it is turned off, where it can be done: in partition folders on a disk.
fn compaction(fields: &Fields<'_>, is_local: bool, is_partitioned: bool) -> Option<LakeCompaction> {
    let default = CompactionConfig::default();
    let interval = fields.positive_duration("compact_interval");
    let files_min = fields.integer("compact_files_min", 2, 10_000);
    let files_min = files_min.and_then(|files| usize::try_from(files).ok());
    let wanted = fields.boolean("compact");
    let obstacle = match (is_local, is_partitioned) {
        (false, _) => Some(
            "small files are merged on local disks only: in a bucket nothing replaces several objects in one step; \
             a longer `checkpoint.interval` makes fewer of them",
        ),
        (true, false) => Some(
            "small files are merged in partition folders only: without `partition_by` there are none; \
             `partition_by = [\"dt\"]` makes a folder per day",
        ),
        (true, true) => None,
    };
    // Who says when, wants it.
    let asked_for = ["compact", "compact_interval", "compact_files_min"]
        .into_iter()
        .find(|key| match *key {
            "compact" => wanted == Some(true),
            key => wanted.is_none() && fields.node(key).is_some(),
        });
    if let (Some(key), Some(obstacle)) = (asked_for, obstacle) {
        fields.problems.error(&fields.span_of(key), obstacle);
    }
    (wanted.unwrap_or(true) && obstacle.is_none()).then(|| LakeCompaction {
        interval: interval.unwrap_or(default.interval),
        files_min: NonZeroUsize::new(files_min.unwrap_or(default.files_min)).expect("at least two files make one"),
    })
}

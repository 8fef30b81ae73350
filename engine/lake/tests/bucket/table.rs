//! A table in a bucket of its own, and what a reader sees of it.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use engine_lake::{LakeConfig, LakeStore, LakeWriter, OpenError, PartitionBy, S3Options, WriterId};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::server::{Server, server};

pub(crate) struct Table {
    pub(crate) server: Arc<Server>,
    pub(crate) bucket: String,
    pub(crate) store: LakeStore,
}

pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("time", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("name", DataType::Utf8, false),
        Field::new("value", DataType::Int64, false),
    ]))
}

/// One row an hour.
pub(crate) fn numbered(values: std::ops::Range<i64>) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::from_iter_values(
            values.clone().map(|value| value * 3_600_000),
        )),
        Arc::new(StringArray::from_iter_values(
            values.clone().map(|value| format!("a/{}% ü", value % 3)),
        )),
        Arc::new(Int64Array::from_iter_values(values)),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

pub(crate) fn by_date() -> LakeConfig {
    LakeConfig {
        partition_by: vec![PartitionBy::date_of("dt", "time")],
        ..LakeConfig::default()
    }
}

pub(crate) fn writer_id() -> WriterId {
    WriterId::new("test.lake.0").unwrap()
}

pub(crate) fn open_writer(store: &LakeStore, config: LakeConfig) -> Result<LakeWriter, OpenError> {
    LakeWriter::open(store.clone(), config, schema(), writer_id())
}

/// For servers that do not check.
pub(crate) const ANYBODY: (&str, &str) = ("test", "hush-hush");

pub(crate) fn options(keys: (&str, &str), address: &str, retry_timeout: Duration) -> S3Options {
    S3Options {
        endpoint: Some(format!("http://{address}")),
        access_key_id: Some(keys.0.to_owned()),
        secret_access_key: Some(keys.1.to_owned()),
        retry_timeout,
        ..S3Options::default()
    }
}

/// The table of these tests, in this bucket.
pub(crate) fn store_in(bucket: &str, options: &S3Options) -> LakeStore {
    LakeStore::open_with(&format!("s3://{bucket}/lake/events"), options).unwrap()
}

impl Table {
    pub(crate) fn new() -> Option<Table> {
        let server = server()?;
        let options = options(server.keys(), &server.address, Duration::from_secs(30));
        Some(Table::on(server, &options))
    }

    /// A table in a new bucket of this server, reached with these options.
    pub(crate) fn on(server: Arc<Server>, options: &S3Options) -> Table {
        let bucket = server.bucket();
        let store = store_in(&bucket, options);
        Table { server, bucket, store }
    }

    /// The table seen through another address.
    pub(crate) fn store_at(&self, address: &str, retry_timeout: Duration) -> LakeStore {
        store_in(&self.bucket, &options(self.server.keys(), address, retry_timeout))
    }

    /// Copies an object of the table with the server's own means.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        let source = format!("x-amz-copy-source: /{}/lake/events/{from}\r\n", self.bucket);
        let path = format!("/{}/lake/events/{to}", self.bucket);
        assert_eq!(self.server.ask_with("PUT", &path, &source).0, 200);
    }

    /// Every key below the table, without the table's own prefix.
    pub(crate) fn keys(&self) -> Vec<String> {
        let (status, list) = self
            .server
            .ask("GET", &format!("/{}?list-type=2&prefix=lake/events/", self.bucket));
        assert_eq!(status, 200);
        let list = String::from_utf8(list).unwrap();
        let keys = list
            .split("<Key>")
            .skip(1)
            .map(|rest| rest.split("</Key>").next().unwrap());
        keys.map(|key| key.strip_prefix("lake/events/").unwrap().to_owned())
            .collect()
    }

    /// What a reader takes for the table.
    pub(crate) fn visible(&self) -> Vec<String> {
        let mut keys = self.keys();
        keys.retain(|key| !key.split('/').any(|part| part.starts_with(['_', '.'])));
        keys.sort_unstable();
        for key in &keys {
            assert!(key.ends_with(".parquet"), "a reader would trip over {key}");
        }
        keys
    }

    pub(crate) fn staged(&self) -> Vec<String> {
        let mut keys = self.keys();
        keys.retain(|key| key.starts_with("_staging/"));
        keys
    }

    /// Uploads that were begun and neither completed nor aborted.
    pub(crate) fn unfinished_uploads(&self) -> usize {
        let (status, list) = self.server.ask("GET", &format!("/{}?uploads", self.bucket));
        assert_eq!(status, 200);
        String::from_utf8(list).unwrap().matches("<UploadId>").count()
    }

    pub(crate) fn values(&self) -> Vec<i64> {
        let mut values: Vec<i64> = self.visible().iter().flat_map(|key| self.values_of(key)).collect();
        values.sort_unstable();
        values
    }

    fn values_of(&self, key: &str) -> Vec<i64> {
        let encoded = |byte: u8| match byte {
            b'/' | b'-' | b'.' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        };
        let key: String = key.bytes().map(encoded).collect();
        let (status, content) = self.server.ask("GET", &format!("/{}/lake/events/{key}", self.bucket));
        assert_eq!(status, 200);
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(content))
            .unwrap()
            .build()
            .unwrap();
        let values = reader.map(|rows| {
            let rows = rows.unwrap();
            rows.column_by_name("value")
                .unwrap()
                .as_primitive::<Int64Type>()
                .values()
                .to_vec()
        });
        values.flatten().collect()
    }
}

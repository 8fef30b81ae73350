//! Records of one source partition → a micro-batch: the payload's columns and the source's own.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Array, Int64Array, ListBuilder, RecordBatch, RecordBatchOptions, StringArray,
    StringBuilder, StructBuilder, TimestampMillisecondArray,
};
use arrow::datatypes::{Field, SchemaRef};

use crate::graph::plan::Projection;
use crate::json::decoder::JsonDecoder;
use crate::json::error::{RowError, RowErrorKind};
use crate::schema::{MetaColumn, header_fields, utc};

/// Keys and headers of a micro-batch hold at most this many bytes each.
const META_BYTES_MAX: usize = i32::MAX as usize;

/// A record, borrowed from wherever it was read.
#[derive(Debug, Clone, Copy)]
pub struct SourceRecord<'a, H> {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp in milliseconds.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its payload; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers. Iterated only if `_headers` is used. Names that are not UTF-8 get U+FFFD for what is not.
    pub headers: H,
}

/// Collects the records of one source partition into a micro-batch of the projected columns.
#[derive(Debug)]
pub struct MicroBatchBuilder {
    schema: SchemaRef,
    decoder: JsonDecoder,
    topic: String,
    partition: i32,
    meta: Vec<MetaBuilder>,
    meta_bytes: usize,
}

#[derive(Debug)]
enum MetaBuilder {
    Topic,
    Partition,
    Offset(Vec<i64>),
    Timestamp(Vec<i64>),
    Key(BinaryBuilder),
    Headers(ListBuilder<StructBuilder>),
}

impl MicroBatchBuilder {
    /// A builder for a partition of a source.
    pub fn new(projection: &Projection, topic: &str, partition: i32) -> Self {
        MicroBatchBuilder {
            schema: projection.schema(),
            decoder: JsonDecoder::new(&projection.fields),
            topic: topic.to_owned(),
            partition,
            meta: projection.meta.iter().map(|column| MetaBuilder::new(*column)).collect(),
            meta_bytes: 0,
        }
    }

    /// The columns: the projection's fields, then its meta columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Appends one row, or nothing at all.
    pub fn push<'a, H>(&mut self, record: SourceRecord<'a, H>) -> Result<(), RowError>
    where
        H: IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    {
        let error = |kind| RowError {
            kind,
            field: None,
            excerpt: String::new(),
        };
        let payload = record.value.ok_or_else(|| error(RowErrorKind::Tombstone))?;
        self.decoder.push(payload)?;
        if self.meta.is_empty() {
            return Ok(());
        }
        let mut headers = Vec::new();
        let mut bytes = record.key.map_or(0, <[u8]>::len);
        if self.meta.iter().any(|meta| matches!(meta, MetaBuilder::Headers(_))) {
            headers.extend(
                record
                    .headers
                    .into_iter()
                    .map(|(name, value)| (String::from_utf8_lossy(name), value)),
            );
            bytes += headers
                .iter()
                .map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len))
                .sum::<usize>();
        }
        if self.meta_bytes + bytes > META_BYTES_MAX {
            self.decoder.truncate(self.decoder.len() - 1);
            return Err(error(RowErrorKind::BatchFull));
        }
        self.meta_bytes += bytes;
        for meta in &mut self.meta {
            match meta {
                MetaBuilder::Topic | MetaBuilder::Partition => {}
                MetaBuilder::Offset(offsets) => offsets.push(record.offset),
                MetaBuilder::Timestamp(timestamps) => timestamps.push(record.timestamp),
                MetaBuilder::Key(keys) => keys.append_option(record.key),
                MetaBuilder::Headers(lists) => {
                    for (name, value) in &headers {
                        let header = lists.values();
                        header
                            .field_builder::<StringBuilder>(0)
                            .expect("name")
                            .append_value(name);
                        header
                            .field_builder::<BinaryBuilder>(1)
                            .expect("value")
                            .append_option(*value);
                        header.append(true);
                    }
                    lists.append(true);
                }
            }
        }
        Ok(())
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.decoder.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.decoder.is_empty()
    }

    /// Takes the rows.
    pub fn finish(&mut self) -> RecordBatch {
        let rows = self.decoder.finish();
        if self.meta.is_empty() {
            return rows;
        }
        self.meta_bytes = 0;
        let count = rows.num_rows();
        let mut columns = rows.columns().to_vec();
        columns.extend(
            self.meta
                .iter_mut()
                .map(|meta| meta.finish(&self.topic, self.partition, count)),
        );
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .expect("every row was appended to every column")
    }
}

impl MetaBuilder {
    fn new(column: MetaColumn) -> Self {
        match column {
            MetaColumn::Topic => MetaBuilder::Topic,
            MetaColumn::Partition => MetaBuilder::Partition,
            MetaColumn::Offset => MetaBuilder::Offset(Vec::new()),
            MetaColumn::Timestamp => MetaBuilder::Timestamp(Vec::new()),
            MetaColumn::Key => MetaBuilder::Key(BinaryBuilder::new()),
            MetaColumn::Headers => MetaBuilder::Headers(
                ListBuilder::new(StructBuilder::from_fields(header_fields(), 0)).with_field(Field::new(
                    "item",
                    arrow::datatypes::DataType::Struct(header_fields()),
                    true,
                )),
            ),
        }
    }

    fn finish(&mut self, topic: &str, partition: i32, rows: usize) -> ArrayRef {
        match self {
            MetaBuilder::Topic => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(topic, rows))),
            MetaBuilder::Partition => Arc::new(Int32Array::from_value(partition, rows)),
            MetaBuilder::Offset(offsets) => Arc::new(Int64Array::from(std::mem::take(offsets))),
            MetaBuilder::Timestamp(timestamps) => {
                Arc::new(TimestampMillisecondArray::from(std::mem::take(timestamps)).with_timezone(utc()))
            }
            MetaBuilder::Key(keys) => Arc::new(keys.finish()),
            MetaBuilder::Headers(headers) => Arc::new(headers.finish()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::encoder::{JsonEncoder, TimestampFormat};

    #[test]
    fn the_sources_own_columns_stand_beside_the_payloads() {
        let fields = vec![crate::schema::Field::new("a", crate::schema::FieldType::Int64)];
        let projection = Projection {
            fields,
            meta: MetaColumn::ALL.to_vec(),
        };
        let mut builder = MicroBatchBuilder::new(&projection, "events", 3);
        for (offset, value) in [
            (7, Some(&b"{\"a\":1}"[..])),
            (8, None),
            (9, Some(b"{\"a\":}")),
            (10, Some(b"{}")),
        ] {
            let headers: [(&[u8], Option<&[u8]>); 2] = [(b"h", Some(b"v")), (b"h\xff", None)];
            let key = (offset == 7).then_some(&b"k"[..]);
            let pushed = builder.push(SourceRecord {
                offset,
                timestamp: offset * 10,
                key,
                value,
                headers,
            });
            assert_eq!(pushed.is_ok(), offset == 7 || offset == 10, "{pushed:?}");
        }
        let batch = builder.finish();
        let encoder = JsonEncoder::new(&batch.schema(), TimestampFormat::default()).unwrap();
        let mut out = Vec::new();
        encoder.rows(&batch).write(0, &mut out);
        out.push(b'\n');
        encoder.rows(&batch).write(1, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"a\":1,\"_topic\":\"events\",\"_partition\":3,\"_offset\":7,\"_timestamp\":70,\"_key\":\"k\",\"_headers\":[{\"name\":\"h\",\"value\":\"v\"},{\"name\":\"h\u{fffd}\",\"value\":null}]}\n\
             {\"a\":null,\"_topic\":\"events\",\"_partition\":3,\"_offset\":10,\"_timestamp\":100,\"_key\":null,\"_headers\":[{\"name\":\"h\",\"value\":\"v\"},{\"name\":\"h\u{fffd}\",\"value\":null}]}"
        );
        assert!(builder.is_empty() && builder.finish().num_rows() == 0);
    }

    /// Pitfall 24 of the stream engine: a null payload (tombstone) panics.
    #[test]
    fn a_tombstone_is_a_typed_error_and_leaves_nothing_behind() {
        let fields = vec![crate::schema::Field::new("a", crate::schema::FieldType::Int64)];
        let mut builder = MicroBatchBuilder::new(&Projection { fields, meta: vec![] }, "events", 0);
        let record = SourceRecord {
            offset: 0,
            timestamp: 0,
            key: None,
            value: None,
            headers: [],
        };
        assert_eq!(builder.push(record).unwrap_err().kind, RowErrorKind::Tombstone);
        let empty = SourceRecord {
            value: Some(b""),
            ..record
        };
        assert_eq!(builder.push(empty).unwrap_err().kind, RowErrorKind::Empty);
        assert!(builder.is_empty());
    }
}

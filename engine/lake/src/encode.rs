//! From the caller's columns to Parquet's: which leave, which timestamps change, how each is encoded.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::datatypes::{TimestampMicrosecondType, TimestampNanosecondType};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Compression as ParquetCompression, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr};

use crate::config::{Compression, LakeConfig, TimestampPrecision};

/// Turns the caller's batches into those of the files.
#[derive(Debug)]
pub(crate) struct FileEncoding {
    /// The columns of the caller that are kept.
    columns: Vec<usize>,
    pub(crate) schema: SchemaRef,
    pub(crate) properties: WriterPropertiesPtr,
}

impl FileEncoding {
    pub(crate) fn new(schema: &Schema, columns: Vec<usize>, config: &LakeConfig) -> Result<FileEncoding, ParquetError> {
        let fields = columns.iter().map(|&index| {
            let field = schema.field(index);
            Field::new(
                field.name(),
                file_type(field.data_type(), config.timestamps),
                field.is_nullable(),
            )
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let mut properties = WriterProperties::builder()
            .set_created_by(concat!("engine-lake ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(match config.compression {
                Compression::None => ParquetCompression::UNCOMPRESSED,
                Compression::Snappy => ParquetCompression::SNAPPY,
                Compression::Lz4Raw => ParquetCompression::LZ4_RAW,
                Compression::Gzip => ParquetCompression::GZIP(Default::default()),
            })
            .set_max_row_group_row_count(Some(config.row_group_rows))
            .set_dictionary_enabled(false);
        if config.dictionary {
            for column in ArrowSchemaConverter::new().convert(&schema)?.columns() {
                if column.physical_type() == PhysicalType::BYTE_ARRAY {
                    properties = properties.set_column_dictionary_enabled(column.path().clone(), true);
                }
            }
        }
        Ok(FileEncoding {
            columns,
            schema,
            properties: Arc::new(properties.build()),
        })
    }

    pub(crate) fn convert(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let columns = self
            .columns
            .iter()
            .zip(self.schema.fields())
            .map(|(&index, field)| convert_column(batch.column(index), field.data_type()))
            .collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
}

fn file_type(data_type: &DataType, precision: TimestampPrecision) -> DataType {
    match data_type {
        DataType::Timestamp(TimeUnit::Nanosecond, _) if precision == TimestampPrecision::Keep => {
            DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
        }
        DataType::Timestamp(..) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        other => other.clone(),
    }
}

/// A timestamp without a zone counts from the epoch in UTC already; one with a zone does too, by Arrow's definition.
fn convert_column(column: &ArrayRef, file_type: &DataType) -> Result<ArrayRef, ArrowError> {
    let (DataType::Timestamp(unit, _), DataType::Timestamp(file_unit, _)) = (column.data_type(), file_type) else {
        return Ok(Arc::clone(column));
    };
    // A coarse timestamp too large for microseconds is an error, not a silent null.
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    Ok(match (unit, file_unit) {
        (_, TimeUnit::Nanosecond) => Arc::new(
            column
                .as_primitive::<TimestampNanosecondType>()
                .clone()
                .with_timezone("UTC"),
        ),
        (TimeUnit::Nanosecond, _) => {
            let nanoseconds = column.as_primitive::<TimestampNanosecondType>();
            let microseconds = nanoseconds.unary::<_, TimestampMicrosecondType>(|value| value.div_euclid(1_000));
            Arc::new(microseconds.with_timezone("UTC"))
        }
        (unit, _) => {
            let integers = cast_with_options(column, &DataType::Int64, &options)?;
            let unzoned = cast_with_options(&integers, &DataType::Timestamp(*unit, None), &options)?;
            let microseconds =
                cast_with_options(&unzoned, &DataType::Timestamp(TimeUnit::Microsecond, None), &options)?;
            Arc::new(
                microseconds
                    .as_primitive::<TimestampMicrosecondType>()
                    .clone()
                    .with_timezone("UTC"),
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::{TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn converted(column: ArrayRef, precision: TimestampPrecision) -> Result<(DataType, Vec<Option<i64>>), ArrowError> {
        let file_type = file_type(column.data_type(), precision);
        let converted = convert_column(&column, &file_type)?;
        let integers = arrow::compute::cast(&converted, &DataType::Int64)?;
        Ok((file_type, integers.as_primitive::<Int64Type>().iter().collect()))
    }

    #[test]
    fn timestamps_become_utc_microseconds_or_finer() {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let nanos = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        let milliseconds: ArrayRef =
            Arc::new(TimestampMillisecondArray::from(vec![Some(-1), None, Some(7)]).with_timezone("+02:00"));
        let nanoseconds: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![-1, 1_999]));
        assert_eq!(
            converted(milliseconds, TimestampPrecision::Keep).unwrap(),
            (micros.clone(), vec![Some(-1_000), None, Some(7_000)])
        );
        assert_eq!(
            converted(nanoseconds.clone(), TimestampPrecision::Keep).unwrap(),
            (nanos, vec![Some(-1), Some(1_999)])
        );
        assert_eq!(
            converted(nanoseconds, TimestampPrecision::Micros).unwrap(),
            (micros, vec![Some(-1), Some(1)])
        );
    }

    #[test]
    fn a_timestamp_that_does_not_fit_is_an_error_and_not_a_null() {
        let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(vec![i64::MAX]));
        assert!(converted(seconds, TimestampPrecision::Keep).is_err());
    }
}

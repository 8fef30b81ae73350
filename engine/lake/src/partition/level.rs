//! One level of partition folders: its column, and the value of it in each row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema, TimeUnit, TimestampMicrosecondType};
use arrow::datatypes::{TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::config::PartitionBy;
use crate::layout::NAME_BYTES_MAX;

/// One level of partition folders.
#[derive(Debug)]
pub(crate) struct Level {
    pub(crate) name: String,
    pub(crate) column: usize,
    /// For a derived date: the timestamps per day.
    pub(crate) per_day: Option<i64>,
}

/// A partitioning that the schema does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartitionError {
    /// No such column.
    #[error("partition column {column:?} does not exist; the columns are {columns}")]
    Missing {
        /// The column.
        column: String,
        /// What there is.
        columns: String,
    },
    /// A type whose values make no folder names.
    #[error(
        "cannot partition by {column:?}, a {data_type}: use strings, integers, booleans, dates, or the date of a timestamp"
    )]
    Type {
        /// The column.
        column: String,
        /// Its type.
        data_type: DataType,
    },
    /// The date of something that has none.
    #[error("cannot take the date of {column:?}: it is a {data_type}, not a timestamp")]
    NotATimestamp {
        /// The column.
        column: String,
        /// Its type.
        data_type: DataType,
    },
    /// Two folder levels with one name, or a derived level with a column's name.
    #[error("partition {0:?} would be named twice")]
    Twice(String),
    /// A folder name that readers skip or cannot read.
    #[error("{0:?} cannot name a partition folder: it is empty, too long, or begins with '_' or '.'")]
    Name(String),
    /// Nothing left for the files.
    #[error("every column is a partition column: a file needs at least one more")]
    NoColumns,
}

impl Level {
    pub(crate) fn new(schema: &Schema, by: &PartitionBy) -> Result<Level, PartitionError> {
        let find = |column: &str| {
            schema.index_of(column).map_err(|_| PartitionError::Missing {
                column: column.to_owned(),
                columns: schema
                    .fields()
                    .iter()
                    .map(|field| field.name().as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
            })
        };
        let name = by.name();
        if name.is_empty() || name.starts_with(['_', '.']) || name.len() > NAME_BYTES_MAX / 4 {
            return Err(PartitionError::Name(name.to_owned()));
        }
        match by {
            PartitionBy::Column(column) => {
                let index = find(column)?;
                let data_type = schema.field(index).data_type();
                if !makes_folders(value_type(data_type)) {
                    return Err(PartitionError::Type {
                        column: column.clone(),
                        data_type: data_type.clone(),
                    });
                }
                Ok(Level {
                    name: column.clone(),
                    column: index,
                    per_day: None,
                })
            }
            PartitionBy::Date { name, timestamp_column } => {
                let index = find(timestamp_column)?;
                if schema.index_of(name).is_ok() {
                    return Err(PartitionError::Twice(name.clone()));
                }
                let DataType::Timestamp(unit, _) = schema.field(index).data_type() else {
                    return Err(PartitionError::NotATimestamp {
                        column: timestamp_column.clone(),
                        data_type: schema.field(index).data_type().clone(),
                    });
                };
                let per_second = match unit {
                    TimeUnit::Second => 1,
                    TimeUnit::Millisecond => 1_000,
                    TimeUnit::Microsecond => 1_000_000,
                    TimeUnit::Nanosecond => 1_000_000_000,
                };
                Ok(Level {
                    name: name.clone(),
                    column: index,
                    per_day: Some(86_400 * per_second),
                })
            }
        }
    }

    pub(crate) fn values(&self, batch: &RecordBatch) -> Result<ArrayRef, ArrowError> {
        let column = batch.column(self.column);
        let Some(per_day) = self.per_day else {
            return match column.data_type() {
                DataType::Dictionary(_, value) => cast(column, value),
                _ => Ok(Arc::clone(column)),
            };
        };
        let DataType::Timestamp(unit, _) = column.data_type() else {
            return Err(ArrowError::SchemaError(format!("{} is not a timestamp", self.name)));
        };
        let day = |timestamp: i64| timestamp.div_euclid(per_day);
        let days: Int64Array = match unit {
            TimeUnit::Second => column.as_primitive::<TimestampSecondType>().unary(day),
            TimeUnit::Millisecond => column.as_primitive::<TimestampMillisecondType>().unary(day),
            TimeUnit::Microsecond => column.as_primitive::<TimestampMicrosecondType>().unary(day),
            TimeUnit::Nanosecond => column.as_primitive::<TimestampNanosecondType>().unary(day),
        };
        Ok(Arc::new(days))
    }
}

pub(crate) fn value_type(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, value) => value,
        other => other,
    }
}

fn makes_folders(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Boolean | DataType::Date32
        )
}

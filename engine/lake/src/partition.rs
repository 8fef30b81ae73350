//! Which partition folder each row belongs to.

pub(crate) mod level;

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Int64Type, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use self::level::{Level, PartitionError, value_type};
use crate::config::PartitionBy;
use crate::layout;
use crate::layout::partition_path::PartitionFolder;

/// Splits batches by partition folder.
#[derive(Debug)]
pub(crate) struct Partitioner {
    levels: Vec<Level>,
    rows: Option<RowConverter>,
}

/// The rows of one folder.
#[derive(Debug)]
pub(crate) struct Partition {
    /// Relative to the table; empty without partitions.
    pub(crate) folder: String,
    /// Whether a value was too long for a folder name.
    pub(crate) is_shortened: bool,
    pub(crate) rows: RecordBatch,
}

/// Rows that cannot be split.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// Arrow refused.
    #[error("cannot split rows by partition")]
    Arrow(#[from] ArrowError),
}

impl Partitioner {
    pub(crate) fn new(schema: &Schema, partition_by: &[PartitionBy]) -> Result<Partitioner, PartitionError> {
        let mut levels: Vec<Level> = Vec::with_capacity(partition_by.len());
        for by in partition_by {
            let level = Level::new(schema, by)?;
            if levels.iter().any(|other| other.name == level.name) {
                return Err(PartitionError::Twice(level.name));
            }
            levels.push(level);
        }
        let by_value = levels.iter().filter(|level| level.per_day.is_none()).count();
        if by_value == schema.fields().len() {
            return Err(PartitionError::NoColumns);
        }
        let fields = levels.iter().map(|level| {
            SortField::new(match level.per_day {
                Some(_) => DataType::Int64,
                None => value_type(schema.field(level.column).data_type()).clone(),
            })
        });
        let fields: Vec<_> = fields.collect();
        let rows =
            (!fields.is_empty()).then(|| RowConverter::new(fields).expect("every partition type has a row format"));
        Ok(Partitioner { levels, rows })
    }

    /// The columns that stay in the files.
    pub(crate) fn file_columns(&self, schema: &Schema) -> Vec<usize> {
        let is_folder = |index: &usize| {
            self.levels
                .iter()
                .any(|level| level.per_day.is_none() && level.column == *index)
        };
        (0..schema.fields().len()).filter(|index| !is_folder(index)).collect()
    }

    /// The rows of each partition, in order of first appearance. Rows keep their order.
    pub(crate) fn split(&self, batch: &RecordBatch) -> Result<Vec<Partition>, SplitError> {
        let Some(converter) = &self.rows else {
            return Ok(vec![Partition {
                folder: String::new(),
                is_shortened: false,
                rows: batch.clone(),
            }]);
        };
        let columns = self
            .levels
            .iter()
            .map(|level| level.values(batch))
            .collect::<Result<Vec<_>, _>>()?;
        let rows = converter.convert_columns(&columns)?;
        let mut partitions: Vec<Vec<u32>> = Vec::new();
        let mut by_row = HashMap::new();
        let mut previous = None;
        for (index, row) in rows.iter().enumerate() {
            // Neighbours usually belong together: a comparison is cheaper than a hash.
            let partition = match previous {
                Some((partition, previous)) if previous == row => partition,
                _ => *by_row.entry(row).or_insert_with(|| {
                    partitions.push(Vec::new());
                    partitions.len() - 1
                }),
            };
            partitions[partition].push(u32::try_from(index).expect("a batch has fewer than 2^32 rows"));
            previous = Some((partition, row));
        }
        let is_single = partitions.len() == 1;
        let take = |indices: Vec<u32>| {
            let (folder, is_shortened) = self.folder(&columns, indices[0] as usize)?;
            let rows = if is_single {
                batch.clone()
            } else {
                take_record_batch(batch, &UInt32Array::from(indices))?
            };
            Ok(Partition {
                folder,
                is_shortened,
                rows,
            })
        };
        partitions.into_iter().map(take).collect()
    }

    fn folder(&self, columns: &[ArrayRef], row: usize) -> Result<(String, bool), SplitError> {
        let (mut path, mut is_shortened) = (String::new(), false);
        for (level, column) in self.levels.iter().zip(columns) {
            let value = if column.is_null(row) {
                None
            } else if level.per_day.is_some() {
                Some(layout::date_text(column.as_primitive::<Int64Type>().value(row)))
            } else {
                Some(
                    ArrayFormatter::try_new(column, &FormatOptions::new())?
                        .value(row)
                        .try_to_string()?,
                )
            };
            let folder = PartitionFolder::new(&level.name, value.as_deref(), self.levels.len());
            is_shortened |= folder.is_shortened;
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(&folder.name);
        }
        Ok((path, is_shortened))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Date32Array, DictionaryArray, Int64Array, StringArray, TimestampNanosecondArray};
    use arrow::datatypes::{Field, Int32Type, TimeUnit};

    use super::*;

    fn split(columns: Vec<(&str, ArrayRef)>, partition_by: &[PartitionBy]) -> Vec<(String, usize)> {
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
                .unwrap();
        let partitioner = Partitioner::new(batch.schema_ref(), partition_by).unwrap();
        partitioner
            .split(&batch)
            .unwrap()
            .into_iter()
            .map(|partition| (partition.folder, partition.rows.num_rows()))
            .collect()
    }

    #[test]
    fn rows_go_to_the_folder_of_their_date_and_value() {
        const DAY: i64 = 86_400_000_000_000;
        let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![
            Some(0),
            Some(-1),
            Some(DAY - 1),
            Some(DAY),
            None,
        ]));
        let names: ArrayRef = Arc::new(StringArray::from(vec![
            Some("a"),
            Some("a"),
            Some("a"),
            Some("b/c"),
            None,
        ]));
        assert_eq!(
            split(
                vec![("time", times), ("name", names)],
                &[PartitionBy::date_of("dt", "time"), PartitionBy::column("name")]
            ),
            [
                ("dt=1970-01-01/name=a".to_owned(), 2),
                ("dt=1969-12-31/name=a".to_owned(), 1),
                ("dt=1970-01-02/name=b%2Fc".to_owned(), 1),
                (
                    "dt=__HIVE_DEFAULT_PARTITION__/name=__HIVE_DEFAULT_PARTITION__".to_owned(),
                    1
                ),
            ]
        );
    }

    #[test]
    fn every_partitionable_type_has_a_plain_folder_name() {
        let rest: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let dictionary: DictionaryArray<Int32Type> = vec!["x"].into_iter().collect();
        for (array, folder) in [
            (Arc::new(Int64Array::from(vec![-5])) as ArrayRef, "p=-5"),
            (Arc::new(BooleanArray::from(vec![true])), "p=true"),
            (Arc::new(Date32Array::from(vec![20_455])), "p=2026-01-02"),
            (Arc::new(dictionary), "p=x"),
        ] {
            let found = split(vec![("p", array), ("rest", rest.clone())], &[PartitionBy::column("p")]);
            assert_eq!(found, [(folder.to_owned(), 1)]);
        }
    }

    #[test]
    fn mistakes_are_found_before_the_first_row() {
        let schema = Schema::new(vec![
            Field::new("price", DataType::Float64, false),
            Field::new("name", DataType::Utf8, false),
            Field::new("time", DataType::Timestamp(TimeUnit::Second, None), false),
        ]);
        for (partition_by, message) in [
            (
                vec![PartitionBy::column("nmae")],
                "partition column \"nmae\" does not exist; the columns are price, name, time",
            ),
            (
                vec![PartitionBy::column("price")],
                "cannot partition by \"price\", a Float64: use strings, integers, booleans, dates, or the date of a timestamp",
            ),
            (
                vec![PartitionBy::date_of("dt", "name")],
                "cannot take the date of \"name\": it is a Utf8, not a timestamp",
            ),
            (
                vec![PartitionBy::date_of("name", "time")],
                "partition \"name\" would be named twice",
            ),
            (
                vec![PartitionBy::column("name"), PartitionBy::column("name")],
                "partition \"name\" would be named twice",
            ),
            (
                vec![PartitionBy::date_of("_dt", "time")],
                "\"_dt\" cannot name a partition folder: it is empty, too long, or begins with '_' or '.'",
            ),
        ] {
            assert_eq!(
                Partitioner::new(&schema, &partition_by).unwrap_err().to_string(),
                message
            );
        }
        let only = Schema::new(vec![Field::new("name", DataType::Utf8, false)]);
        assert_eq!(
            Partitioner::new(&only, &[PartitionBy::column("name")]).unwrap_err(),
            PartitionError::NoColumns
        );
    }
}

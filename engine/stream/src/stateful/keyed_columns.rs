//! Where the event time and the columns of a key are in an operator's input.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, SchemaRef};

use super::error::OperatorError;
use super::group_index::GroupKeys;
use crate::schema::type_name;
use crate::snapshot::ipc::schema_message::is_storable;

/// The columns that an operator with event time and keys reads, resolved and checked.
#[derive(Debug)]
pub(crate) struct KeyedColumns {
    /// The position of the event time.
    pub(crate) time_column: usize,
    /// The positions of the key's columns.
    pub(crate) key_columns: Vec<usize>,
    /// The key's columns.
    pub(crate) key_fields: Vec<FieldRef>,
    /// How rows are told apart by them.
    pub(crate) keys: GroupKeys,
}

impl KeyedColumns {
    /// Resolves the columns by their names.
    pub(crate) fn resolve(input: &SchemaRef, time_column: &str, keys: &[String]) -> Result<Self, OperatorError> {
        let is_time = |column: &usize| matches!(input.field(*column).data_type(), DataType::Timestamp(..));
        let time_column =
            input
                .index_of(time_column)
                .ok()
                .filter(is_time)
                .ok_or_else(|| OperatorError::NoEventTime {
                    column: time_column.to_owned(),
                })?;
        let key_columns = keys.iter().map(|name| {
            input
                .index_of(name)
                .map_err(|_| OperatorError::NoGroupColumn { column: name.clone() })
        });
        let key_columns = key_columns.collect::<Result<Vec<_>, _>>()?;
        let key_fields: Vec<FieldRef> = key_columns
            .iter()
            .map(|column| Arc::clone(&input.fields()[*column]))
            .collect();
        let are_storable = key_fields.iter().all(|field| is_storable(field.data_type()));
        let keys = GroupKeys::new(key_fields.clone()).filter(|_| are_storable);
        let keys = keys.ok_or_else(|| OperatorError::Ungroupable {
            columns: key_fields
                .iter()
                .map(|field| type_name(field.data_type()))
                .collect::<Vec<_>>()
                .join(", "),
        })?;
        Ok(KeyedColumns {
            time_column,
            key_columns,
            key_fields,
            keys,
        })
    }
}

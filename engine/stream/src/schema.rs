//! What the records of a source look like: field types as written in `pipeline.toml`, and the
//! columns that every source offers beside its own fields.
//!
//! Never here: how a payload is parsed (see `json`), or which columns a pipeline needs (see `graph`).

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field as ArrowField, Fields, Schema, SchemaRef, TimeUnit};

/// The type of a field, by the names of `pipeline.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldType {
    /// UTF-8 text.
    String,
    /// `true` or `false`.
    Bool,
    /// A signed 32-bit integer.
    Int32,
    /// A signed 64-bit integer.
    Int64,
    /// An IEEE 754 double.
    Float64,
    /// A moment in UTC, counted in this unit since 1970. Always within the range of `i64` nanoseconds.
    Timestamp(TimeUnit),
    /// A calendar day, `2026-01-31`.
    Date,
}

impl FieldType {
    /// Every valid name, in the order in which an error lists them.
    pub const NAMES: [&'static str; 10] = [
        "string",
        "bool",
        "int32",
        "int64",
        "float64",
        "timestamp(s)",
        "timestamp(ms)",
        "timestamp(us)",
        "timestamp(ns)",
        "date",
    ];

    /// The Arrow type of the column; timestamps are in UTC.
    pub fn data_type(self) -> DataType {
        match self {
            FieldType::String => DataType::Utf8,
            FieldType::Bool => DataType::Boolean,
            FieldType::Int32 => DataType::Int32,
            FieldType::Int64 => DataType::Int64,
            FieldType::Float64 => DataType::Float64,
            FieldType::Timestamp(unit) => DataType::Timestamp(unit, Some(utc())),
            FieldType::Date => DataType::Date32,
        }
    }

    /// Its name in `pipeline.toml`.
    pub fn name(self) -> &'static str {
        match self {
            FieldType::String => "string",
            FieldType::Bool => "bool",
            FieldType::Int32 => "int32",
            FieldType::Int64 => "int64",
            FieldType::Float64 => "float64",
            FieldType::Timestamp(TimeUnit::Second) => "timestamp(s)",
            FieldType::Timestamp(TimeUnit::Millisecond) => "timestamp(ms)",
            FieldType::Timestamp(TimeUnit::Microsecond) => "timestamp(us)",
            FieldType::Timestamp(TimeUnit::Nanosecond) => "timestamp(ns)",
            FieldType::Date => "date",
        }
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FieldType {
    type Err = FieldTypeError;

    fn from_str(text: &str) -> Result<Self, FieldTypeError> {
        let name: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        match name.to_ascii_lowercase().as_str() {
            "string" => Ok(FieldType::String),
            "bool" => Ok(FieldType::Bool),
            "int32" => Ok(FieldType::Int32),
            "int64" => Ok(FieldType::Int64),
            "float64" => Ok(FieldType::Float64),
            "timestamp(s)" => Ok(FieldType::Timestamp(TimeUnit::Second)),
            "timestamp(ms)" => Ok(FieldType::Timestamp(TimeUnit::Millisecond)),
            "timestamp(us)" => Ok(FieldType::Timestamp(TimeUnit::Microsecond)),
            "timestamp(ns)" => Ok(FieldType::Timestamp(TimeUnit::Nanosecond)),
            "date" => Ok(FieldType::Date),
            _ => Err(FieldTypeError { found: text.to_owned() }),
        }
    }
}

/// A field type that does not exist. The message lists those that do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no type \"{found}\"; the types are {}", FieldType::NAMES.join(", "))]
pub struct FieldTypeError {
    /// What was written.
    pub found: String,
}

/// One field of a source's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The column's name.
    pub name: String,
    /// The key in the record, where it differs from `name`.
    pub from: Option<String>,
    /// The column's type.
    pub field_type: FieldType,
    /// Whether a record without it (or with null) is malformed.
    pub required: bool,
}

impl Field {
    /// An optional field whose key in the record is its name.
    pub fn new(name: impl Into<String>, field_type: FieldType) -> Self {
        Field {
            name: name.into(),
            from: None,
            field_type,
            required: false,
        }
    }

    /// The key in the record.
    pub fn key(&self) -> &str {
        self.from.as_deref().unwrap_or(&self.name)
    }

    /// The column's Arrow field.
    pub fn arrow(&self) -> ArrowField {
        ArrowField::new(&self.name, self.field_type.data_type(), !self.required)
    }
}

/// A column that every source offers, whatever its records hold. It is built only where a pipeline uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MetaColumn {
    /// `_topic`, a string.
    Topic,
    /// `_partition`, an int32.
    Partition,
    /// `_offset`, an int64.
    Offset,
    /// `_timestamp`, the record's timestamp in milliseconds, UTC.
    Timestamp,
    /// `_key`, the record's key as bytes, or null.
    Key,
    /// `_headers`, a list of `{name, value}`; values are bytes or null.
    Headers,
}

impl MetaColumn {
    /// All of them, in the order of `pipeline.md`.
    pub const ALL: [MetaColumn; 6] = [
        MetaColumn::Topic,
        MetaColumn::Partition,
        MetaColumn::Offset,
        MetaColumn::Timestamp,
        MetaColumn::Key,
        MetaColumn::Headers,
    ];

    /// The column's name.
    pub fn name(self) -> &'static str {
        match self {
            MetaColumn::Topic => "_topic",
            MetaColumn::Partition => "_partition",
            MetaColumn::Offset => "_offset",
            MetaColumn::Timestamp => "_timestamp",
            MetaColumn::Key => "_key",
            MetaColumn::Headers => "_headers",
        }
    }

    /// The column of this name, if there is one.
    pub fn from_name(name: &str) -> Option<MetaColumn> {
        MetaColumn::ALL.into_iter().find(|column| column.name() == name)
    }

    /// The column's Arrow field.
    pub fn arrow(self) -> ArrowField {
        let (data_type, nullable) = match self {
            MetaColumn::Topic => (DataType::Utf8, false),
            MetaColumn::Partition => (DataType::Int32, false),
            MetaColumn::Offset => (DataType::Int64, false),
            MetaColumn::Timestamp => (DataType::Timestamp(TimeUnit::Millisecond, Some(utc())), false),
            MetaColumn::Key => (DataType::Binary, true),
            MetaColumn::Headers => {
                let item = ArrowField::new("item", DataType::Struct(header_fields()), true);
                (DataType::List(Arc::new(item)), false)
            }
        };
        ArrowField::new(self.name(), data_type, nullable)
    }
}

/// The columns `{name, value}` of one record header.
pub(crate) fn header_fields() -> Fields {
    Fields::from(vec![
        ArrowField::new("name", DataType::Utf8, false),
        ArrowField::new("value", DataType::Binary, true),
    ])
}

/// The fields of a source, checked: at least one, no name twice, no name of a [`MetaColumn`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSchema {
    fields: Vec<Field>,
}

impl SourceSchema {
    /// Checks the fields.
    pub fn new(fields: Vec<Field>) -> Result<Self, SchemaError> {
        let mut names = HashSet::new();
        for field in &fields {
            if field.name.is_empty() {
                return Err(SchemaError::Unnamed);
            }
            if MetaColumn::from_name(&field.name).is_some() {
                return Err(SchemaError::Reserved {
                    name: field.name.clone(),
                });
            }
            if !names.insert(field.name.as_str()) {
                return Err(SchemaError::Duplicate {
                    name: field.name.clone(),
                });
            }
        }
        if fields.is_empty() {
            return Err(SchemaError::Empty);
        }
        Ok(SourceSchema { fields })
    }

    /// The fields, in the order in which they were written.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The columns of the fields alone.
    pub fn arrow(&self) -> SchemaRef {
        Arc::new(Schema::new(self.fields.iter().map(Field::arrow).collect::<Vec<_>>()))
    }

    /// The columns of the fields, then every [`MetaColumn`]: all that an expression on the source may name.
    pub fn arrow_with_meta(&self) -> SchemaRef {
        let fields = self.fields.iter().map(Field::arrow);
        Arc::new(Schema::new(
            fields.chain(MetaColumn::ALL.map(MetaColumn::arrow)).collect::<Vec<_>>(),
        ))
    }
}

/// Why a list of fields is no schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// There are no fields.
    #[error("a schema needs at least one field")]
    Empty,
    /// A field has an empty name.
    #[error("a field needs a name")]
    Unnamed,
    /// The name belongs to a column that every source has.
    #[error("\"{name}\" is a column that every source already has; rename the field with `from = \"{name}\"`")]
    Reserved {
        /// The field's name.
        name: String,
    },
    /// Two fields have one name.
    #[error("the field \"{name}\" is there twice")]
    Duplicate {
        /// The field's name.
        name: String,
    },
}

/// The name of an Arrow type as a user of `pipeline.toml` knows it: `int64`, `timestamp(ms)`, `list of string`.
pub fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".to_owned(),
        DataType::Boolean => "bool".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "binary".to_owned()
        }
        DataType::Timestamp(unit, _) => FieldType::Timestamp(*unit).to_string(),
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::List(item) | DataType::LargeList(item) => format!("list of {}", type_name(item.data_type())),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("decimal({precision}, {scale})")
        }
        DataType::Interval(_) | DataType::Duration(_) => "interval".to_owned(),
        DataType::Struct(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|field| format!("{} {}", field.name(), type_name(field.data_type())))
                .collect();
            format!("struct({})", fields.join(", "))
        }
        DataType::Null => "null".to_owned(),
        other => other.to_string().to_ascii_lowercase(),
    }
}

/// The time zone of every timestamp column.
pub(crate) fn utc() -> Arc<str> {
    Arc::from("UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_type_name_parses_and_prints_itself() {
        for name in FieldType::NAMES {
            assert_eq!(name.parse::<FieldType>().unwrap().to_string(), name);
            assert_eq!(type_name(&name.parse::<FieldType>().unwrap().data_type()), name);
        }
    }

    #[test]
    fn a_wrong_type_name_is_answered_with_the_right_ones() {
        let error = "varchar".parse::<FieldType>().unwrap_err().to_string();
        assert!(
            error.contains("\"varchar\"") && error.contains("string, bool, int32"),
            "{error}"
        );
    }

    #[test]
    fn a_schema_refuses_names_that_collide() {
        let field = |name: &str| Field::new(name, FieldType::Int64);
        for (fields, error) in [
            (vec![], SchemaError::Empty),
            (vec![field("")], SchemaError::Unnamed),
            (
                vec![field("a"), field("a")],
                SchemaError::Duplicate { name: "a".into() },
            ),
            (vec![field("_offset")], SchemaError::Reserved { name: "_offset".into() }),
        ] {
            assert_eq!(SourceSchema::new(fields), Err(error));
        }
    }
}

//! The types that a state's columns may have, as Arrow's schema message tells them.
//!
//! arrow-ipc panics at a type it does not know or that lacks a part, so only what is listed here gets that far. Dictionaries
//! are not: their values would be in messages of their own, and no state has them.

use arrow::datatypes::{
    DECIMAL32_MAX_PRECISION, DECIMAL64_MAX_PRECISION, DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType,
};
use arrow::ipc::{DateUnit, Endianness, Field, IntervalUnit, KeyValue, Precision, Schema, TimeUnit, Type};

use super::error::IpcError;

/// A field's table and its place in a vector have at least this many bytes.
const FIELD_BYTES_MIN: usize = 8;

/// Whether a column of this type can be written and read back.
pub(crate) fn is_storable(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(..)
        | DataType::Map(..)
        | DataType::Union(..)
        | DataType::RunEndEncoded(..)
        | DataType::ListView(_)
        | DataType::LargeListView(_) => false,
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            is_storable(field.data_type())
        }
        DataType::Struct(fields) => fields.iter().all(|field| is_storable(field.data_type())),
        _ => true,
    }
}

/// Checks that every field has a type that there is, with all its parts. `bytes` is how long the message is.
pub(super) fn check(schema: Schema<'_>, bytes: usize) -> Result<(), IpcError> {
    if schema.endianness() != Endianness::Little {
        return Err(IpcError::message(format!("it is {:?}-endian", schema.endianness())));
    }
    let fields = schema
        .fields()
        .ok_or_else(|| IpcError::message("a schema has no fields"))?;
    let mut check = SchemaCheck { room: bytes };
    schema
        .custom_metadata()
        .into_iter()
        .flatten()
        .try_for_each(|entry| check.metadata(entry))?;
    fields.iter().try_for_each(|field| check.field(field))
}

/// A flatbuffer may name one table or text many times over, and each becomes a copy. The writer never does, so all of them
/// together are smaller than the message.
struct SchemaCheck {
    room: usize,
}

impl SchemaCheck {
    fn spend(&mut self, bytes: usize) -> Result<(), IpcError> {
        let left = self.room.checked_sub(bytes);
        self.room = left.ok_or_else(|| IpcError::message("a schema says more than it has bytes"))?;
        Ok(())
    }

    fn metadata(&mut self, entry: KeyValue<'_>) -> Result<(), IpcError> {
        self.spend(FIELD_BYTES_MIN + entry.key().map_or(0, str::len) + entry.value().map_or(0, str::len))
    }

    fn field(&mut self, field: Field<'_>) -> Result<(), IpcError> {
        self.spend(FIELD_BYTES_MIN + field.name().map_or(0, str::len))?;
        field
            .custom_metadata()
            .into_iter()
            .flatten()
            .try_for_each(|entry| self.metadata(entry))?;
        let impossible = || IpcError::Column {
            column: field.name().unwrap_or_default().to_owned(),
            what: format!("the impossible type {:?}", field.type_type()),
        };
        if field.dictionary().is_some() || !is_possible(field).unwrap_or(false) {
            return Err(impossible());
        }
        let children = field.children().map_or(0, |children| children.len());
        let has_children = match field.type_type() {
            Type::List | Type::LargeList | Type::FixedSizeList => children == 1,
            Type::Struct_ => children > 0,
            _ => children == 0,
        };
        if !has_children {
            return Err(impossible());
        }
        field
            .children()
            .into_iter()
            .flatten()
            .try_for_each(|child| self.field(child))
    }
}

/// Whether there is a type of these parts; `None` if one is missing.
fn is_possible(field: Field<'_>) -> Option<bool> {
    let is_possible = match field.type_type() {
        Type::Null
        | Type::Bool
        | Type::Binary
        | Type::LargeBinary
        | Type::BinaryView
        | Type::Utf8
        | Type::LargeUtf8
        | Type::Utf8View
        | Type::List
        | Type::LargeList
        | Type::Struct_ => true,
        Type::Int => [8, 16, 32, 64].contains(&field.type_as_int()?.bitWidth()),
        Type::FloatingPoint => {
            let precision = field.type_as_floating_point()?.precision();
            [Precision::HALF, Precision::SINGLE, Precision::DOUBLE].contains(&precision)
        }
        Type::FixedSizeBinary => field.type_as_fixed_size_binary()?.byteWidth() > 0,
        Type::FixedSizeList => field.type_as_fixed_size_list()?.listSize() > 0,
        Type::Decimal => {
            let decimal = field.type_as_decimal()?;
            let precision_max = i32::from(match decimal.bitWidth() {
                32 => DECIMAL32_MAX_PRECISION,
                64 => DECIMAL64_MAX_PRECISION,
                128 => DECIMAL128_MAX_PRECISION,
                256 => DECIMAL256_MAX_PRECISION,
                _ => return None,
            });
            let (precision, scale) = (decimal.precision(), decimal.scale());
            (1..=precision_max).contains(&precision) && (-precision_max..=precision_max).contains(&scale)
        }
        Type::Date => [DateUnit::DAY, DateUnit::MILLISECOND].contains(&field.type_as_date()?.unit()),
        Type::Time => {
            let time = field.type_as_time()?;
            match time.bitWidth() {
                32 => [TimeUnit::SECOND, TimeUnit::MILLISECOND].contains(&time.unit()),
                64 => [TimeUnit::MICROSECOND, TimeUnit::NANOSECOND].contains(&time.unit()),
                _ => false,
            }
        }
        Type::Timestamp => {
            let timestamp = field.type_as_timestamp()?;
            is_time_unit(timestamp.unit()) && timestamp.timezone() != Some("")
        }
        Type::Duration => is_time_unit(field.type_as_duration()?.unit()),
        Type::Interval => {
            let units = [
                IntervalUnit::YEAR_MONTH,
                IntervalUnit::DAY_TIME,
                IntervalUnit::MONTH_DAY_NANO,
            ];
            units.contains(&field.type_as_interval()?.unit())
        }
        _ => false,
    };
    Some(is_possible)
}

fn is_time_unit(unit: TimeUnit) -> bool {
    unit.variant_name().is_some()
}

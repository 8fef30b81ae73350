//! Why a record cannot be read as its schema says.

use std::fmt;

/// A malformed record: what was expected where, and what is there instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// What is wrong.
    pub kind: RowErrorKind,
    /// The field at fault, by its key in the record; `None` where the record as a whole is.
    pub field: Option<String>,
    /// A piece of the record, at most [`RowError::EXCERPT_BYTES_MAX`] bytes of it.
    pub excerpt: String,
}

/// The ways in which a record is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowErrorKind {
    /// There is no payload: a tombstone.
    Tombstone,
    /// The payload has no bytes, or only white space.
    Empty,
    /// The payload is not UTF-8, from this byte on.
    NotUtf8 {
        /// The first byte that is no UTF-8.
        position: usize,
    },
    /// The payload is not JSON.
    NotJson {
        /// The byte at which it stops being JSON.
        position: usize,
        /// What JSON would have there.
        expected: &'static str,
    },
    /// The payload is JSON, but no object.
    NotAnObject,
    /// Objects and lists are nested too deeply.
    TooDeep {
        /// The limit.
        depth_max: usize,
    },
    /// A value of another type.
    WrongType {
        /// The name of the field's type.
        expected: &'static str,
    },
    /// A number or a time that the field's type cannot hold.
    OutOfRange {
        /// The name of the field's type.
        expected: &'static str,
    },
    /// A required field is missing or null.
    Missing,
    /// Not the record's fault: the micro-batch is full. Take it with `finish` and push the record again.
    BatchFull,
}

impl RowError {
    /// The longest excerpt.
    pub const EXCERPT_BYTES_MAX: usize = 80;
}

impl std::error::Error for RowError {}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = &self.field {
            write!(f, "field \"{field}\": ")?;
        }
        match self.kind {
            RowErrorKind::Tombstone => return f.write_str("the record is a tombstone: it has no payload"),
            RowErrorKind::Empty => return f.write_str("the payload is empty"),
            RowErrorKind::Missing => return f.write_str("required, but missing or null"),
            RowErrorKind::BatchFull => return f.write_str("the micro-batch is full"),
            RowErrorKind::NotUtf8 { position } => write!(f, "not UTF-8 at byte {position}")?,
            RowErrorKind::NotJson { position, expected } => {
                write!(f, "not JSON at byte {position}: expected {expected}")?;
            }
            RowErrorKind::NotAnObject => f.write_str("expected a JSON object")?,
            RowErrorKind::TooDeep { depth_max } => write!(f, "nested more than {depth_max} levels deep")?,
            RowErrorKind::WrongType { expected } => write!(f, "expected {expected}")?,
            RowErrorKind::OutOfRange { expected } => write!(f, "out of range for {expected}")?,
        }
        match self.excerpt.as_str() {
            "" => f.write_str(", found the end of the payload"),
            excerpt => write!(f, ", found {excerpt}"),
        }
    }
}

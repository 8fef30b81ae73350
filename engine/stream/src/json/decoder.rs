//! JSON objects → the columns a pipeline needs, and nothing else: no value is built for a field that nobody uses.
//!
//! Records of one topic have their keys in the same order nearly always, so the decoder remembers the order of the
//! record before and compares instead of looking up. `bench/src/bin/json.rs` shows what that brings.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use foldhash::fast::FixedState;

use super::column::ColumnBuilder;
use super::error::{RowError, RowErrorKind};
use super::quotes::Quotes;
use super::scanner::{RawValue, ScanError, Scanner, unescape};
use crate::schema::Field;

/// More keys of a record than this are looked up, not remembered.
const REMEMBERED_KEYS_MAX: usize = 256;
/// A longer key is looked up, not remembered.
const REMEMBERED_KEY_BYTES_MAX: usize = 256;
/// The micro-batch is full when a string column would hold more.
const TEXT_BYTES_MAX: usize = i32::MAX as usize;

/// Parses JSON objects (RFC 8259) straight into the builders of the wanted columns.
///
/// Strict: what is wrong anywhere in a record, also in a field that nobody wants, makes it malformed.
/// Of a key that is there twice the last value counts. Numbers may stand in strings.
#[derive(Debug)]
pub struct JsonDecoder {
    schema: SchemaRef,
    columns: Vec<ColumnBuilder>,
    is_required: Vec<bool>,
    /// Which key each column reads.
    column_keys: Vec<usize>,
    keys: HashMap<String, usize, FixedState>,
    /// The keys of the last record in their order, in quotes, and which of `keys` they are.
    remembered: Vec<(Box<[u8]>, Option<usize>)>,
    values: Vec<RawValue>,
    quotes: Quotes,
    scratch: String,
    length: usize,
}

impl JsonDecoder {
    /// Nesting deeper than this is malformed.
    pub const DEPTH_MAX: usize = 128;

    /// A decoder of these fields; their order is the column order. Two fields may read one key.
    pub fn new(fields: &[Field]) -> Self {
        let mut keys: HashMap<String, usize, FixedState> = HashMap::default();
        let column_keys = fields.iter().map(|field| {
            let next = keys.len();
            *keys.entry(field.key().to_owned()).or_insert(next)
        });
        let column_keys = column_keys.collect();
        JsonDecoder {
            schema: Arc::new(Schema::new(fields.iter().map(Field::arrow).collect::<Vec<_>>())),
            columns: fields
                .iter()
                .map(|field| ColumnBuilder::new(field.field_type))
                .collect(),
            is_required: fields.iter().map(|field| field.required).collect(),
            column_keys,
            values: vec![RawValue::Missing; keys.len()],
            keys,
            remembered: Vec::new(),
            quotes: Quotes::default(),
            scratch: String::new(),
            length: 0,
        }
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends one row, or nothing at all.
    ///
    /// A micro-batch holds at most 2 GiB of text per column: at that point the error is [`RowErrorKind::BatchFull`].
    pub fn push(&mut self, payload: &[u8]) -> Result<(), RowError> {
        let text = match str::from_utf8(payload) {
            Ok(text) => text,
            Err(error) => {
                let position = error.valid_up_to();
                let excerpt = String::from_utf8_lossy(&payload[position..payload.len().min(position + 16)]);
                return Err(RowError {
                    kind: RowErrorKind::NotUtf8 { position },
                    field: None,
                    excerpt: excerpt.into(),
                });
            }
        };
        self.scan(text)?;
        for column in 0..self.columns.len() {
            if let Err(kind) = self.append(column, text) {
                return Err(self.refuse(column, kind, text));
            }
        }
        self.length += 1;
        Ok(())
    }

    /// Takes the rows.
    pub fn finish(&mut self) -> RecordBatch {
        let columns = self.columns.iter_mut().map(ColumnBuilder::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(std::mem::take(&mut self.length)));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .expect("every row was appended to every column, and required ones without null")
    }

    /// Forgets the last row, if it was appended.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.columns.iter_mut().for_each(|column| column.truncate(length));
        self.length = self.length.min(length);
    }

    #[inline]
    fn append(&mut self, column: usize, text: &str) -> Result<(), RowErrorKind> {
        let value = self.values[self.column_keys[column]];
        if self.is_required[column] && matches!(value, RawValue::Missing | RawValue::Null) {
            return Err(RowErrorKind::Missing);
        }
        let builder = &mut self.columns[column];
        if let RawValue::String { start, end, .. } = value
            && builder.text_bytes() + (end - start) > TEXT_BYTES_MAX
        {
            return Err(RowErrorKind::BatchFull);
        }
        builder.append(value, text, &mut self.scratch)
    }

    #[cold]
    fn refuse(&mut self, column: usize, kind: RowErrorKind, text: &str) -> RowError {
        self.truncate(self.length);
        let start = match self.values[self.column_keys[column]] {
            RawValue::Number { start, .. } | RawValue::Object { start } | RawValue::Array { start } => Some(start),
            RawValue::String { start, .. } => Some(start - 1),
            _ => None,
        };
        let excerpt = match (start, self.values[self.column_keys[column]]) {
            (_, RawValue::Number { start, end, .. }) => excerpt(&text[start..end]),
            (_, RawValue::String { start, end, .. }) => excerpt(&text[start - 1..end + 1]),
            (_, RawValue::Bool(value)) => value.to_string(),
            (Some(start), _) => excerpt(&text[start..]),
            (None, _) => "null".to_owned(),
        };
        RowError {
            kind,
            field: Some(self.schema.field(column).name().clone()),
            excerpt,
        }
    }

    /// Fills `values`.
    fn scan(&mut self, text: &str) -> Result<(), RowError> {
        let mut quotes = std::mem::take(&mut self.quotes);
        quotes.fill(text.as_bytes());
        let scanned = self.scan_record(Scanner::with_quotes(text, JsonDecoder::DEPTH_MAX, &quotes), text);
        self.quotes = quotes;
        scanned
    }

    #[inline]
    fn scan_record(&mut self, mut scanner: Scanner<'_>, text: &str) -> Result<(), RowError> {
        self.values.fill(RawValue::Missing);
        scanner.skip_space();
        match scanner.peek() {
            Some(b'{') => {}
            None => {
                return Err(RowError {
                    kind: RowErrorKind::Empty,
                    field: None,
                    excerpt: String::new(),
                });
            }
            Some(_) => {
                let excerpt = excerpt(&text[scanner.position()..]);
                return Err(RowError {
                    kind: RowErrorKind::NotAnObject,
                    field: None,
                    excerpt,
                });
            }
        }
        self.scan_object(&mut scanner, text)
            .map_err(|error| scan_error(error, text))
    }

    #[inline]
    fn scan_object(&mut self, scanner: &mut Scanner<'_>, text: &str) -> Result<(), ScanError> {
        scanner.expect(b'{', "`{`")?;
        scanner.skip_space();
        if scanner.peek() == Some(b'}') {
            scanner.expect(b'}', "`}`")?;
            return scanner.end();
        }
        let mut ordinal = 0;
        loop {
            let key = match self.remembered.get(ordinal) {
                Some((bytes, key)) if scanner.eat(bytes) => *key,
                _ => self.look_up(scanner, text, ordinal)?,
            };
            ordinal += 1;
            scanner.skip_space();
            scanner.expect(b':', "`:`")?;
            scanner.skip_space();
            let value = scanner.value()?;
            if let Some(key) = key {
                self.values[key] = value;
            }
            scanner.skip_space();
            match scanner.peek() {
                Some(b',') => scanner.expect(b',', "`,`")?,
                Some(b'}') => {
                    scanner.expect(b'}', "`}`")?;
                    return scanner.end();
                }
                _ => return Err(scanner.unexpected("`,` or `}`")),
            }
            scanner.skip_space();
        }
    }

    #[cold]
    fn look_up(&mut self, scanner: &mut Scanner<'_>, text: &str, ordinal: usize) -> Result<Option<usize>, ScanError> {
        let RawValue::String {
            start,
            end,
            has_escapes,
        } = scanner.string()?
        else {
            return Err(scanner.unexpected("a key"));
        };
        let key = if has_escapes {
            self.scratch.clear();
            unescape(&text[start..end], &mut self.scratch);
            self.keys.get(self.scratch.as_str())
        } else {
            self.keys.get(&text[start..end])
        };
        let key = key.copied();
        let quoted = &text.as_bytes()[start - 1..=end];
        if ordinal < REMEMBERED_KEYS_MAX && quoted.len() <= REMEMBERED_KEY_BYTES_MAX {
            let is_next = self.remembered.len() == ordinal;
            match self.remembered.get_mut(ordinal) {
                Some(remembered) => *remembered = (quoted.into(), key),
                // Every ordinal before was looked up or remembered; one with an overlong key ends the memory.
                None if is_next => self.remembered.push((quoted.into(), key)),
                None => {}
            }
        }
        Ok(key)
    }
}

#[cold]
fn scan_error(error: ScanError, text: &str) -> RowError {
    let (kind, position) = match error {
        ScanError::Unexpected { position, expected } => (RowErrorKind::NotJson { position, expected }, position),
        ScanError::TooDeep { position } => (
            RowErrorKind::TooDeep {
                depth_max: JsonDecoder::DEPTH_MAX,
            },
            position,
        ),
    };
    // The scanner may have stopped within an escape, but never within a character.
    RowError {
        kind,
        field: None,
        excerpt: excerpt(text.get(position..).unwrap_or_default()),
    }
}

fn excerpt(text: &str) -> String {
    if text.len() <= RowError::EXCERPT_BYTES_MAX {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(RowError::EXCERPT_BYTES_MAX - "…".len());
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests;

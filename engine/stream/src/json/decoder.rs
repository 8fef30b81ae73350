//! JSON objects → the columns a pipeline needs, and nothing else: no value is built for a field that nobody uses.
//!
//! `bench/src/bin/json.rs` shows how fast.

use std::collections::HashMap;
use std::str::Utf8Error;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use foldhash::fast::FixedState;

use super::column::ColumnBuilder;
use super::error::{RowError, RowErrorKind};
use super::escape::unescape;
use super::number;
use super::quotes::Quotes;
use super::scanner::{RawValue, ScanError, Scanner, behind_space};
use super::shape::Shape;
use crate::schema::Field;

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
    keys: HashMap<Box<[u8]>, usize, FixedState>,
    shape: Shape,
    values: Vec<RawValue>,
    quotes: Quotes,
    scratch: Vec<u8>,
    length: usize,
}

impl JsonDecoder {
    /// Nesting deeper than this is malformed.
    pub const DEPTH_MAX: usize = 128;

    /// A decoder of these fields; their order is the column order. Two fields may read one key.
    pub fn new(fields: &[Field]) -> Self {
        let mut keys: HashMap<Box<[u8]>, usize, FixedState> = HashMap::default();
        let column_keys = fields.iter().map(|field| {
            let next = keys.len();
            *keys.entry(field.key().as_bytes().into()).or_insert(next)
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
            shape: Shape::default(),
            quotes: Quotes::default(),
            scratch: Vec::new(),
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
        self.scan(payload)?;
        for column in 0..self.columns.len() {
            if let Err(kind) = self.append(column, payload) {
                return Err(self.refuse(column, kind, payload));
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
    fn append(&mut self, column: usize, record: &[u8]) -> Result<(), RowErrorKind> {
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
        builder.append(value, record, &mut self.scratch)
    }

    #[cold]
    fn refuse(&mut self, column: usize, kind: RowErrorKind, record: &[u8]) -> RowError {
        self.truncate(self.length);
        let excerpt = match self.values[self.column_keys[column]] {
            RawValue::Number { start, end, .. } => excerpt(&record[start..end]),
            RawValue::String { start, end, .. } => excerpt(&record[start - 1..end + 1]),
            RawValue::Object { start } | RawValue::Array { start } => excerpt(&record[start..]),
            RawValue::Bool(value) => value.to_string(),
            RawValue::Integer(value) => value.to_string(),
            RawValue::Missing | RawValue::Null => "null".to_owned(),
        };
        let key = self.column_keys[column];
        let key = self.keys.iter().find(|(_, index)| **index == key).map(|(key, _)| key);
        RowError {
            kind,
            field: key.map(|key| String::from_utf8_lossy(key).into_owned()),
            excerpt,
        }
    }

    /// Fills `values`.
    fn scan(&mut self, record: &[u8]) -> Result<(), RowError> {
        let mut quotes = std::mem::take(&mut self.quotes);
        quotes.fill(record);
        let is_text = match quotes.is_ascii() {
            true => Ok(()),
            false => str::from_utf8(record)
                .map(drop)
                .map_err(|error| not_utf8(error, record)),
        };
        let scanned = is_text.and_then(|()| {
            self.scan_object(record, &quotes)
                .map_err(|error| scan_error(error, record))
        });
        self.quotes = quotes;
        scanned
    }

    /// What is ordinary (known keys, strings without escapes, integers) is read here, all else by a [`Scanner`].
    fn scan_object(&mut self, record: &[u8], quotes: &Quotes) -> Result<(), ScanError> {
        self.values.fill(RawValue::Missing);
        let scanner = |position| Scanner::within(record, position, JsonDecoder::DEPTH_MAX, quotes);
        let mut position = match open(scanner(0))? {
            Some(position) => position,
            None => return Ok(()),
        };
        let mut next = 0;
        loop {
            let wanted = match self.shape.find(next, &record[position..]) {
                Some(found) => {
                    (position, next) = (position + found.length, found.next);
                    found.wanted
                }
                None => self.read_key(scanner(position), record, &mut position, &mut next)?,
            };
            let (byte, value_start) = next_byte(record, position);
            let value = match byte {
                b'"' if quotes.is_plain() => {
                    let start = value_start + 1;
                    let Some(end) = quotes.next(start) else {
                        return Err(scanner(record.len()).unexpected("the string's closing quote"));
                    };
                    position = end + 1;
                    RawValue::String {
                        start,
                        end,
                        has_escapes: false,
                    }
                }
                _ => match number::integer_at(record, value_start) {
                    Some((value, end)) => {
                        position = end;
                        RawValue::Integer(value)
                    }
                    None => {
                        let mut scanner = scanner(value_start);
                        let value = scanner.value()?;
                        position = scanner.position();
                        value
                    }
                },
            };
            if let Some(wanted) = wanted {
                self.values[wanted] = value;
            }
            let (byte, separator) = next_byte(record, position);
            match byte {
                b',' => position = next_byte(record, separator + 1).1,
                b'}' => return scanner(separator + 1).end(),
                _ => return Err(scanner(separator).unexpected("`,` or `}`")),
            }
        }
    }

    /// Reads a key and its colon, and remembers them. Returns which wanted key it is.
    #[cold]
    fn read_key(
        &mut self,
        mut scanner: Scanner<'_>,
        record: &[u8],
        position: &mut usize,
        next: &mut usize,
    ) -> Result<Option<usize>, ScanError> {
        let RawValue::String {
            start,
            end,
            has_escapes,
        } = scanner.string()?
        else {
            return Err(scanner.unexpected("a key"));
        };
        scanner.skip_space();
        scanner.expect(b':', "`:`")?;
        let wanted = if has_escapes {
            self.scratch.clear();
            unescape(&record[start..end], &mut self.scratch);
            self.keys.get(self.scratch.as_slice())
        } else {
            self.keys.get(&record[start..end])
        };
        let wanted = wanted.copied();
        *next = self.shape.learn(*next, &record[*position..scanner.position()], wanted);
        *position = scanner.position();
        Ok(wanted)
    }
}

/// The next byte that is no white space, and its position; zero at the end of the record.
#[inline(always)]
fn next_byte(record: &[u8], position: usize) -> (u8, usize) {
    match record.get(position) {
        Some(byte) if *byte > b' ' => (*byte, position),
        _ => {
            let position = behind_space(record, position);
            (record.get(position).copied().unwrap_or(0), position)
        }
    }
}

/// Where the first key of a record's object begins; `None` if the object is empty.
#[inline]
fn open(mut scanner: Scanner<'_>) -> Result<Option<usize>, ScanError> {
    scanner.skip_space();
    scanner.expect(b'{', "`{`")?;
    scanner.skip_space();
    if scanner.peek() != Some(b'}') {
        return Ok(Some(scanner.position()));
    }
    scanner.expect(b'}', "`}`")?;
    scanner.end().map(|()| None)
}

#[cold]
fn not_utf8(error: Utf8Error, record: &[u8]) -> RowError {
    let position = error.valid_up_to();
    let excerpt = String::from_utf8_lossy(&record[position..record.len().min(position + 16)]);
    RowError {
        kind: RowErrorKind::NotUtf8 { position },
        field: None,
        excerpt: excerpt.into(),
    }
}

#[cold]
fn scan_error(error: ScanError, record: &[u8]) -> RowError {
    let first = record.trim_ascii_start();
    let (kind, found) = match error {
        _ if first.is_empty() => (RowErrorKind::Empty, first),
        _ if first[0] != b'{' => (RowErrorKind::NotAnObject, first),
        ScanError::Unexpected { position, expected } => (
            RowErrorKind::NotJson { position, expected },
            &record[position.min(record.len())..],
        ),
        ScanError::TooDeep { position } => {
            let depth_max = JsonDecoder::DEPTH_MAX;
            (RowErrorKind::TooDeep { depth_max }, &record[position..])
        }
    };
    RowError {
        kind,
        field: None,
        excerpt: excerpt(found),
    }
}

/// The beginning of a piece of a record, which is UTF-8.
fn excerpt(text: &[u8]) -> String {
    let (cut, end) = match text.len() {
        length if length <= RowError::EXCERPT_BYTES_MAX => (length, ""),
        _ => (RowError::EXCERPT_BYTES_MAX - "…".len(), "…"),
    };
    let cut = &text[..cut];
    let whole = str::from_utf8(cut).map_or_else(|error| &cut[..error.valid_up_to()], |_| cut);
    format!("{}{end}", String::from_utf8_lossy(whole))
}

#[cfg(test)]
mod tests;

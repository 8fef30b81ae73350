//! What was written: a pipeline file as a tree of values that know their place.
//!
//! Variables are substituted inside strings, after TOML has been parsed: a value can never change the
//! shape of the file, comments stay comments, and spans stay right.
//! Never here: which keys there are and what they mean (see `resolve`).

use std::ops::Range;

use toml_edit::{Item, TableLike, Value as TomlValue};

use super::diagnostic::Diagnostic;
use super::source_text::{SourceText, Span};
use super::text::Text;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(Text),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// TOML's dates and times, which no key of ours takes.
    Datetime,
    Array(Vec<Node>),
    Table(Table),
}

/// Entries in the order of the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) node: Node,
}

/// What turns TOML into a tree.
pub(crate) struct Reader<'a> {
    pub(crate) source: SourceText,
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Node {
    /// What was found, for a message about a wrong type.
    pub(crate) fn found(&self) -> &'static str {
        match &self.value {
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Boolean(_) => "a boolean",
            Value::Datetime => "a date or time",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }
}

impl Table {
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The entry at the end of a path of keys.
    pub(crate) fn find(&self, path: &[&str]) -> Option<&Entry> {
        let (first, rest) = path.split_first()?;
        let entry = self.entry(first)?;
        match (&entry.node.value, rest) {
            (_, []) => Some(entry),
            (Value::Table(table), rest) => table.find(rest),
            _ => None,
        }
    }
}

impl Reader<'_> {
    /// Parses a whole text. A syntax error ends it: TOML after one cannot be trusted.
    pub(crate) fn document(&mut self) -> Option<Table> {
        let source = self.source.clone();
        match toml_edit::Document::parse(source.text()) {
            Ok(document) => Some(self.table(document.as_table(), &(0..0))),
            Err(error) => {
                let end = self.source.text().len();
                let span = self.source.span(error.span().unwrap_or(end..end));
                let message = error.message().trim().lines().next().unwrap_or("not valid").to_owned();
                let notes = error
                    .message()
                    .trim()
                    .lines()
                    .skip(1)
                    .map(str::to_owned)
                    .collect::<Vec<_>>();
                let diagnostic = Diagnostic::error(&span, format!("this is not valid TOML: {message}"));
                self.diagnostics
                    .push(notes.into_iter().fold(diagnostic, Diagnostic::note));
                None
            }
        }
    }

    fn table(&mut self, table: &dyn TableLike, near: &Range<usize>) -> Table {
        let mut entries = Vec::new();
        for (name, item) in table.iter() {
            let key_range = table
                .key(name)
                .and_then(toml_edit::Key::span)
                .unwrap_or_else(|| near.clone());
            if let Some(node) = self.item(item, &key_range) {
                entries.push(Entry {
                    key: name.to_owned(),
                    key_span: self.source.span(key_range),
                    node,
                });
            }
        }
        Table { entries }
    }

    fn item(&mut self, item: &Item, near: &Range<usize>) -> Option<Node> {
        let range = item.span().unwrap_or_else(|| near.clone());
        let value = match item {
            Item::None => return None,
            Item::Value(value) => return Some(self.value(value, near)),
            Item::Table(table) => {
                // A table's place is its name: the rest may be spread over the file.
                let value = Value::Table(self.table(table, near));
                return Some(Node {
                    span: self.source.span(near.clone()),
                    value,
                });
            }
            Item::ArrayOfTables(tables) => Value::Array(
                tables
                    .iter()
                    .map(|table| Node {
                        span: self.source.span(table.span().unwrap_or_else(|| near.clone())),
                        value: Value::Table(self.table(table, near)),
                    })
                    .collect(),
            ),
        };
        Some(Node {
            span: self.source.span(range),
            value,
        })
    }

    pub(crate) fn value(&mut self, value: &TomlValue, near: &Range<usize>) -> Node {
        let range = value.span().unwrap_or_else(|| near.clone());
        let span = self.source.span(range.clone());
        let value = match value {
            TomlValue::String(text) => {
                let (text, mut mistakes) = Text::substituted(text.value(), &span, self.variable);
                self.diagnostics.append(&mut mistakes);
                Value::Text(text)
            }
            TomlValue::Integer(number) => Value::Integer(*number.value()),
            TomlValue::Float(number) => Value::Float(*number.value()),
            TomlValue::Boolean(boolean) => Value::Boolean(*boolean.value()),
            TomlValue::Datetime(_) => Value::Datetime,
            TomlValue::Array(array) => Value::Array(array.iter().map(|item| self.value(item, &range)).collect()),
            TomlValue::InlineTable(table) => Value::Table(self.table(table, &range)),
        };
        Node { span, value }
    }
}

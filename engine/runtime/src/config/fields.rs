//! Reading the keys of one table: types, ranges, unknown and missing keys. Every mistake is noted, and reading goes on.
//!
//! Never here: what a particular key means.

use std::cell::RefCell;
use std::num::NonZeroU64;
use std::time::Duration;

use super::diagnostic::{Diagnostic, quoted};
use super::document::{Node, Table, Value};
use super::source_text::Span;
use super::text::Text;
use super::values;

/// What has been found wrong so far.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    diagnostics: RefCell<Vec<Diagnostic>>,
}

impl Problems {
    pub(crate) fn push(&self, diagnostic: Diagnostic) {
        self.diagnostics.borrow_mut().push(diagnostic);
    }

    pub(crate) fn error(&self, span: &Span, message: impl Into<String>) {
        self.push(Diagnostic::error(span, message));
    }

    pub(crate) fn into_vec(self) -> Vec<Diagnostic> {
        self.diagnostics.into_inner()
    }
}

/// A table and its place.
#[derive(Clone)]
pub(crate) struct Fields<'a> {
    /// Its path, for messages: `sources.events`; empty for the whole file.
    pub(crate) path: String,
    pub(crate) table: &'a Table,
    pub(crate) span: Span,
    pub(crate) problems: &'a Problems,
}

/// A text and its place.
#[derive(Clone, Copy)]
pub(crate) struct Written<'a> {
    pub(crate) text: &'a Text,
    pub(crate) span: &'a Span,
}

impl<'a> Written<'a> {
    pub(crate) fn as_str(&self) -> &'a str {
        &self.text.text
    }
}

impl<'a> Fields<'a> {
    /// Refuses every key that is in none of these lists.
    pub(crate) fn only(&self, valid: &[&[&str]]) {
        let valid = valid.concat();
        for entry in self
            .table
            .entries
            .iter()
            .filter(|entry| !valid.contains(&entry.key.as_str()))
        {
            let place = if self.path.is_empty() {
                String::new()
            } else {
                format!(" in `{}`", self.path)
            };
            let diagnostic = Diagnostic::error(&entry.key_span, format!("unknown key {}{place}", quoted(&entry.key)));
            self.problems
                .push(diagnostic.suggest("keys", &entry.key, valid.iter().copied()));
        }
    }

    pub(crate) fn node(&self, key: &str) -> Option<&'a Node> {
        self.table.entry(key).map(|entry| &entry.node)
    }

    /// Where a key's value is, or the table if it is missing.
    pub(crate) fn span_of(&self, key: &str) -> Span {
        self.node(key)
            .map_or_else(|| self.span.clone(), |node| node.span.clone())
    }

    pub(crate) fn missing(&self, key: &str, what: &str) {
        let place = if self.path.is_empty() {
            "the pipeline".to_owned()
        } else {
            format!("`{}`", self.path)
        };
        self.problems
            .error(&self.span, format!("{place} needs `{key}`: {what}"));
    }

    pub(crate) fn wrong(&self, key: &str, node: &Node, what: &str) {
        self.problems
            .error(&node.span, format!("`{key}` is {what}, found {}", node.found()));
    }

    pub(crate) fn text(&self, key: &str, what: &str) -> Option<Written<'a>> {
        let node = self.node(key)?;
        match &node.value {
            // What a variable should have filled is reported where the variable is.
            Value::Text(text) if text.text.trim().is_empty() && text.is_flexible && !node.span.source.is_flag() => None,
            Value::Text(text) if text.text.trim().is_empty() => {
                self.problems
                    .error(&node.span, format!("`{key}` is {what}, found an empty string"));
                None
            }
            Value::Text(text) => Some(Written { text, span: &node.span }),
            _ => {
                self.wrong(key, node, &format!("a string ({what})"));
                None
            }
        }
    }

    pub(crate) fn required_text(&self, key: &str, what: &str) -> Option<Written<'a>> {
        if self.node(key).is_none() {
            self.missing(key, what);
        }
        self.text(key, what)
    }

    /// One of several words.
    pub(crate) fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let written = self.text(key, &one_of(words))?;
        let found = words.iter().find(|(word, _)| *word == written.as_str());
        if found.is_none() {
            let diagnostic = Diagnostic::error(written.span, format!("`{key}` cannot be {}", quoted(written.as_str())));
            self.problems
                .push(diagnostic.suggest("values", written.as_str(), words.iter().map(|(word, _)| *word)));
        }
        found.map(|(_, value)| *value)
    }

    pub(crate) fn required_choice<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        if self.node(key).is_none() {
            self.missing(key, &one_of(words));
        }
        self.choice(key, words)
    }

    pub(crate) fn boolean(&self, key: &str) -> Option<bool> {
        let node = self.node(key)?;
        match &node.value {
            Value::Boolean(boolean) => return Some(*boolean),
            Value::Text(text) if text.is_flexible && text.text == "true" => return Some(true),
            Value::Text(text) if text.is_flexible && text.text == "false" => return Some(false),
            _ => self.wrong(key, node, "true or false"),
        }
        None
    }

    /// A whole number of at least `min` and at most `max`.
    pub(crate) fn integer(&self, key: &str, min: u64, max: u64) -> Option<u64> {
        let node = self.node(key)?;
        let number = match &node.value {
            Value::Integer(number) => Some(*number),
            Value::Text(text) if text.is_flexible => text.text.trim().replace('_', "").parse::<i64>().ok(),
            _ => None,
        };
        let Some(number) = number else {
            self.wrong(key, node, "a whole number");
            return None;
        };
        match u64::try_from(number).ok().filter(|number| (min..=max).contains(number)) {
            Some(number) => Some(number),
            None => {
                self.problems.error(
                    &node.span,
                    format!("`{key}` is a whole number from {min} to {max}, found {number}"),
                );
                None
            }
        }
    }

    /// A finite number greater than zero.
    pub(crate) fn positive(&self, key: &str) -> Option<f64> {
        let node = self.node(key)?;
        let number = match &node.value {
            #[expect(clippy::cast_precision_loss, reason = "rates are far below 2^53")]
            Value::Integer(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            Value::Text(text) if text.is_flexible => text.text.trim().replace('_', "").parse::<f64>().ok(),
            _ => None,
        };
        let Some(number) = number else {
            self.wrong(key, node, "a number");
            return None;
        };
        if number.is_finite() && number > 0.0 && number <= 1e12 {
            return Some(number);
        }
        self.problems.error(
            &node.span,
            format!("`{key}` is a number greater than 0 and at most 1e12, found {number}"),
        );
        None
    }

    pub(crate) fn duration(&self, key: &str) -> Option<Duration> {
        const WHAT: &str = "a duration such as \"10s\"";
        let written = self.text(key, WHAT)?;
        let result = values::duration(written.as_str());
        self.parsed(key, WHAT, written, result)
    }

    pub(crate) fn positive_duration(&self, key: &str) -> Option<Duration> {
        let duration = self.duration(key)?;
        if duration.is_zero() {
            self.problems
                .error(&self.span_of(key), format!("`{key}` must be longer than zero"));
        }
        (!duration.is_zero()).then_some(duration)
    }

    pub(crate) fn size(&self, key: &str) -> Option<NonZeroU64> {
        const WHAT: &str = "a size such as \"128MB\"";
        let written = self.text(key, WHAT)?;
        let result = values::size(written.as_str());
        self.parsed(key, WHAT, written, result)
    }

    /// An array of texts, none empty, none twice.
    pub(crate) fn texts(&self, key: &str, what: &str) -> Option<Vec<Written<'a>>> {
        let node = self.node(key)?;
        let Value::Array(items) = &node.value else {
            self.wrong(key, node, what);
            return None;
        };
        let mut texts: Vec<Written<'a>> = Vec::new();
        for item in items {
            match &item.value {
                Value::Text(text) if text.text.is_empty() && text.is_flexible => {}
                Value::Text(text) if text.text.is_empty() => {
                    self.problems
                        .error(&item.span, format!("`{key}` is {what}, found an empty string in it"));
                }
                Value::Text(text) if texts.iter().any(|other| other.as_str() == text.text) => {
                    self.problems
                        .error(&item.span, format!("{} is there twice", quoted(&text.text)));
                }
                Value::Text(text) => texts.push(Written { text, span: &item.span }),
                _ => self
                    .problems
                    .error(&item.span, format!("`{key}` is {what}, found {} in it", item.found())),
            }
        }
        Some(texts)
    }

    /// A table below this one.
    pub(crate) fn fields(&self, key: &str) -> Option<Fields<'a>> {
        let entry = self.table.entry(key)?;
        let path = if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        };
        match &entry.node.value {
            Value::Table(table) => Some(Fields {
                path,
                table,
                span: entry.key_span.clone(),
                problems: self.problems,
            }),
            _ => {
                self.problems.error(
                    &entry.node.span,
                    format!("`{path}` is a table, found {}", entry.node.found()),
                );
                None
            }
        }
    }

    /// Every table below this one, under the names that the user chose.
    pub(crate) fn named(&self) -> Vec<(&'a str, Fields<'a>)> {
        self.table
            .entries
            .iter()
            .filter_map(|entry| Some((entry.key.as_str(), self.fields(&entry.key)?)))
            .collect()
    }

    /// Names and SQL texts.
    pub(crate) fn expressions(&self, key: &str) -> Option<Vec<(String, String)>> {
        let fields = self.fields(key)?;
        let pairs = fields.table.entries.iter().filter_map(|entry| {
            let written = fields.text(&entry.key, "an SQL expression in a string")?;
            Some((entry.key.clone(), written.as_str().to_owned()))
        });
        Some(pairs.collect())
    }

    fn parsed<T>(&self, key: &str, what: &str, written: Written<'_>, result: Result<T, String>) -> Option<T> {
        result
            .map_err(|reason| {
                let found = quoted(written.as_str());
                self.problems.push(
                    Diagnostic::error(written.span, format!("{found} is not a value for `{key}`: {reason}"))
                        .note(format!("`{key}` is {what}")),
                );
            })
            .ok()
    }
}

fn one_of<T>(words: &[(&str, T)]) -> String {
    let words: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    if words.len() == 1 {
        words.concat()
    } else {
        format!("one of {}", words.join(", "))
    }
}

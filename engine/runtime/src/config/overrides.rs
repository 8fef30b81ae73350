//! `--set a.b.c=value`: a flag that writes into the document.
//!
//! The value needs no quotes; what begins like a TOML array, table or string is read as TOML.
//! Never here: which keys there are.

use super::diagnostic::{Diagnostic, quoted};
use super::document::{Entry, Node, Reader, Table, Value};
use super::source_text::{SourceText, Span};
use super::text::Text;

/// Applies one flag to the document.
pub(crate) fn apply(
    document: &mut Table,
    flag: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(), Vec<Diagnostic>> {
    let source = SourceText::flag(flag);
    let whole = source.span(0..flag.len());
    let Some((path, value)) = flag.split_once('=') else {
        let message = "a `--set` flag is `key=value`, such as `kafka.linger.ms=20`";
        return Err(vec![Diagnostic::error(&whole, message)]);
    };
    let key_span = source.span(0..path.trim_end().len().max(1));
    let keys = match toml_edit::Key::parse(path.trim()) {
        Ok(keys) if !keys.is_empty() => keys.iter().map(|key| key.get().to_owned()).collect::<Vec<_>>(),
        _ => {
            return Err(vec![Diagnostic::error(
                &key_span,
                format!("{} is not a key", quoted(path)),
            )]);
        }
    };
    let node = read_value(&source, path.len() + 1, value, variable)?;
    insert(document, &keys, node, &key_span).map_err(|diagnostic| vec![diagnostic])
}

fn read_value(
    source: &SourceText,
    start: usize,
    value: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Node, Vec<Diagnostic>> {
    let text = value.trim();
    let start = start + (value.len() - value.trim_start().len());
    let span = source.span(start..start + text.len());
    if !text.starts_with(['[', '{', '"', '\'']) {
        return Ok(Node {
            span,
            value: Value::Text(Text::verbatim(text, start)),
        });
    }
    // The path before the value is blanked, so that TOML's spans are those of the flag.
    let padded = format!("v={}{text}", " ".repeat(start.saturating_sub(2)));
    let shift = padded.len() - text.len() - start;
    let mistake = |message: &str| {
        vec![Diagnostic::error(
            &span,
            format!("this is not a valid value: {message}"),
        )
        .note("what begins with `[`, `{` or a quote is read as TOML; a text that begins so has to be quoted: key='\"[::1]:9092\"'")]
    };
    let document = match toml_edit::Document::parse(padded.as_str()) {
        Ok(document) => document,
        Err(error) => return Err(mistake(error.message().lines().next().unwrap_or("not TOML"))),
    };
    let Some(parsed) = document.get("v").and_then(toml_edit::Item::as_value) else {
        return Err(mistake("more than one value"));
    };
    // `a=` is the shortest path, so nothing is shifted.
    assert_eq!(shift, 0, "a value of a flag keeps its place");
    let mut reader = Reader {
        source: source.clone(),
        variable,
        diagnostics: Vec::new(),
    };
    let node = reader.value(parsed, &span.range);
    if reader.diagnostics.is_empty() {
        Ok(node)
    } else {
        Err(reader.diagnostics)
    }
}

fn insert(table: &mut Table, keys: &[String], node: Node, key_span: &Span) -> Result<(), Diagnostic> {
    let (first, rest) = keys.split_first().expect("a path has a key");
    let index = table
        .entries
        .iter()
        .position(|entry| entry.key == *first)
        .unwrap_or_else(|| {
            let empty = Node {
                span: key_span.clone(),
                value: Value::Table(Table::default()),
            };
            table.entries.push(Entry {
                key: first.clone(),
                key_span: key_span.clone(),
                node: empty,
            });
            table.entries.len() - 1
        });
    let entry = &mut table.entries[index];
    if rest.is_empty() {
        entry.key_span = key_span.clone();
        entry.node = node;
        return Ok(());
    }
    match &mut entry.node.value {
        Value::Table(inner) => insert(inner, rest, node, key_span),
        _ => Err(Diagnostic::error(
            key_span,
            format!("`{first}` is {}, not a table", entry.node.found()),
        )),
    }
}

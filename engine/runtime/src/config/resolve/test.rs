//! `[[tests]]`: names that exist, rows that can be read.
//!
//! Never here: the files that tests name (see `pipeline_tests`), running them.

use std::path::PathBuf;

use serde_json::{Map, Number, Value as Json};

use super::super::diagnostic::{Diagnostic, quoted};
use super::super::document::{Entry, Node, Value};
use super::super::fields::{Fields, Problems};
use super::super::keys;
use super::super::pipeline::{Expectation, Expected, OnError, Pipeline, PipelineTest, StreamId, TestInput, TestRows};
use super::super::source_text::Span;
use super::super::test_rows::{expected_row, input_row, same_columns};

/// Resolves all tests; what is wrong with one is noted.
pub(super) fn resolve(root: &Fields<'_>, pipeline: &Pipeline) -> Vec<PipelineTest> {
    let Some(node) = root.node("tests") else {
        return Vec::new();
    };
    let tables = match &node.value {
        Value::Array(items) => items.as_slice(),
        _ => {
            root.wrong("tests", node, "a list of tables, each written as [[tests]]");
            return Vec::new();
        }
    };
    let mut tests: Vec<PipelineTest> = Vec::new();
    for item in tables {
        let Value::Table(table) = &item.value else {
            root.wrong("tests", item, "a list of tables, each written as [[tests]]");
            continue;
        };
        let fields = Fields {
            path: "tests".to_owned(),
            table,
            span: item.span.clone(),
            problems: root.problems,
        };
        let Some(test) = one(&fields, pipeline) else { continue };
        if let Some(other) = tests.iter().find(|other| other.name == test.name) {
            let message = format!("there is another test with the name {}", quoted(&test.name));
            let diagnostic = Diagnostic::error(&fields.span_of("name"), message);
            root.problems.push(diagnostic.note(format!("at {}", other.place)));
        }
        tests.push(test);
    }
    tests
}

fn one(fields: &Fields<'_>, pipeline: &Pipeline) -> Option<PipelineTest> {
    fields.only(&[keys::TEST]);
    let name = fields.required_text("name", "what the test shows, in a few words");
    let inputs = match fields.fields("input") {
        Some(inputs) => inputs
            .table
            .entries
            .iter()
            .filter_map(|entry| input(&inputs, entry, pipeline))
            .collect(),
        None if fields.node("input").is_none() => {
            fields.missing(
                "input",
                "rows for the sources, such as input.events = \"tests/in.jsonl\"",
            );
            Vec::new()
        }
        None => Vec::new(),
    };
    let expectations: Vec<_> = match fields.fields("expect") {
        Some(expected) => {
            let entries = expected.table.entries.iter();
            entries
                .filter_map(|entry| expectation(&expected, entry, pipeline))
                .collect()
        }
        None => Vec::new(),
    };
    let is_nothing_expected = match fields.node("expect").map(|node| &node.value) {
        None => true,
        Some(Value::Table(table)) => table.entries.is_empty(),
        Some(_) => false,
    };
    if is_nothing_expected {
        fields.missing(
            "expect",
            "rows of a transform or a sink, such as expect.results = \"tests/out.jsonl\"",
        );
    }
    Some(PipelineTest {
        name: name?.as_str().to_owned(),
        place: fields.span.position(),
        inputs,
        expectations,
        is_drained: fields.boolean("drain").unwrap_or(true),
        is_ordered: fields.boolean("ordered").unwrap_or(false),
    })
}

fn input(fields: &Fields<'_>, entry: &Entry, pipeline: &Pipeline) -> Option<TestInput> {
    let source = pipeline.sources.iter().position(|source| source.name == entry.key);
    let Some(source) = source else {
        let message = format!("there is no source {}", quoted(&entry.key));
        let names = pipeline.sources.iter().map(|source| source.name.as_str());
        fields
            .problems
            .push(Diagnostic::error(&entry.key_span, message).suggest("sources", &entry.key, names));
        return None;
    };
    let rows = rows(fields, entry, |text, span| {
        input_row(text, span)
            .map_err(|mistake| fields.problems.push(mistake))
            .ok()
    })?;
    Some(TestInput { source, rows })
}

fn expectation(fields: &Fields<'_>, entry: &Entry, pipeline: &Pipeline) -> Option<Expectation> {
    let of = expected(fields, entry, pipeline)?;
    let columns = pipeline.columns_of(of);
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let rows = rows(fields, entry, |text, span| {
        expected_row(text, span, &columns)
            .map_err(|mistake| fields.problems.push(mistake))
            .map(|row| (row, span.clone()))
            .ok()
    })?;
    let rows = match rows {
        TestRows::File(path) => TestRows::File(path),
        TestRows::Inline(rows) => {
            if let Err(mistake) = same_columns(&rows) {
                fields.problems.push(mistake);
            }
            TestRows::Inline(rows.into_iter().map(|(row, _)| row).collect())
        }
    };
    Some(Expectation {
        name: entry.key.clone(),
        of,
        rows,
    })
}

fn expected(fields: &Fields<'_>, entry: &Entry, pipeline: &Pipeline) -> Option<Expected> {
    let name = entry.key.as_str();
    let sources = pipeline.sources.iter().map(|source| source.name.as_str());
    let transforms = pipeline.transforms.iter().map(|transform| transform.name.as_str());
    let sinks = pipeline.sinks.iter().map(|sink| sink.name.as_str());
    let stream = |index, id: fn(usize) -> StreamId| Expected::Stream(id(index));
    let found = (transforms.clone().position(|known| known == name))
        .map(|index| stream(index, StreamId::Transform))
        .or_else(|| sinks.clone().position(|known| known == name).map(Expected::Sink))
        .or_else(|| {
            sources
                .clone()
                .position(|known| known == name)
                .map(|index| stream(index, StreamId::Source))
        });
    match found {
        Some(found) => Some(found),
        None if name == "dead_letter" => {
            let is_kept = |on_error| on_error == OnError::DeadLetter;
            if !pipeline.sources.iter().any(|source| is_kept(source.on_error)) {
                let message = "no source has `on_error = \"dead_letter\"`, so there are no dead letters to expect";
                fields.problems.error(&entry.key_span, message);
            }
            Some(Expected::DeadLetter)
        }
        None => {
            let message = format!("there is no source, transform or sink {}", quoted(name));
            let names = transforms.chain(sinks).chain(sources).chain(["dead_letter"]);
            fields
                .problems
                .push(Diagnostic::error(&entry.key_span, message).suggest("names", name, names));
            None
        }
    }
}

/// A file's name, or the rows themselves: tables, or texts that are JSON.
fn rows<T>(fields: &Fields<'_>, entry: &Entry, mut read: impl FnMut(&str, &Span) -> Option<T>) -> Option<TestRows<T>> {
    const WHAT: &str = "a file's name, or a list of rows";
    let Value::Array(items) = &entry.node.value else {
        let written = fields.text(&entry.key, WHAT)?;
        return Some(TestRows::File(PathBuf::from(written.as_str())));
    };
    let mut rows = Vec::new();
    for item in items {
        let text = match &item.value {
            Value::Text(text) => Some(text.text.clone()),
            Value::Table(_) => json(item, fields.problems).map(|row| row.to_string()),
            _ => {
                fields.problems.error(
                    &item.span,
                    format!("a row is a table, or a string with JSON in it; found {}", item.found()),
                );
                None
            }
        };
        rows.extend(text.and_then(|text| read(&text, &item.span)));
    }
    Some(TestRows::Inline(rows))
}

fn json(node: &Node, problems: &Problems) -> Option<Json> {
    Some(match &node.value {
        Value::Text(text) => Json::String(text.text.clone()),
        Value::Integer(number) => Json::from(*number),
        Value::Float(number) => match Number::from_f64(*number) {
            Some(number) => Json::Number(number),
            None => {
                problems.error(&node.span, "JSON has no word for this number");
                return None;
            }
        },
        Value::Boolean(boolean) => Json::Bool(*boolean),
        Value::Datetime => {
            let message = "write a time in quotes, or as a number of milliseconds since 1970";
            problems.error(&node.span, message);
            return None;
        }
        Value::Array(items) => Json::Array(items.iter().map(|item| json(item, problems)).collect::<Option<_>>()?),
        Value::Table(table) => {
            let fields = table.entries.iter();
            let fields = fields.map(|entry| Some((entry.key.clone(), json(&entry.node, problems)?)));
            Json::Object(fields.collect::<Option<Map<_, _>>>()?)
        }
    })
}

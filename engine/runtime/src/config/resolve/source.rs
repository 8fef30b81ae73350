//! `[sources.NAME]`.

use std::time::Duration;

use engine_stream::schema::{Field, FieldType, MetaColumn, SourceSchema};

use super::super::diagnostic::{Diagnostic, quoted};
use super::super::document::Value;
use super::super::fields::Fields;
use super::super::keys;
use super::super::pipeline::{Format, OnError, Source, TopicSelection, Watermark};
use super::kafka::{Role, SharedOptions};
use super::topic;

const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_FUTURE_SKEW: Duration = Duration::from_secs(300);

/// Resolves one source; `None` after a mistake that leaves its columns unknown.
pub(crate) fn resolve(name: &str, fields: &Fields<'_>, shared: &SharedOptions) -> Option<Source> {
    fields.required_choice("type", &[("kafka", ())])?;
    fields.only(&[keys::SOURCE]);
    let topics = topics(fields);
    let format = fields
        .required_choice("format", &[("json", Format::Json)])
        .unwrap_or(Format::Json);
    let on_error = fields.choice(
        "on_error",
        &[
            ("fail", OnError::Fail),
            ("drop", OnError::Drop),
            ("dead_letter", OnError::DeadLetter),
        ],
    );
    let watermark = fields.fields("watermark").and_then(|fields| watermark(&fields));
    let kafka = shared.merged(fields, Role::Consumer);
    Some(Source {
        name: name.to_owned(),
        schema: schema(fields)?,
        topics,
        format,
        on_error: on_error.unwrap_or(OnError::Fail),
        watermark,
        kafka,
    })
}

fn topics(fields: &Fields<'_>) -> TopicSelection {
    if let (Some(_), Some(pattern)) = (fields.node("topics"), fields.node("topic_pattern")) {
        fields
            .problems
            .error(&pattern.span, "`topic_pattern` and `topics` exclude each other");
    }
    if fields.node("topics").is_none() && fields.node("topic_pattern").is_none() {
        fields.missing(
            "topics",
            "an array of topic names, or `topic_pattern`, a regular expression",
        );
    }
    if let Some(pattern) = fields.text("topic_pattern", "a regular expression in a string") {
        if let Err(error) = regex_syntax::parse(pattern.as_str()) {
            let reason = match &error {
                regex_syntax::Error::Parse(error) => error.kind().to_string(),
                regex_syntax::Error::Translate(error) => error.kind().to_string(),
                _ => "it cannot be read".to_owned(),
            };
            fields.problems.error(
                pattern.span,
                format!("`topic_pattern` is not a regular expression: {reason}"),
            );
        }
        return TopicSelection::Pattern(pattern.as_str().to_owned());
    }
    let texts = fields.texts("topics", "an array of topic names").unwrap_or_default();
    if texts.is_empty()
        && matches!(fields.node("topics").map(|node| &node.value), Some(Value::Array(items)) if items.is_empty())
    {
        fields
            .problems
            .error(&fields.span_of("topics"), "`topics` is empty: name at least one topic");
    }
    TopicSelection::Names(texts.iter().map(|text| topic(fields, *text)).collect())
}

fn schema(source: &Fields<'_>) -> Option<SourceSchema> {
    let Some(fields) = source.fields("schema") else {
        if source.node("schema").is_none() {
            source.missing(
                "schema",
                "a table of columns and their types, such as `ad_id = \"string\"`",
            );
        }
        return None;
    };
    if fields.table.entries.is_empty() {
        fields
            .problems
            .error(&fields.span, format!("`{}` needs at least one column", fields.path));
        return None;
    }
    let mut columns = Vec::new();
    for entry in &fields.table.entries {
        if entry.key.is_empty() {
            fields.problems.error(&entry.key_span, "a column needs a name");
            continue;
        }
        if MetaColumn::from_name(&entry.key).is_some() {
            let message = format!("{} is a column that every source already has", quoted(&entry.key));
            let note = format!("give it another name and `from = \"{}\"`", entry.key);
            fields
                .problems
                .push(Diagnostic::error(&entry.key_span, message).note(note));
            continue;
        }
        let column = match &entry.node.value {
            Value::Text(_) => field_type(&fields, &entry.key).map(|field_type| Field::new(&entry.key, field_type)),
            Value::Table(_) => fields.fields(&entry.key).and_then(|fields| {
                fields.only(&[keys::FIELD]);
                if fields.node("type").is_none() {
                    fields.missing("type", "the column's type, such as \"string\"");
                }
                let from = fields
                    .text("from", "the payload's field")
                    .map(|from| from.as_str().to_owned());
                let required = fields.boolean("required").unwrap_or(false);
                Some(Field {
                    from,
                    required,
                    ..Field::new(&entry.key, field_type(&fields, "type")?)
                })
            }),
            _ => {
                fields.wrong(
                    &entry.key,
                    &entry.node,
                    "a type such as \"string\", or a table with `type`",
                );
                None
            }
        };
        columns.extend(column);
    }
    // With a column missing, whatever names it would be called wrong too.
    (columns.len() == fields.table.entries.len())
        .then(|| SourceSchema::new(columns).ok())
        .flatten()
}

fn field_type(fields: &Fields<'_>, key: &str) -> Option<FieldType> {
    let written = fields.text(key, "a type such as \"string\"")?;
    let parsed = written.as_str().parse::<FieldType>();
    if parsed.is_err() {
        let message = format!("there is no type {}", quoted(written.as_str()));
        fields.problems.push(Diagnostic::error(written.span, message).suggest(
            "types",
            written.as_str(),
            FieldType::NAMES,
        ));
    }
    parsed.ok()
}

fn watermark(fields: &Fields<'_>) -> Option<Watermark> {
    fields.only(&[keys::WATERMARK]);
    let delay = fields.duration("delay").unwrap_or_default();
    let idle_timeout = fields.positive_duration("idle_timeout").unwrap_or(IDLE_TIMEOUT);
    let max_future_skew = fields.positive_duration("max_future_skew").unwrap_or(MAX_FUTURE_SKEW);
    let column = fields.required_text("column", "the timestamp column that is the event time")?;
    Some(Watermark {
        column: column.as_str().to_owned(),
        delay,
        idle_timeout,
        max_future_skew,
    })
}

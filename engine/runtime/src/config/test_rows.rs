//! Rows of the pipeline's own tests: a line of JSON becomes a record to read, or a row to expect.
//!
//! Never here: where lines come from (the pipeline file, or files beside it), what rows are compared with.

use serde_json::{Map, Value};

use super::diagnostic::{Diagnostic, quoted};
use super::pipeline::{ExpectedRow, InputRow};
use super::source_text::Span;

/// A record. A line that is no JSON object is the record's value as it stands, which is a malformed one.
pub(crate) fn input_row(text: &str, span: &Span) -> Result<InputRow, Diagnostic> {
    let mut row = InputRow {
        partition: 0,
        timestamp_ms: None,
        key: None,
        value: Some(text.to_owned()),
        place: span.position(),
    };
    let Ok(Value::Object(mut fields)) = serde_json::from_str::<Value>(text) else {
        return Ok(row);
    };
    let wrong = |name: &str, what: &str| Diagnostic::error(span, format!("`{name}` of a test's row is {what}"));
    let mut is_about_the_record = false;
    let mut take = |name: &str| {
        let value = fields.remove(name);
        is_about_the_record |= value.is_some();
        value
    };
    if let Some(partition) = take("_partition") {
        let number = partition.as_i64().and_then(|number| i32::try_from(number).ok());
        row.partition = number
            .filter(|number| *number >= 0)
            .ok_or_else(|| wrong("_partition", "a partition's number, 0 or more"))?;
    }
    if let Some(timestamp) = take("_timestamp") {
        let milliseconds = timestamp.as_i64().or_else(|| milliseconds(timestamp.as_str()?));
        row.timestamp_ms =
            Some(milliseconds.ok_or_else(|| wrong("_timestamp", "milliseconds since 1970, or RFC 3339 text"))?);
    }
    match take("_key") {
        None | Some(Value::Null) => {}
        Some(Value::String(key)) => row.key = Some(key),
        Some(_) => return Err(wrong("_key", "a string or null")),
    }
    let value = take("_value");
    if value.is_some() && !fields.is_empty() {
        return Err(wrong(
            "_value",
            "all there is of a record's value, so other fields cannot stand beside it",
        ));
    }
    match value {
        Some(Value::String(value)) => row.value = Some(value),
        Some(Value::Null) => row.value = None,
        Some(_) => {
            return Err(wrong(
                "_value",
                "a string that is the record's value as it stands, or null",
            ));
        }
        None if is_about_the_record => row.value = Some(Value::Object(fields).to_string()),
        None => {}
    }
    Ok(row)
}

/// A row to expect, of some of `columns`.
pub(crate) fn expected_row(text: &str, span: &Span, columns: &[&str]) -> Result<ExpectedRow, Diagnostic> {
    let object = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(object)) => object,
        Ok(_) => return Err(Diagnostic::error(span, "an expected row is a JSON object")),
        Err(error) => {
            return Err(Diagnostic::error(
                span,
                format!("an expected row is a JSON object: {error}"),
            ));
        }
    };
    if let Some(unknown) = object.keys().find(|name| !columns.contains(&name.as_str())) {
        let diagnostic = Diagnostic::error(span, format!("there is no column {} here", quoted(unknown)));
        return Err(diagnostic.suggest("columns", unknown, columns.iter().copied()));
    }
    if object.is_empty() {
        return Err(Diagnostic::error(span, "an expected row names at least one column"));
    }
    Ok(ExpectedRow {
        columns: object,
        text: text.to_owned(),
        place: span.position(),
    })
}

/// Rows of one expectation are compared by the same columns: one that names others is a slip of the pen.
pub(crate) fn same_columns(rows: &[(ExpectedRow, Span)]) -> Result<(), Diagnostic> {
    let names = |row: &Map<String, Value>| row.keys().cloned().collect::<Vec<_>>().join(", ");
    let Some(((first, _), others)) = rows.split_first() else {
        return Ok(());
    };
    match others
        .iter()
        .find(|(row, _)| !row.columns.keys().eq(first.columns.keys()))
    {
        None => Ok(()),
        Some((row, span)) => {
            let message = "this row names other columns than the first one";
            Err(Diagnostic::error(span, message)
                .note(format!("here: {}", names(&row.columns)))
                .note(format!("at {}: {}", first.place, names(&first.columns)))
                .note("write null where a column is null"))
        }
    }
}

fn milliseconds(text: &str) -> Option<i64> {
    let nanoseconds = arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(text).ok()?;
    Some(nanoseconds.div_euclid(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source_text::SourceText;

    fn span(text: &str) -> Span {
        SourceText::file("in.jsonl", text.to_owned()).span(0..text.len())
    }

    fn read(text: &str) -> Result<InputRow, String> {
        input_row(text, &span(text)).map_err(|diagnostic| diagnostic.message().to_owned())
    }

    #[test]
    fn a_line_is_a_records_value_as_it_stands() {
        for text in [r#"{"a": 1.50, "_b": 2}"#, "not json", "[1]", "{"] {
            let row = read(text).unwrap();
            assert_eq!(row.value.as_deref(), Some(text));
            assert_eq!((row.partition, row.timestamp_ms, row.key), (0, None, None));
        }
    }

    #[test]
    fn fields_about_the_record_are_taken_out_of_its_value() {
        let row = read(r#"{"_partition": 2, "_key": "k", "_timestamp": "1970-01-01T00:00:01Z", "a": 1}"#).unwrap();
        assert_eq!((row.partition, row.timestamp_ms), (2, Some(1_000)));
        assert_eq!(
            (row.key.as_deref(), row.value.as_deref()),
            (Some("k"), Some(r#"{"a":1}"#))
        );
        let text = read(r#"{"_value": "not json", "_timestamp": 7}"#).unwrap();
        assert_eq!((text.value.as_deref(), text.timestamp_ms), (Some("not json"), Some(7)));
        let tombstone = read(r#"{"_value": null, "_key": "k"}"#).unwrap();
        assert_eq!(tombstone.value, None);
    }

    #[test]
    fn what_cannot_be_said_of_a_record_is_a_mistake() {
        for (text, told) in [
            (
                r#"{"_partition": -1}"#,
                "`_partition` of a test's row is a partition's number",
            ),
            (
                r#"{"_partition": "0"}"#,
                "`_partition` of a test's row is a partition's number",
            ),
            (
                r#"{"_timestamp": "soon"}"#,
                "`_timestamp` of a test's row is milliseconds",
            ),
            (r#"{"_key": 1}"#, "`_key` of a test's row is a string or null"),
            (r#"{"_value": {}}"#, "`_value` of a test's row is a string"),
            (r#"{"_value": "x", "a": 1}"#, "other fields cannot stand beside it"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn expected_rows_name_columns_that_there_are_and_all_the_same() {
        let expected = |text: &str| {
            let row = expected_row(text, &span(text), &["events", "campaign_id"]);
            row.map(|row| (row, span(text)))
                .map_err(|diagnostic| diagnostic.to_string())
        };
        let unknown = expected(r#"{"evnts": 1}"#).unwrap_err();
        assert!(
            unknown.contains("there is no column `evnts` here") && unknown.contains("did you mean `events`?"),
            "{unknown}"
        );
        for text in ["{}", "[]", "{", "1"] {
            assert!(expected(text).is_err(), "{text}");
        }
        let rows = [
            expected(r#"{"events": 1, "campaign_id": 2}"#).unwrap(),
            expected(r#"{"campaign_id": 2, "events": 1}"#).unwrap(),
        ];
        assert!(same_columns(&rows).is_ok());
        let rows = [
            expected(r#"{"events": 1}"#).unwrap(),
            expected(r#"{"campaign_id": 2}"#).unwrap(),
        ];
        let told = same_columns(&rows).unwrap_err().to_string();
        assert!(told.contains("at in.jsonl:1:1: events"), "{told}");
    }
}

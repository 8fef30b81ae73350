//! Rows that came out beside rows that were expected.
//!
//! Rows are compared by the columns that the expected ones name, as values and not as text: 1 is 1.0, the order of an
//! object's fields does not matter, floating point counts to twelve digits, a time is a time with or without zeros at its end.

use std::collections::HashMap;

use serde_json::{Map, Number, Value};

use super::report::{Difference, Missing};
use crate::config::pipeline::{ExpectedRow, RECORD_KEY};

/// A row that came out.
#[derive(Debug)]
pub(super) struct FoundRow {
    values: Map<String, Value>,
    /// The same with timestamps as text, where either may be expected.
    texts: Option<Map<String, Value>>,
    text: String,
}

impl FoundRow {
    /// From JSON that an encoder wrote.
    pub(super) fn new(text: &[u8], rfc3339: Option<&[u8]>) -> FoundRow {
        let parsed = |text: &[u8]| serde_json::from_slice(text).expect("an encoder writes JSON objects");
        FoundRow {
            values: parsed(text),
            texts: rfc3339.map(parsed),
            text: String::from_utf8_lossy(text).into_owned(),
        }
    }

    /// The key of the record, unless the row has a column of that name.
    pub(super) fn set_key(&mut self, key: &[u8]) {
        let key = || Value::String(String::from_utf8_lossy(key).into_owned());
        self.values.entry(RECORD_KEY).or_insert_with(key);
    }

    /// The columns that an expectation names, with timestamps as it has them.
    fn like(&self, columns: &[Column]) -> Map<String, Value> {
        let value = |column: &Column| {
            let texts = self.texts.as_ref().filter(|_| column.is_text);
            texts
                .unwrap_or(&self.values)
                .get(&column.name)
                .cloned()
                .unwrap_or(Value::Null)
        };
        columns
            .iter()
            .map(|column| (column.name.clone(), value(column)))
            .collect()
    }
}

/// A column of an expectation.
struct Column {
    name: String,
    /// Whether its expected values are text.
    is_text: bool,
}

/// What differs, if anything does.
pub(super) fn compare(of: &str, expected: &[ExpectedRow], found: &[FoundRow], is_ordered: bool) -> Option<Difference> {
    let columns = columns(expected);
    let projected: Vec<Map<String, Value>> = found.iter().map(|row| row.like(&columns)).collect();
    let keys: Vec<String> = projected.iter().map(canonical_object).collect();
    let mut open: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, key) in keys.iter().enumerate().rev() {
        open.entry(key).or_default().push(index);
    }
    let wanted: Vec<String> = expected.iter().map(|row| canonical_object(&row.columns)).collect();
    let mut missing = Vec::new();
    let mut is_taken = vec![false; found.len()];
    for (row, key) in expected.iter().zip(&wanted) {
        match open.get_mut(key.as_str()).and_then(Vec::pop) {
            Some(index) => is_taken[index] = true,
            None => missing.push(Missing {
                place: row.place.clone(),
                row: row.text.clone(),
            }),
        }
    }
    let as_expected = expected.len() - missing.len();
    let unexpected = (0..found.len()).filter(|index| !is_taken[*index]);
    let shown = |index: usize| match expected.is_empty() {
        true => found[index].text.clone(), // No row says which columns matter.
        false => Value::Object(projected[index].clone()).to_string(),
    };
    let unexpected: Vec<String> = unexpected.map(shown).collect();
    let is_same = missing.is_empty() && unexpected.is_empty();
    let out_of_order = (is_ordered && is_same)
        .then(|| wanted.iter().zip(&keys).position(|(wanted, key)| wanted != key))
        .flatten();
    let out_of_order = out_of_order.map(|index| {
        let row = &expected[index];
        format!(
            "row {} is {}, where {} expects {}",
            index + 1,
            shown(index),
            row.place,
            row.text
        )
    });
    (!is_same || out_of_order.is_some()).then(|| Difference {
        of: of.to_owned(),
        as_expected,
        missing,
        unexpected,
        out_of_order,
    })
}

/// The columns of the first row are those of all. A column is text where the first value that is not null is.
fn columns(expected: &[ExpectedRow]) -> Vec<Column> {
    let Some(first) = expected.first() else {
        return Vec::new();
    };
    let is_text = |name: &str| {
        let mut values = expected.iter().filter_map(|row| row.columns.get(name));
        values.find(|value| !value.is_null()).is_some_and(Value::is_string)
    };
    let names = first.columns.keys();
    names
        .map(|name| Column {
            is_text: is_text(name),
            name: name.clone(),
        })
        .collect()
}

fn canonical_object(object: &Map<String, Value>) -> String {
    let mut fields: Vec<(&String, &Value)> = object.iter().collect();
    fields.sort_by_key(|(name, _)| *name);
    let fields = fields
        .iter()
        .map(|(name, value)| format!("{name:?}:{}", canonical(value)));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

/// The same text for the same value.
fn canonical(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) => value.to_string(),
        Value::String(text) => match nanoseconds(text) {
            Some(nanoseconds) => format!("time {nanoseconds}"),
            None => value.to_string(),
        },
        Value::Number(number) => canonical_number(number),
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Object(object) => canonical_object(object),
    }
}

/// Of RFC 3339 text, since 1970.
fn nanoseconds(text: &str) -> Option<i64> {
    let is_time = text.len() >= "2026-01-31T00:00:00Z".len() && text.as_bytes()[10] == b'T';
    let parsed = is_time.then(|| arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(text));
    parsed?.ok()
}

fn canonical_number(number: &Number) -> String {
    /// Up to here every whole number is a floating point number of its own.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        _ if number.is_i64() || number.is_u64() => number.to_string(),
        Some(float) if float.fract() == 0.0 && float.abs() <= WHOLE_MAX => format!("{}", float as i64),
        Some(float) => format!("{float:.11e}"),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(rows: &[&str]) -> Vec<ExpectedRow> {
        let row = |(index, text): (usize, &&str)| ExpectedRow {
            columns: serde_json::from_str(text).unwrap(),
            text: (*text).to_owned(),
            place: format!("out.jsonl:{}:1", index + 1),
        };
        rows.iter().enumerate().map(row).collect()
    }

    fn found(rows: &[&str]) -> Vec<FoundRow> {
        rows.iter().map(|row| FoundRow::new(row.as_bytes(), None)).collect()
    }

    #[test]
    fn values_count_and_not_how_they_are_written() {
        for (one, other, is_same) in [
            ("1", "1.0", true),
            ("1e2", "100", true),
            ("0.1", "0.10000000000000002", true),
            ("0.1", "0.1000001", false),
            ("9007199254740993", "9007199254740992", false),
            ("-0.0", "0", true),
            ("null", "0", false),
            ("\"1\"", "1", false),
            ("[1, {\"b\": 2, \"a\": 1}]", "[1.0, {\"a\": 1, \"b\": 2}]", true),
            ("true", "1", false),
            (
                r#""2026-01-31T00:00:01Z""#,
                r#""2026-01-31T01:00:01.000000+01:00""#,
                true,
            ),
            (r#""2026-01-31T00:00:01Z""#, r#""2026-01-31T00:00:01.000001Z""#, false),
            (r#""2026-01-31Tomorrow, at noon""#, r#""2026-01-31Tomorrow""#, false),
        ] {
            let expected = expected(&[&format!("{{\"a\": {one}}}")]);
            let found = found(&[&format!("{{\"a\": {other}, \"beside\": 5}}")]);
            let difference = compare("t", &expected, &found, true);
            assert_eq!(difference.is_none(), is_same, "{one} {other}: {difference:?}");
        }
    }

    #[test]
    fn rows_are_counted() {
        let expected = expected(&[r#"{"a": 1}"#, r#"{"a": 1}"#, r#"{"a": 2}"#]);
        let difference = compare("t", &expected, &found(&[r#"{"a": 1}"#, r#"{"a": 3}"#]), false).unwrap();
        assert_eq!(difference.as_expected, 1);
        let missing: Vec<&str> = difference
            .missing
            .iter()
            .map(|missing| missing.place.as_str())
            .collect();
        assert_eq!(missing, ["out.jsonl:2:1", "out.jsonl:3:1"]);
        assert_eq!(difference.unexpected, [r#"{"a":3}"#]);
    }

    #[test]
    fn the_order_counts_if_it_was_asked_for() {
        let expected = expected(&[r#"{"a": 1}"#, r#"{"a": 2}"#]);
        let found = found(&[r#"{"a": 2}"#, r#"{"a": 1}"#]);
        assert_eq!(compare("t", &expected, &found, false), None);
        let told = compare("t", &expected, &found, true).unwrap().out_of_order.unwrap();
        assert_eq!(told, r#"row 1 is {"a":2}, where out.jsonl:1:1 expects {"a": 1}"#);
    }

    #[test]
    fn no_rows_are_an_expectation_too() {
        assert_eq!(compare("t", &[], &[], true), None);
        let difference = compare("t", &[], &found(&[r#"{"a":1,"b":2}"#]), false).unwrap();
        assert_eq!(difference.unexpected, [r#"{"a":1,"b":2}"#]);
    }

    #[test]
    fn a_timestamp_may_be_expected_as_text_or_as_a_number() {
        let rows = || {
            vec![FoundRow::new(
                br#"{"t":1000}"#,
                Some(br#"{"t":"1970-01-01T00:00:01Z"}"#),
            )]
        };
        for text in [r#"{"t": 1000}"#, r#"{"t": "1970-01-01T00:00:01Z"}"#] {
            assert_eq!(compare("t", &expected(&[text]), &rows(), false), None, "{text}");
        }
        assert!(compare("t", &expected(&[r#"{"t": 1001}"#]), &rows(), false).is_some());
    }
}

//! Values become columns of their type, whole rows at a time, or an error that names them.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMillisecondType};

use super::*;

#[test]
fn wanted_fields_become_columns_and_all_others_are_passed_over() {
    let mut decoder = decoder(&[
        ("name", "string"),
        ("count", "int64"),
        ("ratio", "float64"),
        ("seen", "bool"),
    ]);
    decoder
        .push(br#"{"x":{"count":[1,{}]},"count":7,"name":"a","ratio":-1.5e1,"seen":true,"y":null}"#)
        .unwrap();
    decoder.push(b" { \"seen\" : false , \"name\" : null } \n").unwrap();
    decoder.push(b"{}").unwrap();
    let batch = decoder.finish();
    assert_eq!(batch.num_rows(), 3);
    assert_eq!(
        batch.column(0).as_string::<i32>().iter().collect::<Vec<_>>(),
        [Some("a"), None, None]
    );
    assert_eq!(
        batch.column(1).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(),
        [Some(7), None, None]
    );
    assert_eq!(batch.column(2).as_primitive::<Float64Type>().value(0), -15.0);
    assert_eq!(
        batch.column(3).as_boolean().iter().collect::<Vec<_>>(),
        [Some(true), Some(false), None]
    );
    assert!(decoder.is_empty(), "the next micro-batch begins empty");
}

#[test]
fn numbers_are_accepted_in_strings_for_number_columns() {
    let mut decoder = decoder(&[("i", "int32"), ("l", "int64"), ("f", "float64")]);
    decoder
        .push(br#"{"i":"-7","l":"9223372036854775807","f":"1.5"}"#)
        .unwrap();
    let batch = decoder.finish();
    assert_eq!(batch.column(0).as_primitive::<Int32Type>().value(0), -7);
    assert_eq!(batch.column(1).as_primitive::<Int64Type>().value(0), i64::MAX);
    assert_eq!(batch.column(2).as_primitive::<Float64Type>().value(0), 1.5);
}

#[test]
fn timestamps_are_integers_of_their_unit_or_rfc_3339() {
    let mut decoder = decoder(&[("t", "timestamp(ms)")]);
    for value in ["1500", "\"1500\"", "\"1970-01-01T00:00:01.5Z\"", "-1", "null"] {
        decoder.push(format!("{{\"t\":{value}}}").as_bytes()).unwrap();
    }
    let batch = decoder.finish();
    let times: Vec<_> = batch
        .column(0)
        .as_primitive::<TimestampMillisecondType>()
        .iter()
        .collect();
    assert_eq!(times, [Some(1500), Some(1500), Some(1500), Some(-1), None]);
    assert_eq!(
        batch.column(0).data_type(),
        &DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
    );
}

#[test]
fn a_value_of_another_type_names_the_field_the_type_and_the_value() {
    for (field_type, value, message) in [
        ("int64", "1.5", "field \"x\": expected int64, found 1.5"),
        ("int64", "1e3", "field \"x\": expected int64, found 1e3"),
        ("int64", "\"1 \"", "field \"x\": expected int64, found \"1 \""),
        ("int64", "\"\"", "field \"x\": expected int64, found \"\""),
        ("int64", "true", "field \"x\": expected int64, found true"),
        (
            "int64",
            "9223372036854775808",
            "field \"x\": out of range for int64, found 9223372036854775808",
        ),
        (
            "int32",
            "2147483648",
            "field \"x\": out of range for int32, found 2147483648",
        ),
        ("float64", "1e999", "field \"x\": out of range for float64, found 1e999"),
        ("float64", "\"NaN\"", "field \"x\": expected float64, found \"NaN\""),
        ("bool", "\"true\"", "field \"x\": expected bool, found \"true\""),
        ("string", "5", "field \"x\": expected string, found 5"),
        ("string", "[1]", "field \"x\": expected string, found [1]}"),
        (
            "timestamp(s)",
            "1700000000000",
            "field \"x\": out of range for timestamp(s), found 1700000000000",
        ),
        (
            "timestamp(ns)",
            "\"yesterday\"",
            "field \"x\": expected timestamp(ns), found \"yesterday\"",
        ),
        (
            "timestamp(ns)",
            "\"9999-01-01T00:00:00Z\"",
            "field \"x\": out of range for timestamp(ns), found \"9999-01-01T00:00:00Z\"",
        ),
        (
            "date",
            "\"2026-13-01\"",
            "field \"x\": expected date, found \"2026-13-01\"",
        ),
    ] {
        assert_eq!(
            error(&[("x", field_type)], &format!("{{\"x\":{value}}}")).to_string(),
            message
        );
    }
}

#[test]
fn a_required_field_must_be_there() {
    let mut decoder = JsonDecoder::new(&[Field {
        required: true,
        ..field("x", "int64")
    }]);
    for payload in ["{}", "{\"x\":null}"] {
        let error = decoder.push(payload.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "field \"x\": required, but missing or null");
    }
    decoder.push(b"{\"x\":1}").unwrap();
    assert_eq!(decoder.finish().num_rows(), 1);
}

#[test]
fn a_field_at_fault_is_named_as_the_record_names_it() {
    let mut decoder = JsonDecoder::new(&[Field {
        required: true,
        from: Some("time_ms".into()),
        ..field("time", "timestamp(ms)")
    }]);
    for (payload, expected) in [
        (r#"{"time":5}"#, "field \"time_ms\": required, but missing or null"),
        (
            r#"{"time_ms":true}"#,
            "field \"time_ms\": expected timestamp(ms), found true",
        ),
    ] {
        assert_eq!(decoder.push(payload.as_bytes()).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_row_is_appended_whole_or_not_at_all() {
    let mut decoder = decoder(&[("a", "string"), ("b", "int64"), ("c", "int32"), ("d", "bool")]);
    decoder.push(br#"{"a":"one","b":1,"c":1,"d":true}"#).unwrap();
    decoder.push(br#"{"a":"two","b":2,"c":2,"d":"x"}"#).unwrap_err();
    decoder.push(br#"{"a":"three","b":3,"c":"x"}"#).unwrap_err();
    decoder.push(br#"{"a":"four","b":4}"#).unwrap();
    let batch = decoder.finish();
    assert_eq!(
        batch.column(0).as_string::<i32>().iter().collect::<Vec<_>>(),
        [Some("one"), Some("four")]
    );
    assert_eq!(batch.column(1).as_primitive::<Int64Type>().values(), &[1, 4]);
    assert_eq!(
        batch.column(2).as_primitive::<Int32Type>().iter().collect::<Vec<_>>(),
        [Some(1), None]
    );
    assert_eq!(
        batch.column(3).as_boolean().iter().collect::<Vec<_>>(),
        [Some(true), None]
    );
}

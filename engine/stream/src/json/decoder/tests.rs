use super::*;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMillisecondType};
use proptest::prelude::*;

use crate::schema::FieldType;

fn field(name: &str, field_type: &str) -> Field {
    Field::new(name, field_type.parse::<FieldType>().unwrap())
}

fn decoder(fields: &[(&str, &str)]) -> JsonDecoder {
    JsonDecoder::new(
        &fields
            .iter()
            .map(|(name, field_type)| field(name, field_type))
            .collect::<Vec<_>>(),
    )
}

fn error(fields: &[(&str, &str)], payload: &str) -> RowError {
    let mut decoder = decoder(fields);
    let error = decoder.push(payload.as_bytes()).expect_err(payload);
    assert!(decoder.finish().num_rows() == 0, "{payload}: nothing is half appended");
    error
}

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

#[test]
fn from_renames_and_two_columns_may_read_one_key() {
    let renamed = |name: &str, field_type: &str| Field {
        from: Some("k".into()),
        ..field(name, field_type)
    };
    let mut decoder = JsonDecoder::new(&[renamed("number", "int64"), renamed("time", "timestamp(s)")]);
    decoder.push(b"{\"k\":5,\"number\":6}").unwrap();
    let batch = decoder.finish();
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().value(0), 5);
    assert!(batch.column(1).is_valid(0));
}

#[test]
fn of_a_key_that_is_there_twice_the_last_value_counts() {
    let mut decoder = decoder(&[("x", "int64")]);
    decoder.push(b"{\"x\":\"not a number\",\"x\":2}").unwrap();
    decoder.push(b"{\"x\":1,\"x\":null}").unwrap();
    let batch = decoder.finish();
    assert_eq!(
        batch.column(0).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(),
        [Some(2), None]
    );
}

#[test]
fn escapes_are_resolved_in_keys_and_values() {
    let mut decoder = decoder(&[("a\"b", "string"), ("n", "int64")]);
    decoder
        .push(r#"{"a\"b":"\u0041\ud83d\ude00\n\/é","\u006e":"\u0031"}"#.as_bytes())
        .unwrap();
    let batch = decoder.finish();
    assert_eq!(batch.column(0).as_string::<i32>().value(0), "A😀\n/é");
    assert_eq!(batch.column(1).as_primitive::<Int64Type>().value(0), 1);
}

#[test]
fn keys_in_another_order_are_found_too() {
    let mut decoder = decoder(&[("a", "int64"), ("b", "int64"), ("ab", "int64")]);
    for payload in [
        "{\"a\":1,\"b\":2,\"ab\":3}",
        "{\"ab\":3,\"a\":1,\"b\":2}",
        "{\"b\":2,\"ab\":3,\"x\":0,\"a\":1}",
        "{\"a\":1,\"b\":2,\"ab\":3}",
    ] {
        decoder.push(payload.as_bytes()).unwrap();
    }
    let batch = decoder.finish();
    for (column, value) in [(0, 1), (1, 2), (2, 3)] {
        assert_eq!(batch.column(column).as_primitive::<Int64Type>().values(), &[value; 4]);
    }
}

#[test]
fn a_record_may_lack_keys_of_those_before_or_have_others_or_be_spaced_in_another_way() {
    let mut decoder = decoder(&[("a", "int64"), ("b", "string"), ("c", "int64")]);
    let spaced = "\r\n{ \"a\" :\t1 ,\n\"b\" : \"é\" , \"c\":  3 } ";
    let whole = "{\"a\":1,\"b\":\"é\",\"c\":3}";
    for payload in [
        whole,
        spaced,
        whole,
        spaced,
        "{\"x\":[1],\"a\":1,\"b\":\"é\",\"y\":null,\"c\":3}",
        whole,
    ] {
        decoder.push(payload.as_bytes()).expect(payload);
    }
    for payload in ["{\"c\":3}", "{\"b\":\"\\u00e9\"}", "{}", "{\"a\":1}"] {
        decoder.push(payload.as_bytes()).expect(payload);
    }
    for payload in [
        ",\"a\":1}",
        "{\"a\":1,\"b\":\"x\"{\"c\":3}",
        "{\"a\":1,}",
        "{\"a\"1}",
        "{\"a\":01}",
        "{\"a\":1\"b\":\"x\"}",
    ] {
        decoder.push(payload.as_bytes()).expect_err(payload);
    }
    let batch = decoder.finish();
    let integers = |column: usize| {
        batch
            .column(column)
            .as_primitive::<Int64Type>()
            .iter()
            .collect::<Vec<_>>()
    };
    let texts: Vec<_> = batch.column(1).as_string::<i32>().iter().collect();
    assert_eq!(integers(0)[..6], vec![Some(1); 6]);
    assert_eq!(integers(0)[6..], [None, None, None, Some(1)]);
    assert_eq!(texts[..6], vec![Some("é"); 6]);
    assert_eq!(texts[6..], [None, Some("é"), None, None]);
    assert_eq!(integers(2)[..6], vec![Some(3); 6]);
    assert_eq!(integers(2)[6..], [Some(3), None, None, None]);
}

#[test]
fn what_is_no_json_is_malformed_also_where_nobody_looks() {
    for payload in [
        "{",
        "}",
        "{\"x\":1",
        "{\"x\":1}}",
        "{\"x\":1} 2",
        "{\"x\":1,}",
        "{,}",
        "{\"x\"}",
        "{\"x\":}",
        "{x:1}",
        "{\"y\":tru}",
        "{\"y\":nul}",
        "{\"y\":truex}",
        "{\"y\":01}",
        "{\"y\":1.}",
        "{\"y\":.5}",
        "{\"y\":+1}",
        "{\"y\":-}",
        "{\"y\":1e}",
        "{\"y\":[1,]}",
        "{\"y\":[1 2]}",
        "{\"y\":[}]}",
        "{\"y\":{]}",
        "{\"y\":[1}",
        "{\"y\":{\"a\":1]}",
        "{\"y\":{\"a\"}}",
        "{\"y\":{1:2}}",
        "{\"y\":\"\t\"}",
        "{\"y\":\"\\x\"}",
        "{\"y\":\"\\u12g4\"}",
        "{\"y\":\"\\ud800\"}",
        "{\"y\":\"\\ud800\\u0041\"}",
        "{\"y\":\"\\udc00\"}",
        "{\"y\":\"abc",
        "{\"y\":\"\\",
        "{\"y\":\"\\u00",
        "{\"y\":NaN}",
        "{'y':1}",
        "{\"y\":1 \"z\":2}",
        "\u{feff}{}",
    ] {
        let kind = error(&[("x", "int64")], payload).kind;
        assert!(
            matches!(kind, RowErrorKind::NotJson { .. } | RowErrorKind::NotAnObject),
            "{payload}: {kind:?}"
        );
        assert!(serde_json::from_str::<serde_json::Value>(payload).is_err(), "{payload}");
    }
}

#[test]
fn empty_payloads_lists_and_bytes_that_are_no_text_are_typed_errors() {
    assert_eq!(error(&[("x", "int64")], "").kind, RowErrorKind::Empty);
    assert_eq!(error(&[("x", "int64")], " \n").kind, RowErrorKind::Empty);
    assert_eq!(
        error(&[("x", "int64")], "[1]").to_string(),
        "expected a JSON object, found [1]"
    );
    let error = decoder(&[("x", "int64")]).push(b"{\"y\":\"\xff\"}").unwrap_err();
    assert_eq!(error.kind, RowErrorKind::NotUtf8 { position: 6 });
}

#[test]
fn nesting_has_a_limit_and_an_excerpt_has_one_too() {
    let nested = |depth: usize| format!("{{\"y\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    decoder(&[])
        .push(nested(JsonDecoder::DEPTH_MAX - 2).as_bytes())
        .unwrap();
    for depth in [JsonDecoder::DEPTH_MAX, 1_000_000] {
        let error = error(&[("x", "int64")], &nested(depth));
        assert_eq!(error.kind, RowErrorKind::TooDeep { depth_max: 128 });
    }
    let error = error(&[("x", "int64")], &format!("{{\"x\":\"{}\"}}", "é".repeat(1_000_000)));
    assert!(error.excerpt.len() <= RowError::EXCERPT_BYTES_MAX && error.excerpt.ends_with('…'));
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|object| Value::Object(object.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_object_of_serde_json_is_read_with_the_same_values(
        s in prop::option::of(any::<String>()), i in prop::option::of(any::<i64>()), f in prop::option::of(any::<f64>()),
        other in json_value(), pretty: bool,
    ) {
        let object = serde_json::json!({ "a": other, "s": s, "i": i, "f": f, "z": other });
        let payload = if pretty { serde_json::to_vec_pretty(&object) } else { serde_json::to_vec(&object) }.unwrap();
        let mut decoder = decoder(&[("s", "string"), ("i", "int64"), ("f", "float64")]);
        // The second time its keys are known.
        decoder.push(&payload).unwrap();
        decoder.push(&payload).unwrap();
        let batch = decoder.finish();
        let f = f.filter(|f| f.is_finite());
        prop_assert_eq!(batch.column(0).as_string::<i32>().iter().collect::<Vec<_>>(), [s.as_deref(); 2]);
        prop_assert_eq!(batch.column(1).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [i; 2]);
        prop_assert_eq!(batch.column(2).as_primitive::<Float64Type>().iter().collect::<Vec<_>>(), [f; 2]);
    }

    #[test]
    fn a_damaged_record_is_refused_exactly_when_serde_json_refuses_it(
        other in json_value(), at: prop::sample::Index, kind in 0..4usize, byte in prop::sample::select(&b"{}[]\",:\\0x-.e \x01\xff"[..]),
        knows_the_keys: bool,
    ) {
        let mut payload = serde_json::to_vec(&serde_json::json!({ "a": other, "n": 5 })).unwrap();
        let mut decoder = decoder(&[]);
        if knows_the_keys {
            decoder.push(&payload).unwrap();
        }
        let at = at.index(payload.len());
        match kind {
            0 => payload[at] = byte,
            1 => payload.insert(at, byte),
            2 => drop(payload.remove(at)),
            _ => payload.truncate(at),
        }
        let accepted = decoder.push(&payload).is_ok();
        let expected = match serde_json::from_slice::<serde_json::Value>(&payload) {
            Ok(value) => value.is_object(),
            // What its own numbers cannot hold it refuses half-way, before it has seen the rest.
            Err(error) if error.to_string().starts_with("number out of range") => return Ok(()),
            Err(_) => false,
        };
        prop_assert_eq!(accepted, expected, "{}", String::from_utf8_lossy(&payload));
    }

    #[test]
    fn no_bytes_make_it_panic(payload: Vec<u8>, text in "[{}\\[\\]\",:\\\\u0-9a-fx.eE+ -]{0,40}") {
        let mut decoder = decoder(&[("a", "string"), ("b", "timestamp(ns)")]);
        let _ = decoder.push(&payload);
        let _ = decoder.push(text.as_bytes());
        let _ = decoder.push(format!("{{\"a\":\"{text}\",\"b\":\"{text}\"}}").as_bytes());
        decoder.finish();
    }
}

//! Which key feeds which column: renamed, repeated, escaped, in another order, or not there.

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;

use super::*;

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

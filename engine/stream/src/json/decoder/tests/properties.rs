//! Beside serde_json: any object in any shape, and any damage to it.

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type};
use proptest::prelude::*;

use super::*;

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

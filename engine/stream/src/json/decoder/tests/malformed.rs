//! What is no JSON, no text or nested too deeply is an error, also where nobody looks.

use super::*;

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

use super::*;
use arrow::array::{
    BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray,
    TimestampMicrosecondArray, TimestampSecondArray, UInt64Array,
};
use proptest::prelude::*;

fn lines(columns: Vec<(&str, ArrayRef)>, timestamps: TimestampFormat) -> Vec<String> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let encoder = JsonEncoder::new(batch.schema_ref(), timestamps).unwrap();
    let rows = encoder.rows(&batch);
    let line = |row| {
        let mut out = Vec::new();
        rows.write(row, &mut out);
        String::from_utf8(out).unwrap()
    };
    (0..rows.len()).map(line).collect()
}

#[test]
fn a_row_is_one_object_in_column_order_with_its_nulls() {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("b", Arc::new(Int64Array::from(vec![Some(i64::MIN), None]))),
        ("a", Arc::new(StringArray::from(vec![Some("x"), None]))),
        ("c", Arc::new(BooleanArray::from(vec![true, false]))),
        ("d", Arc::new(UInt64Array::from(vec![u64::MAX, 0]))),
    ];
    assert_eq!(
        lines(columns, TimestampFormat::Milliseconds),
        [
            r#"{"b":-9223372036854775808,"a":"x","c":true,"d":18446744073709551615}"#,
            r#"{"b":null,"a":null,"c":false,"d":0}"#
        ]
    );
}

#[test]
fn timestamps_are_milliseconds_rounded_down_or_rfc_3339() {
    let columns = || -> Vec<(&str, ArrayRef)> {
        vec![
            (
                "us",
                Arc::new(TimestampMicrosecondArray::from(vec![1_500, -1]).with_timezone("UTC")),
            ),
            (
                "s",
                Arc::new(TimestampSecondArray::from(vec![i64::MAX, 1]).with_timezone("UTC")),
            ),
        ]
    };
    assert_eq!(
        lines(columns(), TimestampFormat::Milliseconds),
        [r#"{"us":1,"s":9223372036854775807000}"#, r#"{"us":-1,"s":1000}"#]
    );
    assert_eq!(
        lines(columns(), TimestampFormat::Rfc3339),
        [
            r#"{"us":"1970-01-01T00:00:00.001500Z","s":null}"#,
            r#"{"us":"1969-12-31T23:59:59.999999Z","s":"1970-01-01T00:00:01Z"}"#
        ]
    );
}

#[test]
fn numbers_that_json_cannot_say_are_null_and_all_others_read_back_the_same() {
    let values = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        1.0,
        -0.1,
        1e300,
        5e-324,
        f64::MAX,
    ];
    let written = lines(
        vec![("x", Arc::new(Float64Array::from(values.to_vec())))],
        TimestampFormat::default(),
    );
    for (value, line) in values.into_iter().zip(written) {
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            read["x"].as_f64(),
            Some(value).filter(|value| value.is_finite()),
            "{line}"
        );
    }
}

#[test]
fn decimals_dates_bytes_and_lists_are_written() {
    let decimal = Decimal128Array::from(vec![-12_345])
        .with_precision_and_scale(10, 2)
        .unwrap();
    let list = arrow::array::ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None])]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("decimal", Arc::new(decimal)),
        ("date", Arc::new(Date32Array::from(vec![-1]))),
        ("bytes", Arc::new(BinaryArray::from(vec![&b"a\xff"[..]]))),
        ("list", Arc::new(list)),
    ];
    assert_eq!(
        lines(columns, TimestampFormat::default()),
        ["{\"decimal\":-123.45,\"date\":\"1969-12-31\",\"bytes\":\"a\u{fffd}\",\"list\":[1,null]}"]
    );
}

#[test]
fn a_type_that_json_cannot_say_is_refused_by_name() {
    let field = arrow::datatypes::Field::new("x", DataType::Time64(TimeUnit::Nanosecond), true);
    let error = JsonEncoder::new(&Schema::new(vec![field]), TimestampFormat::default()).unwrap_err();
    assert!(error.to_string().starts_with("column \"x\": time64"), "{error}");
}

proptest! {
    #[test]
    fn any_text_reads_back_the_same(key: String, text: String) {
        let line = &lines(vec![(&key, Arc::new(StringArray::from(vec![text.as_str()])))], TimestampFormat::default())[0];
        let read: serde_json::Value = serde_json::from_str(line).unwrap();
        prop_assert_eq!(read[&key].as_str(), Some(text.as_str()));
    }

    #[test]
    fn any_double_reads_back_the_same(value: f64) {
        let line = &lines(vec![("x", Arc::new(Float64Array::from(vec![value])))], TimestampFormat::default())[0];
        let read = line["{\"x\":".len()..line.len() - 1].parse::<f64>().ok();
        prop_assert_eq!(read, Some(value).filter(|value| value.is_finite()));
    }
}

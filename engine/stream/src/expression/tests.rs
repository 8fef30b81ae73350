use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};

use super::{AggregateExpression, Expression, ExpressionError};
use crate::schema::{Field, FieldType, SourceSchema};

fn schema() -> SchemaRef {
    let fields = [
        ("event_type", "string"),
        ("campaign_id", "int64"),
        ("price", "float64"),
        ("event_time", "timestamp(ns)"),
        ("seen", "bool"),
    ];
    let fields = fields.map(|(name, field_type)| Field::new(name, field_type.parse::<FieldType>().unwrap()));
    SourceSchema::new(fields.to_vec()).unwrap().arrow()
}

fn batch() -> RecordBatch {
    let schema = schema();
    let columns = schema.fields().iter().map(|field| match field.name().as_str() {
        "event_type" => Arc::new(StringArray::from(vec![Some("view"), Some("click"), None])) as ArrayRef,
        "campaign_id" => Arc::new(Int64Array::from(vec![1, 2, 0])),
        _ => arrow::array::new_null_array(field.data_type(), 3),
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap()
}

fn refusal(sql: &str) -> ExpressionError {
    Expression::parse_condition(sql, &schema()).expect_err(sql)
}

#[test]
fn a_condition_is_one_truth_value_per_row() {
    let condition = Expression::parse_condition("event_type = 'view' and campaign_id < 5", &schema()).unwrap();
    assert_eq!(condition.columns(), ["campaign_id", "event_type"]);
    let values = condition.evaluate_condition(&batch()).unwrap();
    assert_eq!(
        (values.value(0), values.value(1), values.is_null(2)),
        (true, false, true)
    );
}

#[test]
fn an_unknown_column_is_answered_with_its_place_and_the_nearest_name() {
    let error = refusal("campaign_id = 1 and event_typ = 'view'");
    assert_eq!(error.position, Some(20));
    assert_eq!(error.suggestion.as_deref(), Some("event_type"));
    assert_eq!(
        error.message,
        "there is no column \"event_typ\"; the columns are event_type, campaign_id, price, event_time, seen"
    );
}

#[test]
fn column_names_are_case_sensitive_as_in_json() {
    let error = refusal("Event_Type = 'view'");
    assert_eq!(error.suggestion.as_deref(), Some("event_type"));
}

#[test]
fn an_unknown_function_is_answered_with_its_place_and_the_nearest_name() {
    let error = refusal("seen and uper(event_type) = 'VIEW'");
    assert_eq!(error.message, "there is no function \"uper\"");
    assert_eq!((error.position, error.suggestion.as_deref()), (Some(9), Some("upper")));
}

#[test]
fn a_text_that_is_no_sql_is_answered_with_its_place() {
    let error = refusal("campaign_id = = 2");
    assert_eq!(error.position, Some(14), "{error}");
    assert!(!error.message.contains("Line"), "{error}");
    assert!(refusal("campaign_id = 1 2").message.contains("end of expression"));
    assert_eq!(refusal(" ").message, "the expression is empty");
    assert!(refusal("campaign_id = (").message.len() < 200);
}

#[test]
fn a_condition_must_be_true_or_false() {
    assert_eq!(
        refusal("campaign_id + 1").message,
        "a condition is true or false, but `campaign_id + 1` is int64"
    );
    assert!(refusal("null").message.contains("always null"));
}

#[test]
fn text_is_not_silently_cast_to_a_number() {
    let error = refusal("event_type > campaign_id");
    assert!(error.message.contains("try_cast(event_type as bigint)"), "{error}");
    assert_eq!(
        error.position,
        error.position.filter(|position| *position == 0 || *position == 13)
    );
    refusal("event_type > 5");
    refusal("event_type + 1 > 5");
    Expression::parse_condition("campaign_id > '5'", &schema()).unwrap();
    Expression::parse_condition("event_time > '2026-01-01T00:00:00Z'", &schema()).unwrap();
}

#[test]
fn functions_of_the_clock_and_of_chance_are_refused() {
    for sql in [
        "event_time > now()",
        "event_time > current_timestamp",
        "random() < 0.5",
        "uuid() = event_type",
    ] {
        let error = refusal(sql);
        assert!(error.message.contains("depend on the data alone"), "{sql}: {error}");
    }
}

#[test]
fn what_is_no_expression_on_a_row_is_refused() {
    for sql in [
        "campaign_id in (select 1)",
        "exists (select 1 from t)",
        "count(*) > 1",
        "sum(price) over () > 1",
        "campaign_id = $1",
        "event_type as x",
        "@@version = 1",
    ] {
        refusal(sql);
    }
}

#[test]
fn a_hostile_length_or_depth_is_refused_instead_of_overflowing_the_stack() {
    refusal(&"(".repeat(5_000));
    refusal(&format!("{}seen", "not ".repeat(2_000)));
    refusal(&"x".repeat(100_000));
    let long_sum = format!("campaign_id{} > 1", " + 1".repeat(1_500));
    refusal(&long_sum);
    let long_list = format!("campaign_id in (0{})", ", 1".repeat(2_000));
    Expression::parse_condition(&long_list, &schema()).unwrap();
    let sum = format!("campaign_id{} > 1", " + campaign_id".repeat(90));
    Expression::parse_condition(&sum, &schema()).unwrap();
}

#[test]
fn constants_are_folded_and_read_no_columns() {
    let expression = Expression::parse("upper('a') || 'b'", &schema()).unwrap();
    assert!(expression.columns().is_empty());
    assert_eq!(expression.evaluate(&batch()).unwrap().as_string::<i32>().value(2), "Ab");
    assert_eq!(
        Expression::parse_condition("1 < 2", &schema())
            .unwrap()
            .constant_condition(),
        Some(true)
    );
    assert_eq!(
        Expression::parse_condition("1 > 2", &schema())
            .unwrap()
            .constant_condition(),
        Some(false)
    );
}

#[test]
fn strings_and_timestamps_have_plain_types_whatever_the_function_returns() {
    for (sql, data_type) in [
        ("substr(event_type, 1, 2)", "string"),
        ("split_part(event_type, 'i', 1)", "string"),
        ("upper(event_type)", "string"),
        ("case when seen then 'a' else event_type end", "string"),
        ("date_trunc('hour', event_time)", "timestamp(ns)"),
        ("date_bin(interval '5 minutes', event_time)", "timestamp(ns)"),
        ("event_time + interval '1 day'", "timestamp(ns)"),
        ("price * 2", "float64"),
        ("campaign_id % 10", "int64"),
        ("cast(event_time as date)", "date"),
        ("coalesce(price, 0)", "float64"),
        ("to_char(event_time, '%Y-%m-%d')", "string"),
        ("extract(hour from event_time)", "int32"),
    ] {
        let expression = Expression::parse(sql, &schema()).unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(crate::schema::type_name(expression.data_type()), data_type, "{sql}");
        assert_eq!(
            expression.evaluate(&batch()).unwrap().data_type(),
            expression.data_type(),
            "{sql}"
        );
    }
}

#[test]
fn a_failure_on_a_row_names_the_expression() {
    let error = Expression::parse("10 / campaign_id", &schema())
        .unwrap()
        .evaluate(&batch())
        .unwrap_err();
    assert_eq!(error.to_string(), "`10 / campaign_id`: Divide by zero error");
}

#[test]
fn null_columns_in_arithmetic_give_null() {
    let values = Expression::parse("price + campaign_id", &schema())
        .unwrap()
        .evaluate(&batch())
        .unwrap();
    assert_eq!(values.null_count(), 3);
    let values = Expression::parse("campaign_id * 2", &schema())
        .unwrap()
        .evaluate(&batch())
        .unwrap();
    assert_eq!(values.as_primitive::<Int64Type>().values(), &[2, 4, 0]);
}

#[test]
fn aggregates_are_typed() {
    for (sql, data_type) in [
        ("count(*)", DataType::Int64),
        ("count(price)", DataType::Int64),
        ("COUNT(distinct event_type)", DataType::Int64),
        ("sum(campaign_id)", DataType::Int64),
        ("avg(campaign_id)", DataType::Float64),
        ("stddev(price)", DataType::Float64),
        ("max(event_type)", DataType::Utf8),
        ("approx_distinct(event_type)", DataType::UInt64),
        (
            "approx_percentile_cont(0.5) within group (order by price)",
            DataType::Float64,
        ),
        ("approx_percentile_cont(price, 0.5)", DataType::Float64),
        ("count(*) filter (where event_type = 'view')", DataType::Int64),
    ] {
        let aggregate = AggregateExpression::parse(sql, &schema()).unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(aggregate.data_type(), &data_type, "{sql}");
    }
    let aggregate = AggregateExpression::parse("max(event_time)", &schema()).unwrap();
    assert_eq!(crate::schema::type_name(aggregate.data_type()), "timestamp(ns)");
    assert_eq!(aggregate.columns(), ["event_time"]);
}

#[test]
fn what_is_no_single_aggregate_is_refused() {
    for sql in [
        "price",
        "sum(price) / count(*)",
        "sum(event_type)",
        "sum(prise)",
        "array_agg(price order by price)",
        "count(*) over ()",
        "sum(count(*))",
        "grouping(price)",
    ] {
        AggregateExpression::parse(sql, &schema()).expect_err(sql);
    }
    for (sql, told) in [
        (
            "sum(event_type)",
            "sum() takes decimal, uint64, int64, float64, duration or interval, and not string",
        ),
        ("sum(price, price)", "sum() takes 1 argument, and not 2"),
        ("sum(count(*))", "count() cannot be inside of an aggregate"),
        (
            "sum(price) filter (where max(price) > 1)",
            "max() cannot be inside of an aggregate",
        ),
    ] {
        let error = AggregateExpression::parse(sql, &schema()).unwrap_err().to_string();
        assert!(error.starts_with(told), "{sql}: {error}");
    }
    let dictionary = "first_value(arrow_cast(event_type, 'Dictionary(Int32, Utf8)'))";
    let error = AggregateExpression::parse(dictionary, &schema())
        .unwrap_err()
        .to_string();
    assert!(error.contains("which a checkpoint cannot hold"), "{error}");
}

#[test]
fn a_regular_expression_s_fault_is_told() {
    let error = Expression::parse("regexp_like(event_type, '[')", &schema())
        .unwrap_err()
        .to_string();
    assert_eq!(error, "regex parse error: unclosed character class");
}

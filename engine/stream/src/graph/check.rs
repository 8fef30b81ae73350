//! What every part's rows look like, and whether its expressions fit its input's.

pub(crate) mod dedup;
pub(crate) mod event_time;
pub(crate) mod sinks;
pub(crate) mod window;

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};

use super::error::{GraphError, GraphPart};
use super::node_rows::{NodeRows, is_time};
use super::order::Order;
use super::spec::{GraphSpec, SourceSpec, TransformKind, TransformSpec};
use crate::expression::scalar::Expression;
use crate::schema::type_name;

/// Checks all parts. A part whose input is at fault is not blamed for it.
pub(crate) fn check(spec: &GraphSpec, order: &Order, errors: &mut Vec<GraphError>) -> Vec<Option<NodeRows>> {
    let mut rows: Vec<Option<NodeRows>> = vec![None; order.inputs.len()];
    for node in &order.sorted {
        rows[*node] = match spec.sources.get(*node) {
            Some(source) => Some(check_source(source, errors)),
            None => {
                let transform = &spec.transforms[node - spec.sources.len()];
                let source = &spec.sources[order.sources[*node].expect("a sorted node has a source")];
                let input = order.inputs[*node].and_then(|input| rows[input].as_ref());
                input.and_then(|input| check_transform(transform, source, input, errors))
            }
        };
    }
    sinks::check_sinks(spec, order, &rows, errors);
    rows
}

fn check_source(source: &SourceSpec, errors: &mut Vec<GraphError>) -> NodeRows {
    let part = GraphPart::Source(source.name.clone());
    let rows = NodeRows {
        visible: source.schema.arrow_with_meta(),
        offered: source.schema.arrow(),
        windowed: false,
        updates: false,
    };
    if let Some(watermark) = &source.watermark {
        match rows.visible.field_with_name(&watermark.column) {
            Ok(field) if is_time(field) => {}
            Ok(field) => errors.push(GraphError::new(
                &part,
                "watermark.column",
                format!(
                    "event time is a timestamp, but \"{}\" is {}",
                    field.name(),
                    type_name(field.data_type())
                ),
            )),
            Err(_) => errors.push(GraphError::unknown_column(
                &part,
                "watermark.column",
                &watermark.column,
                &rows.visible,
            )),
        }
    }
    rows
}

fn check_transform(
    transform: &TransformSpec,
    source: &SourceSpec,
    input: &NodeRows,
    errors: &mut Vec<GraphError>,
) -> Option<NodeRows> {
    let part = GraphPart::Transform(transform.name.clone());
    match &transform.kind {
        TransformKind::Filter { condition } => {
            if let Err(error) = Expression::parse_condition(condition, &input.visible) {
                errors.push(GraphError::of_expression(&part, "where", error));
            }
            Some(input.clone()) // Its columns are known even if its condition is wrong.
        }
        TransformKind::Select { columns } => check_select(&part, columns, input, errors),
        TransformKind::Dedup(dedup) => dedup::check_dedup(&part, dedup, source, input, errors),
        TransformKind::Window(window) => window::check_window(&part, window, source, input, errors),
    }
}

fn check_select(
    part: &GraphPart,
    columns: &[(String, String)],
    input: &NodeRows,
    errors: &mut Vec<GraphError>,
) -> Option<NodeRows> {
    if columns.is_empty() {
        errors.push(GraphError::new(part, "columns", "a select needs at least one column"));
        return None;
    }
    let mut names = HashSet::new();
    let mut fields = Vec::new();
    for (name, sql) in columns {
        let option = format!("columns.{name}");
        if !names.insert(name) {
            errors.push(GraphError::new(
                part,
                &option,
                format!("the column \"{name}\" is there twice"),
            ));
        }
        match Expression::parse(sql, &input.visible) {
            Ok(expression) => fields.push(Field::new(name, expression.data_type().clone(), true)),
            Err(error) => errors.push(GraphError::of_expression(part, &option, error)),
        }
    }
    if fields.len() < columns.len() {
        return None;
    }
    let schema = Arc::new(Schema::new(fields));
    Some(NodeRows {
        visible: Arc::clone(&schema),
        offered: schema,
        windowed: input.windowed,
        updates: input.updates,
    })
}

/// The value of something that [`check`] has found without mistakes.
pub(crate) fn checked<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("checked before: {error}"))
}

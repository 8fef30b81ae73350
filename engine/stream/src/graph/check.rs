//! What every part's rows look like, and whether its expressions fit its input's.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::error::{GraphError, GraphPart};
use super::order::Order;
use super::spec::{GraphSpec, SourceSpec, TransformKind, TransformSpec, WindowSpec};
use crate::expression::aggregate::AggregateExpression;
use crate::expression::error::ExpressionError;
use crate::expression::nearest::nearest;
use crate::expression::scalar::Expression;
use crate::schema::type_name;
use crate::window::error::WindowError;
use crate::window::tumbling::{TumblingOptions, TumblingWindow, WINDOW_END, WINDOW_START};

/// The rows of a node.
#[derive(Debug, Clone)]
pub(crate) struct NodeRows {
    /// All columns that an expression may name.
    pub(crate) visible: SchemaRef,
    /// The columns that a sink gets: `visible` without the source's own.
    pub(crate) offered: SchemaRef,
    /// Whether they come out of a window.
    pub(crate) windowed: bool,
}

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
    check_sinks(spec, order, &rows, errors);
    rows
}

/// The options of a window as [`TumblingWindow::new`] wants them, with aggregates parsed for `input`.
pub(crate) fn tumbling(
    window: &WindowSpec,
    time_column: &str,
    input: &SchemaRef,
    mut on_error: impl FnMut(&str, ExpressionError),
) -> Option<Result<TumblingWindow, WindowError>> {
    let mut aggregates = Vec::new();
    for (name, sql) in &window.aggregates {
        match AggregateExpression::parse(sql, input) {
            Ok(aggregate) => aggregates.push((name.clone(), aggregate)),
            Err(error) => on_error(name, error),
        }
    }
    if aggregates.len() < window.aggregates.len() {
        return None;
    }
    let options = TumblingOptions {
        time_column: time_column.to_owned(),
        size: window.size,
        allowed_lateness: window.allowed_lateness,
        group_by: window.group_by.clone(),
        aggregates,
        keep_late_rows: window.late_output.is_some(),
        groups_max: window.groups_max,
    };
    Some(TumblingWindow::new(input, options))
}

fn check_source(source: &SourceSpec, errors: &mut Vec<GraphError>) -> NodeRows {
    let part = GraphPart::Source(source.name.clone());
    let rows = NodeRows {
        visible: source.schema.arrow_with_meta(),
        offered: source.schema.arrow(),
        windowed: false,
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
            Err(_) => errors.push(unknown_column(
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
                errors.push(expression_error(&part, "where", error));
            }
            Some(input.clone()) // Its columns are known even if its condition is wrong.
        }
        TransformKind::Select { columns } => check_select(&part, columns, input, errors),
        TransformKind::Window(window) => check_window(&part, window, source, input, errors),
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
            Err(error) => errors.push(expression_error(part, &option, error)),
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
    })
}

fn check_window(
    part: &GraphPart,
    window: &WindowSpec,
    source: &SourceSpec,
    input: &NodeRows,
    errors: &mut Vec<GraphError>,
) -> Option<NodeRows> {
    let before = errors.len();
    if input.windowed {
        errors.push(GraphError::new(
            part,
            "input",
            "a window cannot read another window's rows yet; filter and select can",
        ));
        return None;
    }
    if window.aggregates.is_empty() {
        errors.push(GraphError::new(
            part,
            "aggregates",
            "a window needs at least one aggregate, such as `events = \"count(*)\"`",
        ));
    }
    for (index, name) in window.group_by.iter().enumerate() {
        if window.group_by[..index].contains(name) {
            let error = GraphError::new(part, "group_by", format!("the column \"{name}\" is there twice"));
            errors.push(GraphError {
                index: Some(index),
                ..error
            });
        } else if input.visible.field_with_name(name).is_err() {
            let error = unknown_column(part, "group_by", name, &input.visible);
            errors.push(GraphError {
                index: Some(index),
                ..error
            });
        }
    }
    let mut names: HashSet<&str> = [WINDOW_START, WINDOW_END].into();
    for name in window.group_by.iter().filter(|name| name.starts_with("window_")) {
        if names.contains(name.as_str()) {
            errors.push(GraphError::new(
                part,
                "group_by",
                format!("every window already has a column \"{name}\""),
            ));
        }
    }
    names.extend(window.group_by.iter().map(String::as_str));
    for (name, _) in &window.aggregates {
        if !names.insert(name) {
            let message = format!("the window already has a column \"{name}\"");
            errors.push(GraphError::new(part, &format!("aggregates.{name}"), message));
        }
    }
    let Some(watermark) = &source.watermark else {
        let message = format!(
            "a window needs event time; add [sources.{}.watermark] with its column",
            source.name
        );
        errors.push(GraphError::new(part, "input", message));
        return None;
    };
    match input.visible.field_with_name(&watermark.column) {
        Ok(field) if is_time(field) => {}
        Ok(field) => errors.push(GraphError::new(
            part,
            "input",
            format!(
                "event time is a timestamp, but here \"{}\" is {}",
                field.name(),
                type_name(field.data_type())
            ),
        )),
        // The source itself is blamed for a column that it does not have.
        Err(_)
            if source
                .schema
                .arrow_with_meta()
                .field_with_name(&watermark.column)
                .is_err() =>
        {
            return None;
        }
        Err(_) => errors.push(GraphError::new(
            part,
            "input",
            format!(
                "a window needs the event time \"{}\"; let the select before it keep that column",
                watermark.column
            ),
        )),
    }
    let report = |name: &str, error| errors.push(expression_error(part, &format!("aggregates.{name}"), error));
    let resolved = tumbling(window, &watermark.column, &input.visible, report)?;
    match resolved {
        _ if errors.len() > before => None,
        Ok(window) => {
            let schema = Arc::clone(window.final_schema());
            Some(NodeRows {
                visible: Arc::clone(&schema),
                offered: schema,
                windowed: true,
            })
        }
        Err(error) => {
            let option = if matches!(error, WindowError::Size { .. }) {
                "size"
            } else {
                "group_by"
            };
            errors.push(GraphError::new(part, option, error.to_string()));
            None
        }
    }
}

fn check_sinks(spec: &GraphSpec, order: &Order, rows: &[Option<NodeRows>], errors: &mut Vec<GraphError>) {
    let mut late_inputs: Vec<Option<usize>> = vec![None; spec.sinks.len()];
    for (position, transform) in spec.transforms.iter().enumerate() {
        let TransformKind::Window(WindowSpec {
            late_output: Some(late),
            ..
        }) = &transform.kind
        else {
            continue;
        };
        let part = GraphPart::Transform(transform.name.clone());
        let error = |message: String| GraphError::new(&part, "late_output", message);
        match spec.sinks.iter().position(|sink| sink.name == *late) {
            None => {
                let names: Vec<&str> = spec.sinks.iter().map(|sink| sink.name.as_str()).collect();
                let message = format!("there is no sink \"{late}\"; there are {}", names.join(", "));
                errors.push(GraphError {
                    suggestion: nearest(late, names),
                    ..error(message)
                });
            }
            Some(sink) if spec.sinks[sink].input.is_some() => {
                errors.push(error(format!(
                    "the sink \"{late}\" has an input of its own; late rows need a sink without one"
                )));
            }
            Some(sink) if late_inputs[sink].is_some() => {
                errors.push(error(format!(
                    "the sink \"{late}\" already takes the late rows of another window"
                )));
            }
            Some(sink) => late_inputs[sink] = order.inputs[spec.sources.len() + position].or(Some(usize::MAX)),
        }
    }
    for (position, sink) in spec.sinks.iter().enumerate() {
        let part = GraphPart::Sink(sink.name.clone());
        if sink.input.is_none() && late_inputs[position].is_none() {
            errors.push(GraphError::new(
                &part,
                "input",
                "a sink needs an input, or a window that names it as its late_output",
            ));
        }
        let input = order.sink_inputs[position].or(late_inputs[position]);
        let Some(input) = input.and_then(|input| rows.get(input)?.as_ref()) else {
            continue;
        };
        for (option, column) in &sink.uses {
            if input.visible.field_with_name(column).is_err() {
                errors.push(unknown_column(&part, option, column, &input.offered));
            }
        }
    }
}

fn is_time(field: &Field) -> bool {
    matches!(field.data_type(), DataType::Timestamp(..))
}

fn expression_error(part: &GraphPart, option: &str, error: ExpressionError) -> GraphError {
    let ExpressionError {
        message,
        position,
        suggestion,
    } = error;
    GraphError {
        position,
        suggestion,
        ..GraphError::new(part, option, message)
    }
}

fn unknown_column(part: &GraphPart, option: &str, name: &str, columns: &Schema) -> GraphError {
    let names: Vec<&str> = columns.fields().iter().map(|field| field.name().as_str()).collect();
    let message = format!("there is no column \"{name}\"; the columns are {}", names.join(", "));
    GraphError {
        suggestion: nearest(name, names),
        ..GraphError::new(part, option, message)
    }
}

/// The value of something that [`check`] has found without mistakes.
pub(crate) fn checked<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("checked before: {error}"))
}

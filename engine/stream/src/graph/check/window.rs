//! Whether a window fits its input's rows.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::expression::aggregate::AggregateExpression;
use crate::expression::error::ExpressionError;
use crate::graph::error::{GraphError, GraphPart};
use crate::graph::node_rows::{NodeRows, is_time};
use crate::graph::spec::{SourceSpec, WindowSpec};
use crate::schema::type_name;
use crate::window::error::WindowError;
use crate::window::tumbling::{TumblingOptions, TumblingWindow, WINDOW_END, WINDOW_START};

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
        size: window.kind.size(),
        slide: window.kind.slide(),
        allowed_lateness: window.allowed_lateness,
        group_by: window.group_by.clone(),
        aggregates,
        keep_late_rows: window.late_output.is_some(),
        groups_max: window.groups_max,
    };
    Some(TumblingWindow::new(input, options))
}

pub(super) fn check_window(
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
            let error = GraphError::unknown_column(part, "group_by", name, &input.visible);
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
    let report = |name: &str, error| errors.push(GraphError::of_expression(part, &format!("aggregates.{name}"), error));
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
            let option = match error {
                WindowError::Size { .. } => "size",
                WindowError::Slide { .. }
                | WindowError::SlideBeyondSize { .. }
                | WindowError::UnevenSlide { .. }
                | WindowError::TooManyWindows { .. } => "slide",
                _ => "group_by",
            };
            errors.push(GraphError::new(part, option, error.to_string()));
            None
        }
    }
}

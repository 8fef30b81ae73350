//! Whether a window fits its input's rows.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::event_time::{check_columns, check_event_time};
use crate::expression::aggregate::AggregateExpression;
use crate::expression::error::ExpressionError;
use crate::graph::error::{GraphError, GraphPart};
use crate::graph::node_rows::NodeRows;
use crate::graph::planned_window::PlannedWindow;
use crate::graph::spec::{SourceSpec, WindowSpec};
use crate::stateful::error::OperatorError;
use crate::window::aligned::{AlignedOptions, AlignedWindow, WINDOW_END, WINDOW_START};
use crate::window::kind::WindowKind;
use crate::window::output_mode::OutputMode;
use crate::window::session::{SessionOptions, SessionWindow};

/// A window with its aggregates parsed for `input`.
pub(crate) fn planned_window(
    window: &WindowSpec,
    time_column: &str,
    input: &SchemaRef,
    mut on_error: impl FnMut(&str, ExpressionError),
) -> Option<Result<PlannedWindow, OperatorError>> {
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
    if let WindowKind::Session { gap } = window.kind {
        let options = SessionOptions {
            time_column: time_column.to_owned(),
            gap,
            allowed_lateness: window.allowed_lateness,
            group_by: window.group_by.clone(),
            aggregates,
            keep_late_rows: window.late_output.is_some(),
            groups_max: window.groups_max,
        };
        let session = SessionWindow::new(input, options);
        return Some(session.map(|session| PlannedWindow::Session(Arc::new(session))));
    }
    let options = AlignedOptions {
        time_column: time_column.to_owned(),
        size: window.kind.size(),
        slide: window.kind.slide(),
        allowed_lateness: window.allowed_lateness,
        group_by: window.group_by.clone(),
        aggregates,
        keep_late_rows: window.late_output.is_some(),
        groups_max: window.groups_max,
        mode: window.mode,
    };
    let aligned = AlignedWindow::new(input, options);
    Some(aligned.map(|aligned| PlannedWindow::Aligned(Arc::new(aligned))))
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
    check_columns(part, "group_by", &window.group_by, input, errors);
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
    if window.mode == OutputMode::Update && matches!(window.kind, WindowKind::Session { .. }) {
        errors.push(GraphError::new(
            part,
            "mode",
            "a session is emitted once, when it closes, for until then a row can make one session of two; \
             a tumbling or hopping window over the same `group_by` gives early results beside it",
        ));
    }
    let time_column = check_event_time(part, "a window", source, input, errors)?;
    let report = |name: &str, error| errors.push(GraphError::of_expression(part, &format!("aggregates.{name}"), error));
    let resolved = planned_window(window, time_column, &input.visible, report)?;
    match resolved {
        _ if errors.len() > before => None,
        Ok(resolved) => {
            let schema = Arc::clone(resolved.final_schema());
            Some(NodeRows {
                visible: Arc::clone(&schema),
                offered: schema,
                windowed: true,
                updates: window.mode == OutputMode::Update,
            })
        }
        Err(error) => {
            let option = match error {
                OperatorError::Size { .. } => "size",
                OperatorError::Gap { .. } => "gap",
                OperatorError::Slide { .. }
                | OperatorError::SlideBeyondSize { .. }
                | OperatorError::UnevenSlide { .. }
                | OperatorError::TooManyWindows { .. } => "slide",
                _ => "group_by",
            };
            errors.push(GraphError::new(part, option, error.to_string()));
            None
        }
    }
}

//! What windows and dedups have in common: they need event time, and columns that tell rows apart.

use crate::graph::error::{GraphError, GraphPart};
use crate::graph::node_rows::{NodeRows, is_time};
use crate::graph::spec::SourceSpec;
use crate::schema::type_name;

/// The event time of the input's rows; `None` if there is none at all. `what` needs it: "a window".
pub(super) fn check_event_time<'a>(
    part: &GraphPart,
    what: &str,
    source: &'a SourceSpec,
    input: &NodeRows,
    errors: &mut Vec<GraphError>,
) -> Option<&'a str> {
    let Some(watermark) = &source.watermark else {
        let message = format!(
            "{what} needs event time; add [sources.{}.watermark] with its column",
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
                "{what} needs the event time \"{}\"; let the select before it keep that column",
                watermark.column
            ),
        )),
    }
    Some(&watermark.column)
}

/// Whether the columns of an option are there, each once.
pub(super) fn check_columns(
    part: &GraphPart,
    option: &str,
    columns: &[String],
    input: &NodeRows,
    errors: &mut Vec<GraphError>,
) {
    for (index, name) in columns.iter().enumerate() {
        let error = if columns[..index].contains(name) {
            GraphError::new(part, option, format!("the column \"{name}\" is there twice"))
        } else if input.visible.field_with_name(name).is_err() {
            GraphError::unknown_column(part, option, name, &input.visible)
        } else {
            continue;
        };
        errors.push(GraphError {
            index: Some(index),
            ..error
        });
    }
}

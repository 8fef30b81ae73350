//! What can be wrong with a graph, and where, so that a caret can point at it.

use std::fmt;

use arrow::datatypes::Schema;

use crate::expression::error::ExpressionError;
use crate::expression::nearest::nearest;
use crate::stateful::error::OperatorError;

/// One mistake in a graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {message}")]
pub struct GraphError {
    /// Whose mistake it is.
    pub part: GraphPart,
    /// The option at fault, as it is written below the part: `input`, `where`, `columns.total`, `aggregates.events`,
    /// `group_by`, `size`, `slide`, `late_output`, `watermark.column`, or an option of [`SinkSpec::uses`](super::SinkSpec::uses).
    pub option: String,
    /// Where in a list option the fault is (the index in `group_by`).
    pub index: Option<usize>,
    /// The byte of the option's text at which the fault begins, where that is known.
    pub position: Option<usize>,
    /// What is wrong and what would be right, in a sentence.
    pub message: String,
    /// The name that was probably meant.
    pub suggestion: Option<String>,
}

/// A part of a pipeline, by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GraphPart {
    /// `[sources.NAME]`
    Source(String),
    /// `[transforms.NAME]`
    Transform(String),
    /// `[sinks.NAME]`
    Sink(String),
}

impl fmt::Display for GraphPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GraphPart::Source(name) => write!(f, "sources.{name}"),
            GraphPart::Transform(name) => write!(f, "transforms.{name}"),
            GraphPart::Sink(name) => write!(f, "sinks.{name}"),
        }
    }
}

impl GraphError {
    pub(crate) fn new(part: &GraphPart, option: &str, message: impl Into<String>) -> Self {
        GraphError {
            part: part.clone(),
            option: option.to_owned(),
            index: None,
            position: None,
            message: message.into(),
            suggestion: None,
        }
    }

    pub(crate) fn of_expression(part: &GraphPart, option: &str, error: ExpressionError) -> Self {
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

    pub(crate) fn unknown_column(part: &GraphPart, option: &str, name: &str, columns: &Schema) -> Self {
        let names: Vec<&str> = columns.fields().iter().map(|field| field.name().as_str()).collect();
        let message = format!("there is no column \"{name}\"; the columns are {}", names.join(", "));
        GraphError {
            suggestion: nearest(name, names),
            ..GraphError::new(part, option, message)
        }
    }
}

/// Why rows could not be processed, and by which transform. The pipeline cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("transforms.{node}: {cause}")]
pub struct ProcessError {
    /// The transform's name.
    pub node: String,
    /// What happened.
    #[source]
    pub cause: OperatorError,
}

//! Whether every sink gets rows, with the columns that its options name, and every late output has a sink.

use crate::expression::nearest::nearest;
use crate::graph::error::{GraphError, GraphPart};
use crate::graph::node_rows::NodeRows;
use crate::graph::order::Order;
use crate::graph::spec::{GraphSpec, TransformKind, WindowSpec};

pub(super) fn check_sinks(spec: &GraphSpec, order: &Order, rows: &[Option<NodeRows>], errors: &mut Vec<GraphError>) {
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
        if input.updates && sink.keeps_all && sink.input.is_some() {
            errors.push(GraphError::new(
                &part,
                "input",
                "these rows come again whenever they change (`mode = \"update\"`), and files keep each row they are given; \
                 a Kafka topic with a `key` can take them, or the window can have `mode = \"append\"`",
            ));
        }
        for (option, column) in &sink.uses {
            if input.visible.field_with_name(column).is_err() {
                errors.push(GraphError::unknown_column(&part, option, column, &input.offered));
            }
        }
    }
}

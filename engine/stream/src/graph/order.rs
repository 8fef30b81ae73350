//! Who reads whom: every part's input by index, inputs first, no cycles.

use std::collections::HashMap;

use super::error::{GraphError, GraphPart};
use super::spec::GraphSpec;
use crate::expression::nearest::nearest;

/// A source or a transform: the sources first, then the transforms, both in the order of the spec.
pub(crate) type NodeId = usize;

/// The inputs of transforms and sinks.
#[derive(Debug)]
pub(crate) struct Order {
    /// The input of each node; `None` for sources and where it could not be resolved.
    pub(crate) inputs: Vec<Option<NodeId>>,
    /// The input of each sink; `None` where it has none or it could not be resolved.
    pub(crate) sink_inputs: Vec<Option<NodeId>>,
    /// All nodes whose way back to a source is known, inputs first.
    pub(crate) sorted: Vec<NodeId>,
    /// The source of each node in `sorted`.
    pub(crate) sources: Vec<Option<usize>>,
}

/// Resolves all inputs.
pub(crate) fn order(spec: &GraphSpec, errors: &mut Vec<GraphError>) -> Order {
    let mut names: HashMap<&str, NodeId> = HashMap::new();
    let source_names = spec
        .sources
        .iter()
        .map(|source| (&source.name, GraphPart::Source(source.name.clone())));
    let transform_names = spec
        .transforms
        .iter()
        .map(|transform| (&transform.name, GraphPart::Transform(transform.name.clone())));
    for (id, (name, part)) in source_names.chain(transform_names).enumerate() {
        if names.insert(name, id).is_some() {
            errors.push(GraphError::new(
                &part,
                "",
                format!("the name \"{name}\" is already taken"),
            ));
        }
    }
    let mut resolve = |part: &GraphPart, input: &str| {
        if let Some(id) = names.get(input) {
            return Some(*id);
        }
        let mut known: Vec<&str> = names.keys().copied().collect();
        known.sort_unstable();
        let message = if spec.sinks.iter().any(|sink| sink.name == input) {
            format!("\"{input}\" is a sink, and nothing comes out of a sink")
        } else {
            format!(
                "there is no source or transform \"{input}\"; there are {}",
                known.join(", ")
            )
        };
        let suggestion = nearest(input, known);
        errors.push(GraphError {
            suggestion,
            ..GraphError::new(part, "input", message)
        });
        None
    };
    let mut inputs = vec![None; spec.sources.len()];
    for transform in &spec.transforms {
        inputs.push(resolve(&GraphPart::Transform(transform.name.clone()), &transform.input));
    }
    let sink_inputs = spec.sinks.iter().map(|sink| {
        sink.input
            .as_ref()
            .and_then(|input| resolve(&GraphPart::Sink(sink.name.clone()), input))
    });
    let sink_inputs = sink_inputs.collect();
    report_cycles(spec, &inputs, errors);
    let mut order = Order {
        sources: vec![None; inputs.len()],
        sorted: Vec::new(),
        inputs,
        sink_inputs,
    };
    for source in 0..spec.sources.len() {
        order.sources[source] = Some(source);
        order.sorted.push(source);
        let mut next = order.sorted.len() - 1;
        while let Some(node) = order.sorted.get(next).copied() {
            for reader in (0..order.inputs.len()).filter(|reader| order.inputs[*reader] == Some(node)) {
                order.sources[reader] = Some(source);
                order.sorted.push(reader);
            }
            next += 1;
        }
    }
    order
}

fn report_cycles(spec: &GraphSpec, inputs: &[Option<NodeId>], errors: &mut Vec<GraphError>) {
    let first_transform = spec.sources.len();
    let mut reported = vec![false; inputs.len()];
    for start in first_transform..inputs.len() {
        let mut path = vec![start];
        let mut node = start;
        while let Some(input) = inputs[node] {
            if input == start && !reported[start] {
                path.iter().for_each(|node| reported[*node] = true);
                let names: Vec<&str> = path
                    .iter()
                    .map(|node| spec.transforms[node - first_transform].name.as_str())
                    .collect();
                let part = GraphPart::Transform(names[0].to_owned());
                let message = format!("this goes in a circle: {} reads {}", names.join(" reads "), names[0]);
                errors.push(GraphError::new(&part, "input", message));
            }
            if path.contains(&input) {
                break;
            }
            path.push(input);
            node = input;
        }
    }
}

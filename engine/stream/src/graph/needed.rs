//! Which columns are needed where: backwards from the sinks, so that nothing is decoded for nobody.

use std::collections::BTreeSet;

use super::check::checked;
use super::node_rows::NodeRows;
use super::order::{NodeId, Order};
use super::spec::{GraphSpec, TransformKind};
use crate::expression::aggregate::AggregateExpression;
use crate::expression::scalar::Expression;

/// For each node the columns that its readers need, backwards from the sinks.
pub(crate) fn needed_columns(spec: &GraphSpec, order: &Order, rows: &[NodeRows]) -> Vec<BTreeSet<String>> {
    let mut needed: Vec<BTreeSet<String>> = vec![BTreeSet::new(); rows.len()];
    let offered = |node: NodeId| rows[node].offered.fields().iter().map(|field| field.name().clone());
    for (sink, input) in spec.sinks.iter().zip(&order.sink_inputs) {
        if let Some(input) = *input {
            needed[input].extend(offered(input));
            needed[input].extend(sink.uses.iter().map(|(_, column)| column.clone()));
        }
    }
    for node in order.sorted.iter().rev().copied() {
        let Some(input) = order.inputs[node] else {
            let watermark = spec.sources[node].watermark.as_ref();
            needed[node].extend(watermark.map(|watermark| watermark.column.clone()));
            continue;
        };
        let from_input: Vec<String> = match &spec.transforms[node - spec.sources.len()].kind {
            TransformKind::Filter { condition } => {
                let condition = checked(Expression::parse_condition(condition, &rows[input].visible));
                needed[node].iter().chain(condition.columns()).cloned().collect()
            }
            TransformKind::Select { columns } => {
                let used = columns.iter().filter(|(name, _)| needed[node].contains(name));
                let used = used.map(|(_, sql)| checked(Expression::parse(sql, &rows[input].visible)));
                used.flat_map(|expression| expression.columns().to_vec()).collect()
            }
            TransformKind::Dedup(dedup) => {
                let source = order.sources[node].expect("a sorted node has a source");
                let watermark = spec.sources[source]
                    .watermark
                    .as_ref()
                    .expect("a dedup was checked to have event time");
                let own = dedup.keys.iter().chain([&watermark.column]);
                needed[node].iter().chain(own).cloned().collect()
            }
            TransformKind::Window(window) => {
                needed[node].extend(offered(node));
                let source = order.sources[node].expect("a sorted node has a source");
                let watermark = spec.sources[source]
                    .watermark
                    .as_ref()
                    .expect("a window was checked to have event time");
                let mut columns = window.group_by.clone();
                columns.push(watermark.column.clone());
                for (_, sql) in &window.aggregates {
                    columns.extend_from_slice(checked(AggregateExpression::parse(sql, &rows[input].visible)).columns());
                }
                if let Some(late) = &window.late_output {
                    columns.extend(offered(input));
                    let late = spec
                        .sinks
                        .iter()
                        .find(|sink| sink.name == *late)
                        .expect("late outputs were checked");
                    columns.extend(late.uses.iter().map(|(_, column)| column.clone()));
                }
                columns
            }
        };
        needed[input].extend(from_input);
    }
    needed
}

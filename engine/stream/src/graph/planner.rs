//! Checks a graph and derives its plan: one per source, with the operators and the columns between them.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};

use super::check::dedup::dedup_options;
use super::check::window::planned_window;
use super::check::{check, checked};
use super::error::GraphError;
use super::needed::needed_columns;
use super::node_rows::NodeRows;
use super::order::{NodeId, Order, order};
use super::plan::{GraphPlan, NodeInfo, NodeKind, Operator, Projection, SinkColumns, SourcePlan, Stage};
use super::planned_window::PlannedWindow;
use super::spec::{DedupSpec, GraphSpec, TransformKind, WindowSpec};
use crate::expression::scalar::Expression;
use crate::operator::dedup::{Dedup, DedupOptions};
use crate::operator::filter::Filter;
use crate::operator::select::Select;
use crate::schema::{Field, MetaColumn};

/// Checks all of a graph. Every mistake is reported at once.
pub fn plan(spec: &GraphSpec) -> Result<GraphPlan, Vec<GraphError>> {
    let mut errors = Vec::new();
    let order = order(spec, &mut errors);
    let rows = check(spec, &order, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let rows: Vec<NodeRows> = rows
        .into_iter()
        .map(|rows| rows.expect("every node was checked"))
        .collect();
    let planner = Planner {
        needed: needed_columns(spec, &order, &rows),
        spec,
        order,
        rows,
    };
    let sources = (0..spec.sources.len())
        .map(|source| Arc::new(planner.source(source)))
        .collect();
    Ok(GraphPlan { sources })
}

struct Planner<'a> {
    spec: &'a GraphSpec,
    order: Order,
    rows: Vec<NodeRows>,
    needed: Vec<BTreeSet<String>>,
}

impl Planner<'_> {
    fn source(&self, source: usize) -> SourcePlan {
        let spec = &self.spec.sources[source];
        let nodes: Vec<NodeId> = self
            .order
            .sorted
            .iter()
            .copied()
            .filter(|node| self.order.sources[*node] == Some(source))
            .collect();
        let sinks: Vec<usize> = (0..self.spec.sinks.len())
            .filter(|sink| self.sink_input(*sink).is_some_and(|node| nodes.contains(&node)))
            .collect();
        let mut windows = Vec::new();
        let stages = nodes
            .iter()
            .map(|node| self.stage(*node, &nodes, &sinks, &mut windows))
            .collect();
        SourcePlan {
            name: spec.name.clone(),
            projection: self.projection(source),
            watermark: spec.watermark.clone(),
            nodes: nodes.iter().map(|node| self.info(*node)).collect(),
            sinks: sinks
                .iter()
                .map(|sink| (self.spec.sinks[*sink].name.clone(), self.sink_schema(*sink)))
                .collect(),
            windows,
            stages,
        }
    }

    fn projection(&self, source: usize) -> Projection {
        let spec = &self.spec.sources[source];
        let needed = &self.needed[source];
        let event_time = spec.watermark.as_ref().map(|watermark| watermark.column.as_str());
        let fields = spec
            .schema
            .fields()
            .iter()
            .filter(|field| needed.contains(&field.name))
            .map(|field| {
                let required = field.required || event_time == Some(&field.name);
                Field {
                    required,
                    ..field.clone()
                }
            });
        let meta = MetaColumn::ALL.into_iter().filter(|meta| needed.contains(meta.name()));
        Projection {
            fields: fields.collect(),
            meta: meta.collect(),
        }
    }

    /// The columns that really flow out of a node.
    fn flowing(&self, node: NodeId) -> SchemaRef {
        if node < self.spec.sources.len() {
            return self.projection(node).schema();
        }
        let fields = self.rows[node]
            .visible
            .fields()
            .iter()
            .filter(|field| self.needed[node].contains(field.name()));
        Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()))
    }

    fn stage(&self, node: NodeId, nodes: &[NodeId], sinks: &[usize], windows: &mut Vec<String>) -> Stage {
        let flowing = self.flowing(node);
        let reads = |reader: &usize| self.order.inputs[nodes[*reader]] == Some(node) && self.is_alive(nodes[*reader]);
        let sink_columns = |sink: usize, from: &SchemaRef| SinkColumns {
            sink: sinks
                .iter()
                .position(|other| *other == sink)
                .expect("a sink of this source"),
            columns: positions(self.sink_schema(sink).as_ref(), from),
        };
        let operator = match self.order.inputs[node] {
            None => Operator::Source,
            Some(input) => {
                let transform = &self.spec.transforms[node - self.spec.sources.len()];
                let input = self.flowing(input);
                match &transform.kind {
                    _ if !self.is_alive(node) => Operator::Source, // Nobody reads it, and it has no readers.
                    TransformKind::Filter { condition } => {
                        let condition = checked(Expression::parse_condition(condition, &input));
                        Operator::Filter(Filter::new(condition, positions(&flowing, &input)))
                    }
                    TransformKind::Select { columns } => {
                        let used = columns.iter().filter(|(name, _)| self.needed[node].contains(name));
                        let parse =
                            |(name, sql): &(String, String)| (name.clone(), checked(Expression::parse(sql, &input)));
                        Operator::Select(Select::new(used.map(parse).collect()))
                    }
                    TransformKind::Dedup(dedup) => {
                        let kept_columns = positions(&flowing, &input);
                        Operator::Dedup(Arc::new(self.dedup(node, dedup, kept_columns, &input)))
                    }
                    TransformKind::Window(window) => {
                        windows.push(transform.name.clone());
                        let late = self
                            .spec
                            .sinks
                            .iter()
                            .position(|sink| Some(&sink.name) == window.late_output.as_ref());
                        Operator::Window {
                            position: windows.len() - 1,
                            window: self.window(node, window, &input),
                            late: late.map(|sink| sink_columns(sink, &input)),
                        }
                    }
                }
            }
        };
        let direct = sinks
            .iter()
            .copied()
            .filter(|sink| self.order.sink_inputs[*sink] == Some(node));
        Stage {
            name: self.name(node).to_owned(),
            operator,
            readers: (0..nodes.len()).filter(reads).collect(),
            sinks: direct.map(|sink| sink_columns(sink, &flowing)).collect(),
        }
    }

    fn dedup(&self, node: NodeId, dedup: &DedupSpec, kept_columns: Vec<usize>, input: &SchemaRef) -> Dedup {
        checked(Dedup::new(
            input,
            DedupOptions {
                kept_columns,
                ..dedup_options(dedup, self.event_time(node))
            },
        ))
    }

    /// The event time of a node that was checked to have it.
    fn event_time(&self, node: NodeId) -> &str {
        let source = self.order.sources[node].expect("a sorted node has a source");
        let watermark = self.spec.sources[source].watermark.as_ref();
        &watermark.expect("what needs event time was checked to have it").column
    }

    fn window(&self, node: NodeId, window: &WindowSpec, input: &SchemaRef) -> PlannedWindow {
        let resolved = planned_window(window, self.event_time(node), input, |_, error| {
            panic!("checked before: {error}")
        });
        resolved
            .expect("no aggregate failed")
            .unwrap_or_else(|error| panic!("checked before: {error}"))
    }

    fn info(&self, node: NodeId) -> NodeInfo {
        let sinks = self
            .spec
            .sinks
            .iter()
            .zip(&self.order.sink_inputs)
            .filter(|(_, input)| **input == Some(node));
        let kind = match node
            .checked_sub(self.spec.sources.len())
            .map(|transform| &self.spec.transforms[transform].kind)
        {
            None => NodeKind::Source,
            Some(TransformKind::Filter { .. }) => NodeKind::Filter,
            Some(TransformKind::Select { .. }) => NodeKind::Select,
            Some(TransformKind::Dedup(_)) => NodeKind::Dedup,
            Some(TransformKind::Window(_)) => NodeKind::Window,
        };
        NodeInfo {
            name: self.name(node).to_owned(),
            input: self.order.inputs[node].map(|input| self.name(input).to_owned()),
            kind,
            columns: Arc::clone(&self.rows[node].offered),
            needed: self.flowing(node),
            sinks: sinks.map(|(sink, _)| sink.name.clone()).collect(),
        }
    }

    /// The node whose rows a sink takes: its input, or the input of the window whose late rows it takes.
    fn sink_input(&self, sink: usize) -> Option<NodeId> {
        self.order.sink_inputs[sink].or_else(|| {
            let names_it = |kind: &TransformKind| {
                matches!(kind, TransformKind::Window(window) if window.late_output.as_ref() == Some(&self.spec.sinks[sink].name))
            };
            let window = self.spec.transforms.iter().position(|transform| names_it(&transform.kind))?;
            self.order.inputs[self.spec.sources.len() + window]
        })
    }

    fn sink_schema(&self, sink: usize) -> SchemaRef {
        let input = self.sink_input(sink).expect("a sink was checked to have rows");
        let rows = &self.rows[input];
        let is_wanted = |name: &String| {
            rows.offered.field_with_name(name).is_ok()
                || self.spec.sinks[sink].uses.iter().any(|(_, column)| column == name)
        };
        let flowing = self.flowing(input);
        let fields = flowing
            .fields()
            .iter()
            .filter(|field| is_wanted(field.name()))
            .cloned()
            .collect::<Vec<_>>();
        Arc::new(Schema::new(fields))
    }

    /// Whether anyone needs its rows.
    fn is_alive(&self, node: NodeId) -> bool {
        let spec_sources = self.spec.sources.len();
        node < spec_sources
            || !self.needed[node].is_empty()
            || matches!(self.spec.transforms[node - spec_sources].kind, TransformKind::Window(_))
    }

    fn name(&self, node: NodeId) -> &str {
        match self.spec.sources.get(node) {
            Some(source) => &source.name,
            None => &self.spec.transforms[node - self.spec.sources.len()].name,
        }
    }
}

fn positions(columns: &Schema, within: &Schema) -> Vec<usize> {
    let position = |name: &String| within.index_of(name).expect("a needed column flows");
    columns.fields().iter().map(|field| position(field.name())).collect()
}

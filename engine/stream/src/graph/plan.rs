//! Checks a graph and derives what has to be known to run it.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::error::GraphError;
use super::spec::{GraphSpec, WatermarkSpec};
use crate::schema::{Field, MetaColumn};

/// Checks all of a graph. Every mistake is reported at once.
pub fn plan(_spec: &GraphSpec) -> Result<GraphPlan, Vec<GraphError>> {
    unimplemented!()
}

/// A graph without mistakes.
#[derive(Debug, Clone)]
pub struct GraphPlan {
    /// One plan per source, in the order of the sources.
    pub sources: Vec<Arc<SourcePlan>>,
}

/// The columns of a source that the graph needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Projection {
    /// Fields of the payload, in schema order.
    pub fields: Vec<Field>,
    /// Columns of the source itself.
    pub meta: Vec<MetaColumn>,
}

impl Projection {
    /// The columns: fields, then meta columns.
    pub fn schema(&self) -> SchemaRef {
        unimplemented!()
    }
}

/// All that happens to the rows of one source.
#[derive(Debug)]
pub struct SourcePlan {
    /// The source's name.
    pub name: String,
    /// What must be decoded.
    pub projection: Projection,
    /// Its event time.
    pub watermark: Option<WatermarkSpec>,
    /// The source itself and every transform that its rows reach, inputs first.
    pub nodes: Vec<NodeInfo>,
    /// The sinks that its rows reach, in the order of the spec, with the columns they get.
    /// [`Output::sink`](super::Output::sink) is an index into this.
    pub sinks: Vec<(String, SchemaRef)>,
    /// The names of the transforms that are windows, in the order of [`TaskGraph`](super::TaskGraph)'s window indexes.
    pub windows: Vec<String>,
}

/// A node of the plan, for `engine explain`.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    /// The source's or transform's name.
    pub name: String,
    /// The name of its input; `None` for the source.
    pub input: Option<String>,
    /// What it does.
    pub kind: NodeKind,
    /// The columns it offers to those who name it as their input.
    pub columns: SchemaRef,
    /// The sinks that take its rows.
    pub sinks: Vec<String>,
}

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// Reads records.
    Source,
    /// Keeps some rows.
    Filter,
    /// Computes columns.
    Select,
    /// Aggregates.
    Window,
}

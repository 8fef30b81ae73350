//! A graph without mistakes, and all that has to be known to run or explain it. Data only; see `planner`.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};

use super::planned_window::PlannedWindow;
use super::spec::WatermarkSpec;
use crate::operator::dedup::Dedup;
use crate::operator::filter::Filter;
use crate::operator::select::Select;
use crate::schema::{Field, MetaColumn};
use crate::window::output_mode::OutputMode;

/// A graph without mistakes.
#[derive(Debug, Clone)]
pub struct GraphPlan {
    /// One plan per source, in the order of the sources.
    pub sources: Vec<Arc<SourcePlan>>,
}

/// The columns of a source that the graph needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Projection {
    /// Fields of the payload, in schema order. The event time is required.
    pub fields: Vec<Field>,
    /// Columns of the source itself.
    pub meta: Vec<MetaColumn>,
}

impl Projection {
    /// The columns: fields, then meta columns.
    pub fn schema(&self) -> SchemaRef {
        let fields = self.fields.iter().map(Field::arrow);
        Arc::new(Schema::new(
            fields
                .chain(self.meta.iter().map(|meta| meta.arrow()))
                .collect::<Vec<_>>(),
        ))
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
    /// The operators in the order of `nodes`; the source is the first.
    pub(crate) stages: Vec<Stage>,
}

impl SourcePlan {
    /// Whether a window of it is in update mode.
    pub fn has_updates(&self) -> bool {
        let mut operators = self.stages.iter().map(|stage| &stage.operator);
        operators.any(|operator| match operator {
            Operator::Window {
                window: PlannedWindow::Aligned(window),
                ..
            } => window.mode == OutputMode::Update,
            _ => false,
        })
    }

    /// Where the event time is in a micro-batch of the projection.
    pub fn event_time_column(&self) -> Option<usize> {
        let watermark = self.watermark.as_ref()?;
        self.projection.schema().index_of(&watermark.column).ok()
    }
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
    /// The columns it offers to those who name it as their input, without the source's own.
    pub columns: SchemaRef,
    /// The columns that are really computed, because someone needs them.
    pub needed: SchemaRef,
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
    /// Drops repeats.
    Dedup,
    /// Aggregates.
    Window,
}

/// An operator and where its rows go.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) name: String,
    pub(crate) operator: Operator,
    pub(crate) readers: Vec<usize>,
    pub(crate) sinks: Vec<SinkColumns>,
}

#[derive(Debug)]
pub(crate) enum Operator {
    Source,
    Filter(Filter),
    Select(Select),
    Dedup(Arc<Dedup>),
    Window {
        position: usize,
        window: PlannedWindow,
        late: Option<SinkColumns>,
    },
}

/// A sink and its columns, by position in the rows that go there.
#[derive(Debug)]
pub(crate) struct SinkColumns {
    pub(crate) sink: usize,
    pub(crate) columns: Vec<usize>,
}

//! From a pipeline's text to operators that run: which columns are needed, what every part's rows look
//! like, and one graph of operators per source partition.

pub(crate) mod check;
pub(crate) mod closed_windows;
pub(crate) mod error;
pub(crate) mod flow;
pub(crate) mod needed;
pub(crate) mod node_rows;
pub(crate) mod order;
pub(crate) mod plan;
pub(crate) mod planned_window;
pub(crate) mod planner;
pub(crate) mod sessions;
pub(crate) mod spec;
pub(crate) mod task;
#[cfg(test)]
mod tests;
pub(crate) mod window_output;

pub use closed_windows::ClosedWindows;
pub use error::{GraphError, GraphPart, ProcessError};
pub use flow::Output;
pub use plan::{GraphPlan, NodeInfo, NodeKind, Projection, SourcePlan};
pub use planner::plan;
pub use sessions::{SessionSpans, keep_open};
pub use spec::{DedupSpec, GraphSpec, SinkSpec, SourceSpec, TransformKind, TransformSpec, WatermarkSpec, WindowSpec};
pub use task::{ChangedGroups, PushOutcome, StateSize, TaskGraph};
pub use window_output::WindowOutput;

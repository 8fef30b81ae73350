//! What the tasks of a source share: its plan, its windows' spans, and what becomes of malformed records.

use std::sync::Arc;
use std::time::Duration;

use engine_stream::graph::SourcePlan;

use crate::config::pipeline::{OnError, Operator, Pipeline, WindowKind};
use crate::source::reject::{DeadLetters, RejectPolicy};
use crate::source::task::TaskSource;
use crate::source::window_span::WindowSpan;

/// What the tasks of a source share. `dead_letters` are wanted if the source keeps malformed records.
pub(crate) fn task_source(
    pipeline: &Pipeline,
    index: usize,
    plan: &Arc<SourcePlan>,
    dead_letters: Option<Arc<dyn DeadLetters>>,
) -> TaskSource {
    let source = &pipeline.sources[index];
    let time_column = plan.watermark.as_ref().map(|watermark| {
        plan.projection
            .schema()
            .index_of(&watermark.column)
            .expect("the plan decodes the event-time column")
    });
    TaskSource {
        name: source.name.clone(),
        plan: Arc::clone(plan),
        time_column,
        window_spans: window_spans(pipeline, plan),
        on_error: match (source.on_error, dead_letters) {
            (OnError::Fail, _) => RejectPolicy::Fail,
            (OnError::Drop, _) => RejectPolicy::Drop,
            (OnError::DeadLetter, Some(dead_letters)) => RejectPolicy::DeadLetter(dead_letters),
            (OnError::DeadLetter, None) => unreachable!("a resolved pipeline has a topic for its dead letters"),
        },
    }
}

fn window_spans(pipeline: &Pipeline, plan: &SourcePlan) -> Vec<WindowSpan> {
    let nanoseconds = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    plan.windows
        .iter()
        .map(|name| {
            let transform = pipeline.transforms.iter().find(|transform| transform.name == *name);
            let Some(Operator::Window(window)) = transform.map(|transform| &transform.operator) else {
                unreachable!("the plan's windows are the pipeline's")
            };
            WindowSpan {
                size_ns: nanoseconds(window.kind.size()),
                slide_ns: nanoseconds(window.kind.slide()),
                lateness_ns: nanoseconds(window.allowed_lateness),
                is_session: matches!(window.kind, WindowKind::Session { .. }),
            }
        })
        .collect()
}

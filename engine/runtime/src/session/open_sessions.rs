//! Sessions that one partition has closed while another holds rows that belong to them go back, to the one that holds them.

use std::sync::Arc;

use engine_stream::graph::keep_open;

use super::Session;
use crate::run_error::RunError;
use crate::source::task::TaskWindows;
use crate::worker::{Job, Reply, TaskId};

impl Session {
    /// Leaves in `windows` what is closed over all partitions of the source.
    ///
    /// Costs a question to every worker for each watermark that closes sessions, where the source has several partitions.
    pub(super) async fn keep_sessions_open(
        &mut self,
        source: usize,
        windows: &mut [TaskWindows],
    ) -> Result<(), RunError> {
        let state = &self.sources[source];
        if state.partitions.len() < 2 || !state.source.window_spans.iter().any(|span| span.is_session) {
            return Ok(());
        }
        let closed: Vec<_> = windows
            .iter_mut()
            .flat_map(|windows| std::mem::take(&mut windows.closed))
            .collect();
        let spans = state.window_output.session_spans(&closed).map_err(RunError::process)?;
        let spans = Arc::new(spans);
        let mut holders: Vec<Vec<Option<TaskId>>> = spans.iter().map(|spans| vec![None; spans.len()]).collect();
        if !spans.is_empty() {
            for worker in 0..self.workers.count() {
                let spans = Arc::clone(&spans);
                self.workers.send(worker, Job::FindSessions { source, spans });
            }
            for _ in 0..self.workers.count() {
                match self.replies.recv().await {
                    Some(Reply::Sessions { held }) => {
                        for (task, window, sessions) in held {
                            for session in sessions {
                                let holder = &mut holders[window][session];
                                *holder = Some(holder.map_or(task, |other| other.min(task)));
                            }
                        }
                    }
                    Some(Reply::Failed(error)) => return Err(error.into()),
                    _ => unreachable!("nothing else was asked for"),
                }
            }
        }
        let (closed, open) = keep_open(closed, &spans, &holders);
        let partitions = &self.sources[source].partitions;
        for (task, parts) in open {
            self.workers
                .send(partitions[&task].worker, Job::AbsorbSessions { task, parts });
        }
        if let Some(first) = windows.first_mut() {
            first.closed = closed;
        }
        Ok(())
    }
}

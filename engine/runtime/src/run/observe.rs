//! What the HTTP server shows of a run: readiness, metrics, status.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::context::RunContext;
use crate::metrics::process::ProcessMetrics;
use crate::metrics::snapshot::{CheckpointMetrics, Snapshot, StateMetrics, StoredStateMetrics};
use crate::progress::RunPhase;
use crate::server::Observed;
use crate::view::SharedView;

/// The server's window on a run. It is there before the cluster is reached: who asks must hear that the process lives.
#[derive(Debug, Default)]
pub(super) struct RunObserver {
    /// The run, once it is connected.
    pub(super) context: OnceLock<Arc<RunContext>>,
    /// What its coordinator last told.
    pub(super) view: Arc<SharedView>,
}

impl Observed for RunObserver {
    fn readiness(&self) -> Result<(), String> {
        let connected = self.context.get().is_some();
        match self.view.current().status.phase {
            RunPhase::Running | RunPhase::Draining => Ok(()),
            RunPhase::Starting if !connected => Err("the pipeline is connecting to its cluster".to_owned()),
            RunPhase::Starting => Err("the pipeline is joining its group or restoring".to_owned()),
            RunPhase::StandingBy => Err("the pipeline is standing by: another process owns the partitions".to_owned()),
            RunPhase::Stopping => Err("the pipeline is stopping".to_owned()),
        }
    }

    fn snapshot(&self) -> Snapshot {
        let process = ProcessMetrics::of_this_process();
        let Some(context) = self.context.get() else {
            return Snapshot {
                process,
                ..Snapshot::default()
            };
        };
        let view = self.view.current();
        let mut requests = view.requests;
        for stats in context.producer_stats() {
            requests.add_producer(&stats);
        }
        let totals = context.totals();
        let checkpoint = CheckpointMetrics {
            completed: totals.checkpoints,
            seconds: totals.checkpoint_time.as_secs_f64(),
            failed: totals.checkpoint_failures,
            age_seconds: totals
                .checkpoint
                .map(|(_, at, _)| Instant::now().duration_since(at).as_secs_f64()),
            duration_seconds: totals.checkpoint.map(|(_, _, took)| took.as_secs_f64()),
            state: totals.written_state.map(|state| StoredStateMetrics {
                written_bytes: state.written_bytes,
                segments: state.segments,
                stored_bytes: state.stored_bytes,
            }),
        };
        let state = totals.state.iter().map(|(transform, state)| StateMetrics {
            transform: transform.clone(),
            rows: state.groups as u64,
            bytes: state.bytes as u64,
        });
        Snapshot {
            phase: view.status.phase,
            sessions: totals.sessions,
            sources: view.sources,
            sinks: view.sinks,
            checkpoint,
            requests: requests.by_api(),
            errors: requests.errors_by_class(),
            state: state.collect(),
            process,
        }
    }

    fn status_json(&self) -> String {
        let status = self.view.current().status;
        serde_json::to_string(&status).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }
}

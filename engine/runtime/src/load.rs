//! The pipeline's own generators, sending through the real client while it runs.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::config::pipeline::Pipeline;
use crate::error_chain::describe;
use crate::generate::driver::{GeneratorProgress, run_generator};
use crate::generate::report::GeneratorReport;

/// A generator that ends further behind its schedule is told of.
const BEHIND_SECONDS: f64 = 0.5;

/// How far the generators are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LoadState {
    /// At work.
    Running,
    /// All of them have sent everything, and the brokers have it.
    Done,
    /// One of them failed.
    Failed(String),
}

/// Generators at work; they stop when this is dropped.
#[derive(Debug)]
pub(crate) struct Load {
    state: watch::Receiver<LoadState>,
    _stop: watch::Sender<bool>,
}

impl Load {
    /// Starts every generator of the pipeline.
    pub(crate) fn start(pipeline: &Pipeline) -> Load {
        let (stop, stopped) = watch::channel(false);
        let mut generators = JoinSet::new();
        for generator in &pipeline.generators {
            let load = generator.load.clone();
            let producer = generator.kafka.producer_config();
            let (stopped, name) = (stopped.clone(), generator.name.clone());
            generators.spawn(async move {
                let ended = run_generator(load, producer, Arc::new(GeneratorProgress::default()), stopped).await;
                ended.map_err(|error| format!("\"{name}\": {}", describe(&error)))
            });
        }
        let (state_sender, state) = watch::channel(LoadState::Running);
        tokio::spawn(async move {
            while let Some(ended) = generators.join_next().await {
                match ended.unwrap_or_else(|_| Err("was cut short".to_owned())) {
                    Ok(report) => tell(&report),
                    Err(failed) => {
                        // The others end with this task: nobody needs the rest of a load that is not whole.
                        state_sender.send_replace(LoadState::Failed(failed));
                        return;
                    }
                }
            }
            state_sender.send_replace(LoadState::Done);
        });
        Load { state, _stop: stop }
    }

    /// Follows how far the generators are.
    pub(crate) fn state(&self) -> watch::Receiver<LoadState> {
        self.state.clone()
    }
}

/// A load that could not keep up is no load of that rate: whoever reads the latencies must know.
fn tell(report: &GeneratorReport) {
    let (events, topic) = (report.events, report.topic.as_str());
    if report.lag_at_end_seconds > BEHIND_SECONDS {
        warn!(
            topic,
            events,
            behind_seconds = report.lag_at_end_seconds,
            "A generator fell behind its schedule."
        );
    } else {
        info!(topic, events, seconds = report.seconds, "A generator is done.");
    }
}

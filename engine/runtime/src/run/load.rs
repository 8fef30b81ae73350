//! The pipeline's own generators, sending through the real client while it runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::config::pipeline::{self, GeneratorExtent, Pipeline, Rate};
use crate::error_chain::describe;
use crate::generate::{
    Arrivals, FixedLoad, GeneratorConfig, GeneratorKind, GeneratorProgress, GeneratorReport, KeyField, Mmpp, Pace,
    run_generator,
};

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
            let config = config_of(generator);
            let producer = generator.kafka.producer_config();
            let (stopped, name) = (stopped.clone(), generator.name.clone());
            generators.spawn(async move {
                let ended = run_generator(config, producer, Arc::new(GeneratorProgress::default()), stopped).await;
                ended.map_err(|error| format!("\"{name}\": {}", describe(&error)))
            });
        }
        let (state_sender, state) = watch::channel(LoadState::Running);
        tokio::spawn(async move {
            let mut end = LoadState::Done;
            while let Some(ended) = generators.join_next().await {
                match ended.unwrap_or_else(|_| Err("was cut short".to_owned())) {
                    Ok(report) => tell(&report),
                    Err(failed) => end = LoadState::Failed(failed),
                }
            }
            state_sender.send_replace(end);
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

fn config_of(generator: &pipeline::Generator) -> GeneratorConfig {
    let (arrivals, rate, pace) = match generator.arrivals {
        pipeline::Arrivals::Uniform { rate } => with_pace(Arrivals::Uniform, rate),
        pipeline::Arrivals::Poisson { rate } => with_pace(Arrivals::Poisson, rate),
        pipeline::Arrivals::Mmpp {
            average_rate,
            rate_ratio,
            q12,
            q21,
        } => (
            Arrivals::Mmpp(Mmpp { rate_ratio, q12, q21 }),
            average_rate,
            Pace::RealTime,
        ),
    };
    let (count, duration) = match generator.extent {
        GeneratorExtent::Count(count) => (Some(count.get()), None),
        GeneratorExtent::Duration(duration) => (None, Some(duration)),
        GeneratorExtent::Unbounded => (None, None),
    };
    let kind = match generator.kind {
        pipeline::GeneratorKind::Ads { .. } => GeneratorKind::Ads,
        pipeline::GeneratorKind::Fixed { message_bytes } => GeneratorKind::Fixed(FixedLoad {
            batch_messages: 1,
            message_bytes: message_bytes.get(),
            interval: Duration::from_secs_f64(rate.recip()),
        }),
    };
    GeneratorConfig {
        kind,
        topic: generator.topic.clone(),
        arrivals,
        rate,
        pace,
        producers: generator.producers.get(),
        count,
        duration,
        seed: generator.seed,
        key: KeyField::None,
        start_ns: None,
        malformed: 0.0,
    }
}

fn with_pace(arrivals: Arrivals, rate: Rate) -> (Arrivals, f64, Pace) {
    match rate {
        Rate::PerSecond(rate) => (arrivals, rate, Pace::RealTime),
        Rate::Max => (arrivals, GeneratorConfig::default().rate, Pace::Max),
    }
}

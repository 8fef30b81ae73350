//! `engine run`: a pipeline, until its end or a signal.

mod banner;
mod live;
mod summary;

use clap::Args;
use engine_broker::{Broker, BrokerConfig};
use engine_runtime::{
    RunOptions,
    config::pipeline::Bootstrap,
    progress::{RunSummary, progress},
};
use tokio::sync::watch;

use super::validate::PipelineFile;
use crate::{global_options::GlobalOptions, logging, output, signal::StopSignal};

/// What `engine run` takes.
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    file: PipelineFile,

    /// Stop at the end of the topics as it is now; with generators, when they are done and read. Windows that are
    /// still open stay in the state, so the next run goes on
    #[arg(long)]
    until_end: bool,

    /// Close and emit the open windows too
    #[arg(long, requires = "until_end")]
    drain: bool,

    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N")]
    workers: Option<std::num::NonZeroUsize>,
}

pub(crate) async fn run(arguments: RunArguments, global: &GlobalOptions) -> anyhow::Result<()> {
    let mut pipeline = arguments.file.load(global)?.pipeline;
    let mut stop = StopSignal::listen()?;
    let embedded = match pipeline.kafka.bootstrap {
        Bootstrap::Embedded => {
            let broker = Broker::start(BrokerConfig {
                listen: ([127, 0, 0, 1], 0).into(),
                ..BrokerConfig::default()
            })
            .await?;
            pipeline.use_embedded_broker(broker.address());
            Some(broker)
        }
        _ => None,
    };
    let options = RunOptions {
        until_end: arguments.until_end,
        drain: arguments.drain,
        workers: arguments.workers,
    };
    let (reporter, observer) = progress();
    let (stop_sender, stopped) = watch::channel(false);
    let showing = tokio::spawn(live::show(observer.clone(), embedded.is_some(), global.quiet));
    let running = engine_runtime::run(pipeline, options, stopped, reporter);
    tokio::pin!(running);
    let mut listening = true;
    let outcome = loop {
        tokio::select! {
            outcome = &mut running => break outcome,
            () = stop.requested(), if listening => {
                listening = false;
                if !global.quiet {
                    live::stopping(&observer.status());
                }
                stop_sender.send_replace(true);
            }
        }
    };
    // The run's reporter is gone, so the display ends by itself and leaves the terminal clean.
    let _ = showing.await;
    if let Some(broker) = embedded {
        broker.shutdown().await;
    }
    print(&outcome?, global)
}

/// With `--log json` the summary is the last object of the log: its text would be lines that no reader of such a log
/// expects, in a container that keeps both outputs in one file.
fn print(summary: &RunSummary, global: &GlobalOptions) -> anyhow::Result<()> {
    if logging::is_json() && !global.quiet {
        logging::event("ended", || serde_json::json!({ "run": summary }), String::new);
    }
    if global.json || !logging::is_json() {
        output::print(summary, global.json, || summary::text(summary))?;
    }
    Ok(())
}

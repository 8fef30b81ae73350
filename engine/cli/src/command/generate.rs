//! `engine generate`: load for a topic.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use engine_client::{ClientConfig, admin::NewTopic};
use engine_runtime::generate::{
    AdCampaigns, Arrivals, EVENT_RATE_AT_MAX, FixedLoad, GeneratorConfig, GeneratorKind, GeneratorProgress, KeyField,
    Mmpp, Pace, run_generator,
};
use tokio::sync::watch;

use super::refusals::{all, unless_they_exist};
use crate::{
    connection,
    failure::{Interrupted, UsageError},
    global_options::GlobalOptions,
    logging::{self, notice},
    output, quantity,
    signal::StopSignal,
};

/// How often progress is told: on a terminal, and in a log.
const PROGRESS_INTERVALS: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];

#[derive(Debug, Subcommand)]
pub(crate) enum GenerateCommand {
    /// Ad events as JSON
    Ads(AdsArguments),
    /// Messages of one size in batches at an interval
    Fixed(FixedArguments),
}

#[derive(Debug, Args)]
pub(crate) struct AdsArguments {
    #[command(flatten)]
    load: LoadArguments,

    /// When events arrive
    #[arg(long, value_enum, default_value_t, value_name = "PROCESS")]
    arrivals: ArrivalsArgument,

    /// Events per second, all producers together, or `max` for as fast as the broker takes them (their event times
    /// are then 100,000 a second)
    #[arg(long, value_name = "N|max", default_value = "666.7", value_parser = rate)]
    rate: Rate,

    /// Campaigns, numbered from 0
    #[arg(long, value_name = "N", default_value_t = AdCampaigns::default().campaigns)]
    campaigns: usize,

    /// Ads of each campaign; at most a million ads in all
    #[arg(long, value_name = "N", default_value_t = AdCampaigns::default().ads_per_campaign)]
    ads_per_campaign: usize,

    /// Which field becomes the record's key
    #[arg(long, value_enum, default_value_t, value_name = "FIELD")]
    key: KeyArgument,

    /// mmpp: the busy rate divided by the calm rate
    #[arg(long, value_name = "RATIO", default_value_t = Mmpp::default().rate_ratio)]
    rate_ratio: f64,

    /// mmpp: how often per second the calm state ends
    #[arg(long, value_name = "PER_SECOND", default_value_t = Mmpp::default().q12)]
    q12: f64,

    /// mmpp: how often per second the busy state ends
    #[arg(long, value_name = "PER_SECOND", default_value_t = Mmpp::default().q21)]
    q21: f64,

    /// Share of records from 0 to 1 that are cut in half
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    malformed: f64,
}

#[derive(Debug, Args)]
pub(crate) struct FixedArguments {
    #[command(flatten)]
    load: LoadArguments,

    /// Messages that are due together
    #[arg(long, value_name = "N", default_value_t = FixedLoad::default().batch_messages)]
    batch_messages: u64,

    /// Size of each message
    #[arg(long, value_name = "BYTES", default_value_t = FixedLoad::default().message_bytes)]
    message_bytes: usize,

    /// Milliseconds from one batch to the next
    #[arg(long, value_name = "MS", default_value_t = 100)]
    interval_ms: u64,
}

#[derive(Debug, Args)]
struct LoadArguments {
    /// The topic; it is created if it does not exist
    #[arg(long, value_name = "TOPIC", default_value = "ad-events")]
    topic: String,

    /// Partitions of a topic that has to be created [default: the broker's]
    #[arg(long, value_name = "N")]
    partitions: Option<i32>,

    /// Stop after this many events of all producers
    #[arg(long, value_name = "N")]
    count: Option<u64>,

    /// Stop after this many seconds of event time
    #[arg(long, value_name = "SECONDS")]
    duration: Option<f64>,

    /// Independent producers
    #[arg(long, value_name = "N", default_value_t = 2)]
    producers: usize,

    /// The same seed makes the same events
    #[arg(long, value_name = "N", default_value_t = 7)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum ArrivalsArgument {
    #[default]
    Uniform,
    Poisson,
    Mmpp,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum KeyArgument {
    #[default]
    None,
    User,
    Ad,
    Campaign,
}

#[derive(Debug, Clone, Copy)]
enum Rate {
    PerSecond(f64),
    Max,
}

fn rate(text: &str) -> Result<Rate, String> {
    match (text, text.parse::<f64>()) {
        ("max", _) => Ok(Rate::Max),
        (_, Ok(rate)) if rate > 0.0 && rate.is_finite() => Ok(Rate::PerSecond(rate)),
        _ => Err("expected a number of events per second, or `max`".to_owned()),
    }
}

pub(crate) async fn run(command: GenerateCommand, global: &GlobalOptions) -> anyhow::Result<()> {
    let (load, config) = match command {
        GenerateCommand::Ads(arguments) => ads(arguments)?,
        GenerateCommand::Fixed(arguments) => fixed(arguments)?,
    };
    config.check().map_err(|error| UsageError(error.to_string()))?;
    let producer_config = connection::producer_config(global, &[("compression.type", "lz4"), ("linger.ms", "5")])?;
    if let GeneratorKind::Fixed(FixedLoad { message_bytes, .. }) = config.kind
        && message_bytes > producer_config.request_bytes_max
    {
        return Err(UsageError(format!(
            "--message-bytes {message_bytes}: a message must fit into a request of max.request.size = {} bytes; -X \
             max.request.size=N raises it",
            producer_config.request_bytes_max
        ))
        .into());
    }
    let mut stop = StopSignal::listen()?;
    tokio::select! {
        created = create_topic(&load, &producer_config.client) => created?,
        () = stop.requested() => return Err(Interrupted.into()),
    }
    let (stop_sender, stopped) = watch::channel(false);
    let progress = Arc::new(GeneratorProgress::default());
    let (is_bounded, config_count) = (config.count.is_some() || config.duration.is_some(), config.count);
    let running = run_generator(config, producer_config, Arc::clone(&progress), stopped);
    tokio::pin!(running);
    let [on_terminal, in_log] = PROGRESS_INTERVALS;
    let interval = if logging::can_show_a_live_line() {
        on_terminal
    } else {
        in_log
    };
    let mut told = tokio::time::interval(interval);
    told.tick().await;
    let mut listening = true;
    let report = loop {
        tokio::select! {
            report = &mut running => break report?,
            () = stop.requested(), if listening => {
                listening = false;
                stop_sender.send_replace(true);
            }
            _ = told.tick() => if !global.quiet {
                notice(format_args!("{} events", quantity::grouped(progress.events())));
            }
        }
    };
    output::print(&report, global.json, || report.to_string())?;
    // A load without a bound is meant to be stopped.
    let was_cut_short = *stop_sender.borrow() && is_bounded && config_count.is_none_or(|count| report.events < count);
    if was_cut_short { Err(Interrupted.into()) } else { Ok(()) }
}

/// The load and what it means. Without any bound an ad load is 40,000 events; a fixed one runs until stopped.
fn ads(arguments: AdsArguments) -> Result<(LoadArguments, GeneratorConfig), UsageError> {
    let arrivals = match arguments.arrivals {
        ArrivalsArgument::Uniform => Arrivals::Uniform,
        ArrivalsArgument::Poisson => Arrivals::Poisson,
        ArrivalsArgument::Mmpp => Arrivals::Mmpp(Mmpp {
            rate_ratio: arguments.rate_ratio,
            q12: arguments.q12,
            q21: arguments.q21,
        }),
    };
    let default = GeneratorConfig::default();
    let (rate, pace) = match arguments.rate {
        Rate::PerSecond(rate) => (rate, Pace::RealTime),
        Rate::Max => (EVENT_RATE_AT_MAX, Pace::Max),
    };
    let key = match arguments.key {
        KeyArgument::None => KeyField::None,
        KeyArgument::User => KeyField::User,
        KeyArgument::Ad => KeyField::Ad,
        KeyArgument::Campaign => KeyField::Campaign,
    };
    let mut config = bounded(&arguments.load)?;
    if config.count.is_none() && config.duration.is_none() {
        config.count = default.count;
    }
    let config = GeneratorConfig {
        kind: GeneratorKind::Ads(AdCampaigns {
            campaigns: arguments.campaigns,
            ads_per_campaign: arguments.ads_per_campaign,
        }),
        arrivals,
        rate,
        pace,
        key,
        malformed: arguments.malformed,
        ..config
    };
    Ok((arguments.load, config))
}

fn fixed(arguments: FixedArguments) -> Result<(LoadArguments, GeneratorConfig), UsageError> {
    let config = GeneratorConfig {
        kind: GeneratorKind::Fixed(FixedLoad {
            batch_messages: arguments.batch_messages,
            message_bytes: arguments.message_bytes,
            interval: Duration::from_millis(arguments.interval_ms),
        }),
        ..bounded(&arguments.load)?
    };
    Ok((arguments.load, config))
}

fn bounded(load: &LoadArguments) -> Result<GeneratorConfig, UsageError> {
    let duration = match load.duration {
        None => None,
        Some(seconds) => Some(
            Duration::try_from_secs_f64(seconds)
                .map_err(|error| UsageError(format!("--duration {seconds}: {error}")))?,
        ),
    };
    Ok(GeneratorConfig {
        topic: load.topic.clone(),
        producers: load.producers,
        count: load.count,
        duration,
        seed: load.seed,
        ..GeneratorConfig::default()
    })
}

async fn create_topic(load: &LoadArguments, client: &ClientConfig) -> anyhow::Result<()> {
    let topic = NewTopic {
        name: load.topic.clone(),
        partitions: load.partitions,
        replication_factor: None,
        configs: std::collections::BTreeMap::new(),
    };
    let admin = connection::connect_admin(client.clone()).await?;
    let outcomes = admin
        .create_topics(&[topic])
        .await
        .with_context(|| format!("topic {}", load.topic))?;
    all("create topic", unless_they_exist(outcomes))?;
    Ok(())
}

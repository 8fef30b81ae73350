//! What can be typed: options that every command takes, and the list of commands.

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::command::{broker, consume, explain, generate, groups, latency, produce, run, topics, validate};

/// The broker of a command that names none.
pub(crate) const DEFAULT_BOOTSTRAP_SERVERS: &str = "localhost:9092";

/// Kafka client and stream engine in one binary.
///
/// `engine run pipeline.toml` reads Kafka topics, computes windowed aggregates in event time and writes
/// the results to topics and to a Parquet lake.
#[derive(Debug, Parser)]
#[command(name = "engine", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: GlobalOptions,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that mean the same everywhere.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct GlobalOptions {
    /// Brokers to start from, separated by commas [default: localhost:9092]
    #[arg(long, short = 'b', global = true, value_name = "HOST:PORT,…")]
    pub(crate) bootstrap_servers: Option<String>,

    /// Any Kafka client option by its own name, for example `-X linger.ms=5`
    #[arg(short = 'X', global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) property: Vec<(String, String)>,

    /// Results for machines: one JSON object per line
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// How log lines look
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) log: LogFormat,

    /// Log more: -v information, -vv debugging, -vvv everything
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,

    /// Errors only, no progress
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a pipeline
    Run(run::RunArguments),
    /// Check a pipeline file: all mistakes at once, without a broker
    Validate(validate::ValidateArguments),
    /// Print what a pipeline file means: graph, columns and types
    Explain(explain::ExplainArguments),
    /// Print how long the results of a topic took
    Latency(latency::LatencyArguments),
    /// Make load for a topic
    #[command(subcommand)]
    Generate(generate::GenerateCommand),
    /// Create, delete, list, describe and clear topics
    #[command(subcommand)]
    Topics(topics::TopicsCommand),
    /// List, describe, reset and delete consumer groups
    #[command(subcommand)]
    Groups(groups::GroupsCommand),
    /// Write lines (or JSON objects) from standard input to a topic
    Produce(produce::ProduceArguments),
    /// Read records from a topic
    Consume(consume::ConsumeArguments),
    /// Run the embedded broker on its own: for first runs, development and tests
    Broker(broker::BrokerArguments),
}

/// Splits `KEY=VALUE`; the value may contain `=` and may be empty.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_do_not_contradict_each_other() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_property_is_split_at_the_first_equals_sign() {
        assert_eq!(key_value("a.b=c=d"), Ok(("a.b".into(), "c=d".into())));
        assert_eq!(key_value("a="), Ok(("a".into(), "".into())));
        assert!(key_value("=a").is_err() && key_value("a").is_err());
    }
}

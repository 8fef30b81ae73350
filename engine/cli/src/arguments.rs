//! What can be typed: the list of commands.

use clap::{Parser, Subcommand};

use crate::command::{broker, consume, explain, generate, groups, latency, produce, run, test, topics, validate};
use crate::global_options::GlobalOptions;

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

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a pipeline
    Run(run::RunArguments),
    /// Check a pipeline file: all mistakes at once, without a broker
    Validate(validate::ValidateArguments),
    /// Print what a pipeline file means: graph, columns and types
    Explain(explain::ExplainArguments),
    /// Run the tests of a pipeline file, without a broker
    Test(test::TestArguments),
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_do_not_contradict_each_other() {
        Arguments::command().debug_assert();
    }
}

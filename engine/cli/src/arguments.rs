//! What can be typed: the list of commands.

use clap::{Parser, Subcommand};

use crate::command::{broker, consume, explain, generate, groups, latency, produce, run, test, topics, validate};
use crate::global_options::GlobalOptions;

/// Kafka client and stream engine in one binary.
///
/// `engine run pipeline.toml` reads Kafka topics, computes windowed aggregates in event time and writes
/// the results to topics and to a Parquet lake.
#[derive(Debug, Parser)]
#[command(
    name = "engine",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 failed while running, 2 wrong usage or file, 130 interrupted."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: GlobalOptions,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a pipeline
    ///
    /// Runs until SIGTERM or Ctrl-C: it finishes the checkpoint, leaves the group and prints the summary; a second signal
    /// forces the end. The next run goes on where this one stopped. A second process with the same file stands by, and takes
    /// over when the first one stops or dies.
    Run(run::RunArguments),
    /// Check a pipeline file: all mistakes at once, without a broker
    ///
    /// Every mistake is told with its line and what was expected, the files of its tests included. Warnings alone are no
    /// failure.
    Validate(validate::ValidateArguments),
    /// Print what a pipeline file means: graph, columns and types
    ///
    /// The graph with its columns and types, the state and its bound, group, transactional id and topics, the file layout of
    /// lakes. Needs no broker.
    Explain(explain::ExplainArguments),
    /// Run the tests of a pipeline file, without a broker
    ///
    /// The rows of each of its tests go through the pipeline's own decoder, operators and windows, and what comes out of its
    /// transforms and sinks is compared with what is expected there. Exit code 1 if a test fails; a file without tests passes.
    Test(test::TestArguments),
    /// Print how long the results of a topic took
    ///
    /// Reads a results topic to its end. Latency is a record's timestamp less a column of its value, in milliseconds: per window
    /// and overall, average, p50, p90, p99, p99.9 and maximum.
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
    ///
    /// Each line is one record. With --json each line is an object as `engine consume --json` prints it: value (null is a
    /// tombstone), and if present key, headers, partition and timestamp.
    Produce(produce::ProduceArguments),
    /// Read records from a topic
    ///
    /// Prints their values, one per line, or with --json one object per record: topic, partition, offset, timestamp,
    /// timestamp_type, key, value and headers. Bytes that are not UTF-8 are `{"base64": "…"}`.
    Consume(consume::ConsumeArguments),
    /// Run the embedded broker on its own: for first runs, development and tests
    ///
    /// One node, in memory or on disk; production is Apache Kafka. Prints its address on standard output when it accepts
    /// connections.
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

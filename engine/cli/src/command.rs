//! The commands, one file each.

pub(crate) mod broker;
pub(crate) mod consume;
pub(crate) mod produce;
mod record_json;

use crate::arguments::{Arguments, Command};

/// Runs one command to its end.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let global = &arguments.global;
    match arguments.command {
        Command::Produce(arguments) => produce::run(arguments, global).await,
        Command::Consume(arguments) => consume::run(arguments, global).await,
        Command::Broker(arguments) => broker::run(arguments, global).await,
    }
}

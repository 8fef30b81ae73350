//! The commands, one file each.

pub(crate) mod broker;
mod confirmation;
pub(crate) mod consume;
pub(crate) mod explain;
pub(crate) mod generate;
pub(crate) mod groups;
pub(crate) mod latency;
mod offsets;
pub(crate) mod produce;
mod record_json;
mod refusals;
pub(crate) mod run;
pub(crate) mod test;
pub(crate) mod topics;
pub(crate) mod validate;

use crate::arguments::{Arguments, Command};

/// Runs one command to its end.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let global = &arguments.global;
    match arguments.command {
        Command::Run(arguments) => run::run(arguments, global).await,
        Command::Explain(arguments) => explain::run(&arguments, global),
        Command::Test(arguments) => test::run(&arguments, global),
        Command::Latency(arguments) => latency::run(arguments, global).await,
        Command::Validate(arguments) => validate::run(&arguments, global),
        Command::Generate(command) => generate::run(command, global).await,
        Command::Topics(command) => topics::run(command, global).await,
        Command::Groups(command) => groups::run(command, global).await,
        Command::Produce(arguments) => produce::run(arguments, global).await,
        Command::Consume(arguments) => consume::run(arguments, global).await,
        Command::Broker(arguments) => broker::run(arguments, global).await,
    }
}

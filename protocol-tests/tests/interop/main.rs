//! Interoperability: what our client and other clients write and read of each other on one broker.
//!
//! `scripts/interop` installs the clients, starts the broker and runs this; `protocol-tests/interop/README.md` says what a
//! peer is. Without arguments there is nothing to talk to, and it says so.
//!
//! A program of its own instead of `#[test]` functions, because its result is a table: peer × behaviour, where a peer may
//! also lack something, or be missing altogether.

mod arguments;
mod behaviour;
mod client;
mod group;
mod member;
mod ours;
mod peer;
mod records;
mod report;
mod stage;
mod table;
mod transactions;
mod transfer;

use std::process::ExitCode;

use arguments::{Arguments, Command, USAGE};
use behaviour::Outcome;
use report::Report;

fn main() -> ExitCode {
    match Arguments::parse(std::env::args().skip(1)) {
        Err(mistake) => {
            eprintln!("interop: {mistake}\n{USAGE}");
            ExitCode::from(64)
        }
        Ok(Command::Help) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Ok(Command::Nothing) => {
            eprintln!(
                "\n*** SKIPPED: no broker and no peers were named; scripts/interop runs the interoperability tests ***\n"
            );
            ExitCode::SUCCESS
        }
        Ok(Command::Table { reports, into }) => match table::write(&reports, &into) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("interop: {error}");
                ExitCode::FAILURE
            }
        },
        Ok(Command::Run(arguments)) => {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
            runtime.block_on(run(&arguments))
        }
    }
}

async fn run(arguments: &Arguments) -> ExitCode {
    let embedded = match arguments.bootstrap {
        Some(_) => None,
        None => Some(stage::embedded_broker().await),
    };
    let bootstrap = match (&arguments.bootstrap, &embedded) {
        (Some(bootstrap), _) => bootstrap.clone(),
        (None, Some(broker)) => broker.address().to_string(),
        (None, None) => unreachable!("one of the two is there"),
    };
    let mut report = Report::new(&arguments.broker_name);
    // All peers at the same time: mostly they wait, for rebalances and for sessions to end.
    let columns = arguments.peers.iter().cloned().map(|(name, command)| {
        let filter = arguments.filter.clone();
        tokio::spawn(behaviour::run_all(bootstrap.clone(), name, command, filter))
    });
    for column in columns.collect::<Vec<_>>() {
        report.columns.push(column.await.expect("a column does not panic"));
    }
    report
        .columns
        .extend(arguments.missing.iter().cloned().map(report::Column::missing));
    if let Some(broker) = embedded {
        broker.shutdown().await;
    }
    if let Some(file) = &arguments.report
        && let Err(error) = report.write(file)
    {
        eprintln!("interop: {}: {error}", file.display());
        return ExitCode::FAILURE;
    }

    let count = |wanted: fn(&Outcome) -> bool| report.outcomes().filter(|outcome| wanted(outcome)).count();
    let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
    println!(
        "\n{} passed, {failed} failed, {} cannot, {} peers missing",
        count(|outcome| matches!(outcome, Outcome::Passed | Outcome::PassedExcept(_))),
        count(|outcome| matches!(outcome, Outcome::Cannot(_))),
        arguments.missing.len(),
    );
    let required = std::env::var("ENGINE_REQUIRE_INTEROP").is_ok_and(|value| value == "1");
    if required && !arguments.missing.is_empty() {
        eprintln!("interop: peers are missing, and ENGINE_REQUIRE_INTEROP=1 asks for all of them");
        return ExitCode::FAILURE;
    }
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(101),
    }
}

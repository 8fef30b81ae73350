//! The conformance suite: what the client promises, one test per behaviour, against any bootstrap address.
//!
//! ```text
//! cargo test -p protocol-tests --test conformance                                  the embedded broker
//! cargo test -p protocol-tests --test conformance -- headers                       what has this in its name
//! cargo test -p protocol-tests --test conformance -- --bootstrap 127.0.0.1:9092    any other broker
//! ```
//!
//! `scripts/conformance` starts the brokers and writes the table of `protocol-tests/conformance/`.
//!
//! A program of its own instead of `#[test]` functions, because the suite has a third result besides passed and failed
//! (what a broker cannot do, and why), and tells all of them with the time they took.

mod arguments;
mod behaviour;
mod broker_facts;
mod group_member;
mod raw_connection;
mod raw_producer;
mod reading;
mod report;
mod run;
mod scene;
mod table;

mod acknowledgement;
mod assignors;
mod cluster_life;
mod codecs;
mod committed_offsets;
mod fetching;
mod group_administration;
mod group_membership;
mod idempotence;
mod isolation;
mod log_start;
mod out_of_range;
mod partitioning;
mod positions;
mod quotas;
mod record_content;
mod record_sizes;
mod topic_administration;
mod topic_life;
mod transactional_offsets;
mod transactions;

use std::process::ExitCode;

use engine_broker::{Broker, BrokerConfig};

use arguments::{Arguments, Command, USAGE};
use behaviour::Behaviour;

/// In the order of the table.
const BEHAVIOURS: &[&[Behaviour]] = &[
    acknowledgement::BEHAVIOURS,
    idempotence::BEHAVIOURS,
    codecs::BEHAVIOURS,
    record_content::BEHAVIOURS,
    record_sizes::BEHAVIOURS,
    partitioning::BEHAVIOURS,
    positions::BEHAVIOURS,
    out_of_range::BEHAVIOURS,
    log_start::BEHAVIOURS,
    fetching::BEHAVIOURS,
    transactions::BEHAVIOURS,
    isolation::BEHAVIOURS,
    transactional_offsets::BEHAVIOURS,
    group_membership::BEHAVIOURS,
    assignors::BEHAVIOURS,
    committed_offsets::BEHAVIOURS,
    topic_life::BEHAVIOURS,
    cluster_life::BEHAVIOURS,
    quotas::BEHAVIOURS,
    topic_administration::BEHAVIOURS,
    group_administration::BEHAVIOURS,
];

fn main() -> ExitCode {
    let command = match Arguments::parse(std::env::args().skip(1)) {
        Ok(command) => command,
        Err(mistake) => {
            eprintln!("conformance: {mistake}\n{USAGE}");
            return ExitCode::from(64);
        }
    };
    let behaviours = || BEHAVIOURS.iter().copied().flatten().copied();
    match command {
        Command::Help => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Command::List(arguments) => {
            for behaviour in behaviours().filter(|behaviour| arguments.selects(behaviour)) {
                println!("{}: test", behaviour.name);
            }
            ExitCode::SUCCESS
        }
        Command::Table { reports, into } => match table::write(&reports, &into) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("conformance: {error}");
                ExitCode::FAILURE
            }
        },
        Command::Run(arguments) => {
            let selected: Vec<Behaviour> = behaviours().filter(|b| arguments.selects(b)).collect();
            let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
            runtime.block_on(run_on_broker(&arguments, &selected))
        }
    }
}

/// Runs what was selected on the broker that was named, or on an embedded one.
async fn run_on_broker(arguments: &Arguments, selected: &[Behaviour]) -> ExitCode {
    let embedded = match arguments.bootstrap {
        Some(_) => None,
        None => {
            let config = BrokerConfig {
                listen: ([127, 0, 0, 1], 0).into(),
                ..BrokerConfig::default()
            };
            Some(Broker::start(config).await.expect("the embedded broker starts"))
        }
    };
    let bootstrap = match (&arguments.bootstrap, &embedded) {
        (Some(bootstrap), _) => bootstrap.clone(),
        (None, Some(broker)) => broker.address().to_string(),
        (None, None) => unreachable!("one of the two is there"),
    };
    let report = run::run(arguments, &bootstrap, selected).await;
    if let Some(broker) = embedded {
        broker.shutdown().await;
    }
    if let Some(file) = &arguments.report
        && let Err(error) = report.write(file)
    {
        eprintln!("conformance: {}: {error}", file.display());
        return ExitCode::FAILURE;
    }
    match report.failed() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(101),
    }
}

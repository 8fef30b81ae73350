//! The crash loop: engines are killed, frozen and run in pairs, brokers are killed, all under load; then a verifier that
//! shares no code with the engine recounts everything.
//!
//! `scripts/crash-loop` builds the engine, installs the verifier and runs this; `protocol-tests/crash-loop.md` says what is
//! done and what must hold. Without arguments there is nothing to kill, and it says so.
//!
//! A program of its own instead of `#[test]` functions, because it is asked for kinds of brokers, kills and seeds.

mod arguments;
mod board;
mod brokers;
#[path = "../../../engine/cli/tests/real_broker/cluster.rs"]
mod cluster;
mod deeds;
mod engine;
mod moment;
mod plan;
mod processes;
mod random;
mod round;
mod settings;
mod summary;
mod tools;

use std::{
    process::ExitCode,
    time::{Instant, SystemTime},
};

use arguments::{Arguments, Command, USAGE};
use brokers::Brokers;
use summary::Summary;

fn main() -> ExitCode {
    let clock = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    match Command::parse(std::env::args().skip(1), clock.as_secs() % 1_000_000) {
        Err(mistake) => {
            eprintln!("crash_loop: {mistake}\n{USAGE}");
            ExitCode::from(64)
        }
        Ok(Command::Help) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Ok(Command::Nothing) => {
            eprintln!("\n*** SKIPPED: no engine was named; scripts/crash-loop runs the crash loop ***\n");
            ExitCode::SUCCESS
        }
        Ok(Command::Run(arguments)) => run(&arguments),
    }
}

fn run(arguments: &Arguments) -> ExitCode {
    let name = format!("{}-{}-{}", arguments.broker, arguments.guarantee, arguments.seed);
    let folder = std::path::absolute(arguments.into.join(name)).expect("a folder");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    println!(
        "crash loop: seed {}, {}, {}",
        arguments.seed, arguments.broker, arguments.guarantee
    );
    let Some(brokers) = Brokers::start(&arguments.broker, &arguments.engine, &folder) else {
        return ExitCode::SUCCESS; // It was said that this is no test.
    };
    // Brokers may take long to start; the time is for kills.
    let started = Instant::now();
    let mut summary = Summary::new(arguments);
    let mut left = arguments.kills;
    let mut round = arguments.first_round;
    let in_time = || arguments.time_limit.is_none_or(|limit| started.elapsed() < limit);
    while left > 0 && in_time() {
        let kills = left.min(arguments.round_kills);
        let failures = summary.failures.len();
        round::run(arguments, &brokers, round, kills, started, &folder, &mut summary);
        left -= kills;
        round += 1;
        println!("{}", summary.line(started.elapsed()));
        if summary.failures.len() > failures && !arguments.keep_going {
            break;
        }
    }
    summary.fail_without_substance();
    summary.broker_kills = brokers.kills.load(std::sync::atomic::Ordering::Relaxed);
    summary.seconds = started.elapsed().as_secs_f64();
    println!("\n{summary}");
    let report = folder.join("summary.json");
    std::fs::write(&report, format!("{:#}\n", summary.json())).expect("the folder is ours");
    println!("{}", report.display());
    match summary.failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

//! Runs behaviours side by side and tells what came of each.

use std::{
    any::Any,
    io::Write,
    panic::PanicHookInfo,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Semaphore, task::JoinSet};

use crate::arguments::Arguments;
use crate::behaviour::{BEHAVIOUR_TIMEOUT, Behaviour, Cannot};
use crate::broker_facts::BrokerFacts;
use crate::report::{BehaviourReport, Outcome, Report};
use crate::scene::Scene;

/// Runs all of them, at most `concurrency` at the same time, and prints a line for each.
pub(crate) async fn run(arguments: &Arguments, bootstrap: &str, selected: &[Behaviour]) -> Report {
    println!(
        "\nrunning {} behaviours on {} at {bootstrap}",
        selected.len(),
        arguments.name
    );
    std::panic::set_hook(Box::new(print_place));
    let started = Instant::now();
    let facts = Arc::new(BrokerFacts::ask(bootstrap).await);
    let turns = Arc::new(Semaphore::new(arguments.concurrency));
    let mut running = JoinSet::new();
    for (number, behaviour) in selected.iter().copied().enumerate() {
        let (turns, scene) = (Arc::clone(&turns), Scene::new(Arc::clone(&facts), number));
        running.spawn(async move {
            let _turn = turns.acquire().await.expect("nobody closes it");
            let started = Instant::now();
            let outcome = outcome(behaviour, scene).await;
            (number, outcome, started.elapsed())
        });
    }
    let mut reports = Vec::new();
    while let Some(ended) = running.join_next().await {
        let (number, outcome, took) = ended.expect("what a behaviour does is caught");
        tell(&selected[number], &outcome, took);
        reports.push((number, BehaviourReport::new(&selected[number], outcome, took)));
    }
    reports.sort_by_key(|(number, _)| *number);
    let reports = reports.into_iter().map(|(_, report)| report).collect();
    let report = Report::new(&arguments.name, &arguments.software, &facts, reports, started.elapsed());
    println!(
        "\ntest result: {}. {} passed; {} failed; {} the broker cannot; {:.1} s\n",
        if report.failed() == 0 { "ok" } else { "FAILED" },
        report.passed(),
        report.failed(),
        report.cannot(),
        started.elapsed().as_secs_f64()
    );
    report
}

/// A task of its own for each, so that a panic ends that behaviour only.
async fn outcome(behaviour: Behaviour, scene: Scene) -> Outcome {
    let task = tokio::spawn(async move {
        let shown = tokio::time::timeout(BEHAVIOUR_TIMEOUT, (behaviour.run)(scene)).await;
        shown.map_err(|_| format!("not done within {} s", BEHAVIOUR_TIMEOUT.as_secs()))
    });
    match task.await {
        Ok(Ok(Ok(()))) => Outcome::Passed,
        Ok(Ok(Err(Cannot(reason)))) => Outcome::Cannot(reason),
        Ok(Err(late)) => Outcome::Failed(late),
        Err(error) => Outcome::Failed(match error.try_into_panic() {
            Ok(panic) => panic_text(panic.as_ref()),
            Err(error) => error.to_string(),
        }),
    }
}

fn tell(behaviour: &Behaviour, outcome: &Outcome, took: Duration) {
    let (seconds, sentence) = (took.as_secs_f64(), behaviour.sentence());
    match outcome {
        Outcome::Passed => println!("test {sentence} ... ok ({seconds:.1} s)"),
        Outcome::Cannot(reason) => println!("test {sentence} ... the broker cannot: {reason} ({seconds:.1} s)"),
        Outcome::Failed(message) => println!("test {sentence} ... FAILED ({seconds:.1} s)\n    {message}"),
    }
    let _ = std::io::stdout().flush();
}

/// The place of a panic; its message is in the task's result, and in the report.
fn print_place(panic: &PanicHookInfo<'_>) {
    let text = panic_text(panic.payload());
    let place = panic
        .location()
        .map(|place| format!("{}:{}", place.file(), place.line()));
    eprintln!("{}: {text}", place.unwrap_or_default());
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "panicked".into())
}

//! A pipeline against the embedded broker with a fault at every step: at each request of a start and of a checkpoint, the
//! broker refuses, hangs up before or after it has done what was asked, says nothing, is late, or crashes; the engine is
//! killed there; or its lake goes away. Whatever it meets, the pipeline goes on by itself or ends with a message and goes on
//! when it is started again, and in the end nothing is lost, doubled or wrong.
//!
//! Deterministic in its plan, not in its timing: a fault hits the n-th request of its kind after the k-th commit, but which
//! records had been fetched by then is up to the threads. So a failure repeats with its case, most of the time.
//!
//! `ENGINE_FAULT_PAIRS` is how many pairs of faults are tried, `ENGINE_FAULT_SEED` where they begin,
//! `ENGINE_FAULT_CASE` a part of the text of the cases to try alone.

mod cases;
mod input;
#[path = "../process/engine.rs"]
mod process;
mod raw_client;
mod step;
mod trouble;
mod verdict;
mod world;

use cases::{pairs, run_all, single_faults};
use raw_client::Isolation;
use world::{Life, Promise, World};

const AT_LEAST_ONCE: Promise = Promise {
    exactly_once: false,
    transaction_version: 2,
};

fn network() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

#[test]
fn a_run_without_faults_takes_every_step_that_faults_are_put_at() {
    let network = network();
    let world = World::new(network.handle(), AT_LEAST_ONCE, &[]);
    assert_eq!(world.run_to_the_end().unwrap(), [Life::Finished]);
    verdict::verdict(&world).unwrap();
    let rows = |isolation| verdict::rows(&world, isolation);
    assert_eq!(rows(Isolation::Uncommitted), rows(Isolation::Committed));
    let seen = world.seen();
    assert_eq!(
        seen.transactional_produces, 0,
        "nothing that readers would have to wait for"
    );
    assert!(seen.plain_produces > 0);
    assert!(seen.commits >= 4, "{} checkpoints", seen.commits);
    let first = trouble::first_steps(false);
    let checkpoint = trouble::checkpoint_steps(false, 2);
    for step in first.iter().chain(&checkpoint) {
        assert!(
            seen.steps.iter().any(|(_, taken)| taken == step),
            "{step:?} is never taken: {:?}",
            seen.steps
        );
    }
    for step in &checkpoint {
        assert!(
            seen.steps.iter().any(|(commits, taken)| taken == step && *commits >= 2),
            "{step:?} is not taken after two commits: {:?}",
            seen.steps
        );
    }
}

#[test]
fn no_single_fault_at_least_once_loses_or_doubles_more_than_it_may() {
    let cases = single_faults(AT_LEAST_ONCE);
    println!("{} single faults", cases.len());
    run_all(AT_LEAST_ONCE, cases);
}

#[test]
fn no_pair_of_faults_at_least_once_loses_or_doubles_more_than_it_may() {
    run_all(AT_LEAST_ONCE, pairs(AT_LEAST_ONCE));
}

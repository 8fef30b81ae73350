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
#[path = "../process/long_tests.rs"]
mod long_tests;
#[path = "../pipeline_files/text.rs"]
mod pipeline_text;
#[path = "../process/engine.rs"]
mod process;
#[path = "../views/raw_client.rs"]
mod raw_client;
#[path = "../views/rows.rs"]
mod rows;
mod step;
mod trouble;
mod verdict;
mod world;

use cases::{pairs, run_all, single_faults};
use engine_wire::messages::ApiKey;
use long_tests::are_long_tests_wanted;
use raw_client::Isolation;
use step::step;
use trouble::{Place, Planned, Trouble};
use world::{Life, Promise, World};

const AT_LEAST_ONCE: Promise = Promise {
    exactly_once: false,
    transaction_version: 2,
};

const EXACTLY_ONCE: Promise = Promise {
    exactly_once: true,
    transaction_version: 2,
};

/// With the protocol of brokers before KIP-890: partitions and offsets are added to a transaction by requests of their own.
const EXACTLY_ONCE_BEFORE_KIP_890: Promise = Promise {
    exactly_once: true,
    transaction_version: 0,
};

fn network() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

/// Runs without faults, and checks that all the steps are taken that faults are put at.
fn takes_every_step(promise: Promise) {
    let network = network();
    let world = World::new(network.handle(), promise, &[]);
    assert_eq!(
        world.run_to_the_end(verdict::shows_nothing_early).unwrap(),
        [Life::Finished]
    );
    verdict::verdict(&world).unwrap();
    let rows = |isolation| verdict::rows(&world, isolation);
    assert_eq!(rows(Isolation::Uncommitted), rows(Isolation::Committed));
    let seen = world.seen();
    assert!(seen.commits >= 4, "{} checkpoints", seen.commits);
    let (used, unused) = match promise.exactly_once {
        true => (seen.transactional_produces, seen.plain_produces),
        false => (seen.plain_produces, seen.transactional_produces),
    };
    assert!(used > 0);
    assert_eq!(unused, 0, "every batch is in a transaction, or none");
    let other = match promise.exactly_once {
        true => ApiKey::OffsetCommit,
        false => ApiKey::TxnOffsetCommit,
    };
    assert!(seen.steps.iter().all(|(_, taken)| taken.api != other), "{other:?}");
    let first = trouble::first_steps(promise.exactly_once);
    let checkpoint = trouble::checkpoint_steps(promise.exactly_once, promise.transaction_version);
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
fn a_run_at_least_once_takes_every_step_that_faults_are_put_at_and_no_transaction() {
    takes_every_step(AT_LEAST_ONCE);
}

#[test]
fn a_run_exactly_once_takes_every_step_that_faults_are_put_at_and_writes_in_transactions_only() {
    takes_every_step(EXACTLY_ONCE);
    takes_every_step(EXACTLY_ONCE_BEFORE_KIP_890);
}

#[test]
fn what_an_attempt_wrote_that_was_killed_before_its_commit_is_in_the_log_and_invisible() {
    let network = network();
    // Not every checkpoint has rows; one of the first ones has.
    let with_rows = (0..8).find_map(|after_commits| {
        let place = Place {
            step: step(ApiKey::EndTxn, "commit"),
            after_commits,
            skip: 0,
        };
        let killed = Planned {
            place,
            trouble: Trouble::KillBefore,
        };
        let world = World::new(network.handle(), EXACTLY_ONCE, &[killed]);
        assert_eq!(world.live().unwrap(), Life::Killed);
        let written = verdict::rows(&world, Isolation::Uncommitted);
        (written != verdict::rows(&world, Isolation::Committed)).then_some((world, written))
    });
    let (world, written) = with_rows.expect("a checkpoint with rows");
    world.run_to_the_end(verdict::shows_nothing_early).unwrap();
    verdict::verdict(&world).unwrap();
    let (all, visible) = (
        verdict::rows(&world, Isolation::Uncommitted),
        verdict::rows(&world, Isolation::Committed),
    );
    let again: Vec<_> = written.keys().filter(|window| all[*window].len() == 2).collect();
    assert!(
        !again.is_empty(),
        "the windows of the attempt are in the log twice: {all:?}"
    );
    assert!(visible.values().all(|rows| rows.len() == 1), "{visible:?}");
}

#[test]
fn no_single_fault_at_least_once_loses_anything_or_doubles_a_row_in_the_lake() {
    if are_long_tests_wanted("single faults at least once") {
        run_singles(AT_LEAST_ONCE, 241);
    }
}

#[test]
fn no_single_fault_exactly_once_loses_or_doubles_anything() {
    run_singles(EXACTLY_ONCE, 277);
}

#[test]
fn no_single_fault_exactly_once_before_kip_890_loses_or_doubles_anything() {
    // Only the requests around a transaction differ.
    if are_long_tests_wanted("single faults exactly once before KIP-890") {
        run_singles(EXACTLY_ONCE_BEFORE_KIP_890, 329);
    }
}

#[test]
fn no_pair_of_faults_loses_or_doubles_anything() {
    run_all(AT_LEAST_ONCE, pairs(AT_LEAST_ONCE));
    run_all(EXACTLY_ONCE, pairs(EXACTLY_ONCE));
}

/// Tries every single fault; `count` is how many there are, so that none goes missing unseen.
fn run_singles(promise: Promise, count: usize) {
    let cases = single_faults(promise);
    println!("{} single faults", cases.len());
    assert_eq!(cases.len(), count);
    run_all(promise, cases);
}

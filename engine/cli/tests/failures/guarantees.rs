//! Another guarantee than the run before had, whatever that has left open.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine_broker::{FaultAction, ObservedRequest};
use engine_wire::messages::ApiKey;

use crate::long_tests::are_long_tests_wanted;
use crate::process::start;
use crate::scene::{Guarantee, Scene, is_commit, meet, wait_until};

/// A run under exactly once that is killed when all of a checkpoint is written but the end of its transaction, which stays open
/// for so long.
fn killed_in_mid_transaction(timeout_ms: u32) -> Scene {
    let mut scene = Scene::new();
    scene.produce(0..3);
    scene.run_to_the_end(false).success();
    scene.produce(3..6);
    let has_offsets = AtomicBool::new(false);
    let is_end = move |request: &ObservedRequest<'_>| {
        has_offsets.fetch_or(is_commit(request), Ordering::SeqCst);
        request.api_key == ApiKey::EndTxn as i16 && has_offsets.load(Ordering::SeqCst)
    };
    let has_come = meet(&scene, is_end, FaultAction::Delay(Duration::from_secs(3_600)));
    let timeout = format!("--set=kafka.transaction.timeout.ms={timeout_ms}");
    let engine = start(&mut scene.command(&[&timeout]));
    wait_until("the end of the transaction", || has_come.load(Ordering::SeqCst));
    // Killed.
    drop(engine);
    scene
}

#[test]
fn a_run_at_least_once_waits_for_the_transaction_that_was_left_open_and_goes_on() {
    if !are_long_tests_wanted("a transaction left open before a run at least once") {
        return;
    }
    let mut scene = killed_in_mid_transaction(25_000).promising(Guarantee::AtLeastOnce);
    let started = Instant::now();
    let ended = scene.run_to_the_end(false);
    assert!(
        ended.stderr.contains("transaction"),
        "it says what it waits for: {}",
        ended.stderr
    );
    ended.success();
    assert!(started.elapsed() > Duration::from_secs(2), "nothing was left open");
    scene.produce(6..8);
    scene.drains_exactly();
    // And back.
    let mut scene = scene.promising(Guarantee::ExactlyOnce);
    scene.produce(8..9);
    scene.run_to_the_end(true).success();
    scene.lake_is_exact();
}

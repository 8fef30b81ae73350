//! Brokers that are away, or have too few replicas, for longer than every timeout.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine_broker::{Fault, FaultAction};
use engine_wire::error_code::ErrorCode;

use crate::process::{Started, start};
use crate::scene::{Guarantee, Scene, is_commit, meet, wait_until};

const PRODUCE: i16 = 0;

/// Longer than any timeout of the pipeline.
const LONG: Duration = Duration::from_secs(8);

/// It went on by itself, or it ended with a message.
fn recovers_or_ends(scene: &Scene, engine: Started) {
    let ended = scene.ended(engine);
    match ended.code {
        Some(0) => {}
        _ => {
            let said = ended.failure(1);
            assert!(said.contains("error"), "{said}");
        }
    }
}

#[test]
fn a_broker_that_is_lost_in_mid_commit_for_longer_than_every_timeout_costs_nothing() {
    // Beside each other: both do nothing but wait.
    std::thread::scope(|scope| {
        for guarantee in [Guarantee::ExactlyOnce, Guarantee::AtLeastOnce] {
            scope.spawn(move || lost_in_mid_commit(Scene::new().promising(guarantee)));
        }
    });
}

fn lost_in_mid_commit(mut scene: Scene) {
    scene.produce(0..6);
    let was_lost = meet(&scene, is_commit, FaultAction::Restart(LONG));
    let engine = start(&mut scene.command(&["--until-end"]));
    recovers_or_ends(&scene, engine);
    assert!(was_lost.load(Ordering::SeqCst), "it never committed");
    // It may still be away.
    wait_until("a broker", || scene.is_reachable());
    scene.produce(6..8);
    scene.drains_exactly();
}

#[test]
fn too_few_replicas_for_a_moment_are_waited_for() {
    let mut scene = Scene::new();
    scene.produce(0..4);
    scene.broker().inject(Fault {
        api_key: PRODUCE,
        skip: 0,
        times: 5,
        action: FaultAction::Error(ErrorCode::NOT_ENOUGH_REPLICAS),
    });
    scene.drains_exactly();
}

/// Refuses all that the engine produces while this is true.
fn too_few_replicas(scene: &Scene) -> Arc<AtomicBool> {
    let are_too_few = Arc::new(AtomicBool::new(false));
    let refuses = Arc::clone(&are_too_few);
    let is_first = scene.broker().observe(move |request| {
        let is_refused = request.api_key == PRODUCE && request.client_id != "verdict" && refuses.load(Ordering::SeqCst);
        is_refused.then_some(FaultAction::Error(ErrorCode::NOT_ENOUGH_REPLICAS))
    });
    assert!(is_first);
    are_too_few
}

#[test]
fn too_few_replicas_for_longer_than_every_timeout_are_told_and_waited_for_exactly_once() {
    let mut scene = Scene::new();
    scene.produce(0..2);
    let mut engine = scene.start(&[]);
    scene.wait_for_rows(3);
    let are_too_few = too_few_replicas(&scene);
    are_too_few.store(true, Ordering::SeqCst);
    scene.produce(2..6);
    let said = engine.said("Back to the last checkpoint");
    assert!(said.contains("NOT_ENOUGH_REPLICAS"), "{said}");
    are_too_few.store(false, Ordering::SeqCst);
    // It goes on by itself.
    scene.wait_for_rows(15);
    scene.stop(engine);
    scene.drains_exactly();
}

#[test]
fn too_few_replicas_for_longer_than_the_delivery_timeout_end_a_run_at_least_once_with_their_name() {
    let mut scene = Scene::new().promising(Guarantee::AtLeastOnce);
    let are_too_few = too_few_replicas(&scene);
    // At the start it would be waited for.
    let engine = scene.start(&[]);
    are_too_few.store(true, Ordering::SeqCst);
    scene.produce(0..4);
    let said = scene.ended(engine).failure(1);
    assert!(said.contains("NOT_ENOUGH_REPLICAS"), "{said}");
    assert_eq!(scene.rows().len(), 0);
    are_too_few.store(false, Ordering::SeqCst);
    scene.drains_exactly();
}

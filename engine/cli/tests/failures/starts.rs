//! A start, or a takeover, while what it needs is not there yet: it is waited for, whatever the guarantee.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine_broker::FaultAction;
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::ApiKey;

use crate::process::start;
use crate::scene::{Guarantee, Scene, meet};

#[test]
fn brokers_that_are_away_at_the_start_are_waited_for() {
    let mut scene = Scene::new().promising(Guarantee::AtLeastOnce);
    scene.produce(0..3);
    meet(&scene, |_| true, FaultAction::Restart(Duration::from_secs(6)));
    let soon = "--set=kafka.socket.connection.setup.timeout.ms=1000";
    let mut engine = start(&mut scene.command(&["--until-end", "--drain", soon]));
    let said = engine.said("Cannot begin yet");
    assert!(said.contains(&scene.servers), "{said}");
    scene.ended(engine).success();
    scene.is_exact();
}

/// Refuses to tell committed offsets while this is true, as a coordinator does that has only just taken over.
fn loading(scene: &Scene, code: ErrorCode) -> Arc<AtomicBool> {
    let is_loading = Arc::new(AtomicBool::new(false));
    let refuses = Arc::clone(&is_loading);
    let is_first = scene.broker().observe(move |request| {
        let is_refused = request.api_key == ApiKey::OffsetFetch as i16
            && request.client_id != "verdict"
            && refuses.load(Ordering::SeqCst);
        is_refused.then_some(FaultAction::Error(code))
    });
    assert!(is_first);
    is_loading
}

#[test]
fn a_standby_at_least_once_outlives_a_coordinator_that_is_loading_when_it_takes_over() {
    let mut scene = Scene::new().promising(Guarantee::AtLeastOnce);
    let is_loading = loading(&scene, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    scene.produce(0..3);
    let owner = scene.start(&[]);
    scene.wait_for_rows(6);
    let mut standby = start(&mut scene.command(&["-v"]));
    standby.said("Standing by");
    is_loading.store(true, Ordering::SeqCst);
    // Killed.
    drop(owner);
    let said = standby.said("Cannot begin yet");
    assert!(said.contains("COORDINATOR_LOAD_IN_PROGRESS"), "{said}");
    is_loading.store(false, Ordering::SeqCst);
    scene.produce(3..6);
    scene.wait_for_rows(15);
    scene.stop(standby);
    scene.drains_exactly();
}

#[test]
fn a_right_that_is_missing_at_the_start_ends_it_at_once() {
    for guarantee in [Guarantee::AtLeastOnce, Guarantee::ExactlyOnce] {
        let mut scene = Scene::new().promising(guarantee);
        scene.produce(0..3);
        loading(&scene, ErrorCode::GROUP_AUTHORIZATION_FAILED).store(true, Ordering::SeqCst);
        let ended = scene.run_to_the_end(false);
        assert!(!ended.stderr.contains("Cannot begin yet"), "{}", ended.stderr);
        let said = ended.failure(1);
        assert!(said.contains("GROUP_AUTHORIZATION_FAILED"), "{said}");
        assert_eq!(scene.rows().len(), 0);
    }
}

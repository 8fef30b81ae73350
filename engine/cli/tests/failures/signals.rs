//! SIGTERM in every phase of a run: it ends soon, with 0, and nothing is lost. A second one ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine_broker::{FaultAction, ObservedRequest};
use engine_wire::messages::ApiKey;

use crate::long_tests::are_long_tests_wanted;
use crate::process::{Started, signal, start};
use crate::raw_client::Isolation;
use crate::scene::{Guarantee, Scene, is_commit, meet, wait_until};

/// What the broker does to the request at which the signal comes.
const NEVER: FaultAction = FaultAction::Silence;
const LATE: FaultAction = FaultAction::Delay(Duration::from_millis(1_500));

fn is(api: ApiKey) -> impl Fn(&ObservedRequest<'_>) -> bool + Send + Sync + 'static {
    move |request| request.api_key == api as i16
}

/// The signal comes when `has_come`; the run ends with 0 before long, and a next one has everything.
#[track_caller]
fn ends_soon(scene: &Scene, engine: Started, has_come: &AtomicBool) {
    wait_until("the request", || has_come.load(Ordering::SeqCst));
    signal(&engine, "TERM");
    let asked = Instant::now();
    let ended = scene.ended(engine);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    scene.drains_exactly();
}

#[test]
fn a_signal_before_the_brokers_are_reached_ends_the_run() {
    let mut scene = Scene::new();
    scene.produce(0..3);
    // Nobody answers here: it listens, accepts and says nothing.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    scene.write_pipeline(&nobody.local_addr().unwrap().to_string());
    let engine = start(&mut scene.command(&[]));
    let _asked = nobody.accept().unwrap();
    scene.write_pipeline(&scene.servers.clone());
    ends_soon(&scene, engine, &AtomicBool::new(true));
}

#[test]
fn a_signal_while_it_joins_the_group_ends_the_run() {
    let mut scene = Scene::new();
    scene.produce(0..3);
    let has_come = meet(&scene, is(ApiKey::JoinGroup), NEVER);
    let engine = start(&mut scene.command(&[]));
    ends_soon(&scene, engine, &has_come);
}

#[test]
fn a_signal_while_it_restores_ends_the_run() {
    let mut scene = Scene::new();
    scene.produce(0..3);
    let engine = scene.start(&[]);
    scene.wait_for_rows(6);
    scene.stop(engine);
    let has_come = meet(&scene, is(ApiKey::OffsetFetch), LATE);
    let engine = start(&mut scene.command(&[]));
    ends_soon(&scene, engine, &has_come);
}

#[test]
fn a_signal_while_it_runs_takes_a_last_checkpoint() {
    let mut scene = Scene::new();
    scene.produce(0..3);
    // No checkpoint comes of itself before the signal does.
    let rare = [
        "--set",
        "checkpoint.interval=500s",
        "--set",
        "kafka.transaction.timeout.ms=600000",
    ];
    let engine = scene.start(&rare);
    wait_until("an uncommitted row", || {
        scene.rows_of(Isolation::Uncommitted).len() >= 6
    });
    assert_eq!(scene.client().committed("views", "events", 3), [-1, -1, -1]);
    scene.stop(engine);
    assert_eq!(scene.client().committed("views", "events", 3), [15, 15, 15]);
    assert_eq!(scene.rows().len(), 6);
    scene.drains_exactly();
}

#[test]
fn a_signal_in_mid_checkpoint_waits_for_it() {
    let mut scene = Scene::new();
    scene.produce(0..3);
    let has_come = meet(&scene, is_commit, LATE);
    let engine = start(&mut scene.command(&[]));
    ends_soon(&scene, engine, &has_come);
}

#[test]
fn a_signal_while_it_drains_loses_no_window() {
    let mut scene = Scene::new();
    scene.produce(0..3);
    scene.run_to_the_end(false).success();
    // Everything is read; what it produces now are the windows that the drain closes.
    let has_come = meet(&scene, is(ApiKey::Produce), LATE);
    let engine = start(&mut scene.command(&["--until-end", "--drain"]));
    ends_soon(&scene, engine, &has_come);
}

#[test]
fn a_second_signal_in_mid_checkpoint_ends_it_at_once_and_nothing_is_lost() {
    let mut scene = Scene::new();
    scene.produce(0..3);
    // So late that both signals come first, on however slow a machine, and patiently waited for.
    let has_come = meet(&scene, is_commit, FaultAction::Delay(Duration::from_secs(8)));
    let patient = [
        "--set=kafka.request.timeout.ms=9000",
        "--set=kafka.default.api.timeout.ms=9000",
        "--set=kafka.delivery.timeout.ms=9500",
    ];
    let mut engine = start(&mut scene.command(&patient));
    wait_until("the commit", || has_come.load(Ordering::SeqCst));
    signal(&engine, "TERM");
    // Two that come before the first is seen are one.
    engine.said("stopping: ");
    signal(&engine, "TERM");
    let asked = Instant::now();
    scene.ended(engine).failure(130);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    // The group waits for the dead member's session first.
    scene.drains_exactly();
}

/// Nothing that was produced is answered any more, and the buffer has no room for the rows of the windows that close.
fn a_signal_while_rows_wait_for_room(guarantee: Guarantee) {
    let mut scene = Scene::new().promising(guarantee);
    // All of them close at once.
    scene.produce(0..300);
    let is_results = |request: &ObservedRequest<'_>| {
        let name: &[u8] = b"window_start";
        is(ApiKey::Produce)(request) && request.body.windows(name.len()).any(|part| part == name)
    };
    let has_come = Arc::new(AtomicBool::new(false));
    let come = Arc::clone(&has_come);
    let is_first = scene.broker().observe(move |request| {
        let is_held = request.client_id != "verdict" && !come.load(Ordering::SeqCst) && is_results(request);
        is_held.then_some(NEVER)
    });
    assert!(is_first);
    let patient = [
        "--set=kafka.request.timeout.ms=100000",
        "--set=kafka.default.api.timeout.ms=120000",
        "--set=kafka.max.block.ms=120000",
        "--set=kafka.delivery.timeout.ms=120000",
        "--set=kafka.buffer.memory=16384",
        "--set=kafka.batch.size=4096",
        "--set=trigger.interval=1s",
        "--set=checkpoint.interval=2s",
    ];
    let engine = scene.start(&patient);
    // It has read everything, and is where it emits.
    std::thread::sleep(Duration::from_secs(4));
    signal(&engine, "TERM");
    let asked = Instant::now();
    let ended = scene.ended(engine);
    let took = asked.elapsed();
    let said = ended.failure(1);
    assert!(said.contains("the last checkpoint did not succeed"), "{said}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    has_come.store(true, Ordering::SeqCst);
    scene.drains_exactly();
}

#[test]
fn a_signal_while_the_rows_of_windows_wait_for_room_ends_the_run_and_nothing_of_them_is_lost() {
    if !are_long_tests_wanted("a signal while the rows of windows wait for room") {
        return;
    }
    // Beside each other: both do nothing but wait.
    std::thread::scope(|scope| {
        for guarantee in [Guarantee::ExactlyOnce, Guarantee::AtLeastOnce] {
            scope.spawn(move || a_signal_while_rows_wait_for_room(guarantee));
        }
    });
}

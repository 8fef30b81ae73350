//! Topics that somebody deletes: nobody makes them anew by asking for them.

use crate::process::signal;
use crate::scene::{Guarantee, Scene, wait_until};

#[test]
fn a_results_topic_that_is_deleted_is_missed_by_name_and_used_again_when_it_is_back() {
    let mut scene = Scene::new();
    scene.produce(0..3);
    let mut engine = scene.start(&[]);
    scene.wait_for_rows(6);
    scene.client().delete("results");
    scene.produce(3..6);
    let said = engine.said("Back to the last checkpoint");
    assert!(said.contains("results"), "{said}");
    assert_eq!(scene.client().partitions("results"), 0, "nobody made it");
    scene.client().create("results", 2, &[]);
    scene.wait_for_rows(6);
    scene.stop(engine);
    later_rows_and_the_lake_are_exact(&scene);
}

#[test]
fn a_results_topic_that_is_deleted_ends_a_run_at_least_once_and_the_next_one_makes_it() {
    let mut scene = Scene::new().promising(Guarantee::AtLeastOnce);
    scene.produce(0..3);
    let engine = scene.start(&[]);
    scene.wait_for_rows(6);
    scene.client().delete("results");
    scene.produce(3..6);
    let said = scene.ended(engine).failure(1);
    assert!(said.contains("results"), "{said}");
    later_rows_and_the_lake_are_exact(&scene);
}

/// What was in the topic went with it; all later windows are there.
#[track_caller]
fn later_rows_and_the_lake_are_exact(scene: &Scene) {
    scene.run_to_the_end(true).success();
    scene.lake_is_exact();
    let rows = scene.rows();
    for window in scene.later_windows(3) {
        let views = rows.get(&window).and_then(|rows| rows.last());
        assert_eq!(views, scene.expected().get(&window), "{window:?}: {rows:?}");
    }
}

#[test]
fn a_state_topic_that_would_delete_old_state_is_refused_with_what_to_set() {
    let mut scene = Scene::new();
    scene.produce(0..3);
    scene
        .client()
        .create("engine-state-views", 1, &[("cleanup.policy", "compact,delete")]);
    let said = scene.run_to_the_end(true).failure(1);
    assert!(said.contains("--add-config cleanup.policy=compact"), "{said}");
}

#[test]
fn a_state_topic_that_is_deleted_is_never_taken_for_a_fresh_start() {
    // Beside each other: both mostly wait.
    std::thread::scope(|scope| {
        for guarantee in [Guarantee::ExactlyOnce, Guarantee::AtLeastOnce] {
            scope.spawn(move || state_topic_is_deleted(guarantee));
        }
    });
}

fn state_topic_is_deleted(guarantee: Guarantee) {
    let mut scene = Scene::new().promising(guarantee);
    scene.produce(0..3);
    let mut engine = scene.start(&[]);
    // Rows are there before their checkpoint at least once; without one there is no state to miss.
    wait_until("a commit", || {
        scene.client().committed("views", "events", 3) == [15, 15, 15]
    });
    scene.client().delete("engine-state-views");
    scene.produce(3..6);
    if guarantee == Guarantee::ExactlyOnce {
        let said = engine.said("Back to the last checkpoint");
        assert!(said.contains("engine-state-views"), "{said}");
        signal(&engine, "TERM");
        scene.ended(engine);
    } else {
        let said = scene.ended(engine).failure(1);
        assert!(said.contains("engine-state-views"), "{said}");
    }
    // A restart would not know what is in the windows that were open: that is for somebody to decide.
    let said = scene.run_to_the_end(true).failure(1);
    assert!(said.contains("start anew"), "{said}");
}

#[test]
fn a_results_topic_that_takes_no_record_of_this_size_ends_the_run_soon_by_its_name_and_with_what_to_set() {
    // Beside each other: under exactly once it is tried a second time.
    std::thread::scope(|scope| {
        for guarantee in [Guarantee::ExactlyOnce, Guarantee::AtLeastOnce] {
            scope.spawn(move || {
                let mut scene = Scene::new().promising(guarantee);
                scene.produce(0..3);
                // The header of a batch has 61 bytes.
                scene.client().create("results", 2, &[("max.message.bytes", "64")]);
                let said = scene.run_to_the_end(true).failure(1);
                let told = said.lines().last().unwrap_or_default();
                for part in [
                    "sink \"results\": results-",
                    "MESSAGE_TOO_LARGE",
                    "a larger `max.message.bytes`",
                ] {
                    assert!(told.contains(part), "{guarantee:?}: {part:?} is not in {said}");
                }
                scene.client().delete("results");
                scene.drains_exactly();
            });
        }
    });
}

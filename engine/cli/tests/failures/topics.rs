//! Topics that somebody deletes.

use crate::scene::{Scene, wait_until};

#[test]
fn a_results_topic_that_is_deleted_ends_the_run_or_comes_back_and_the_lake_stays_exact() {
    let mut scene = Scene::new();
    scene.produce(0..3);
    let mut engine = scene.start(&[]);
    scene.wait_for_rows(6);
    scene.client().delete("results");
    scene.produce(3..6);
    wait_until("an end or new results", || {
        engine.try_wait().expect("our own child").is_some() || scene.client().partitions("results") > 0
    });
    if engine.try_wait().expect("our own child").is_some() {
        let said = scene.ended(engine).failure(1);
        assert!(said.contains("results"), "{said}");
    } else {
        scene.stop(engine);
    }
    scene.run_to_the_end(true).success();
    scene.lake_is_exact();
    // What was in the topic went with it; all later windows are there.
    let rows = scene.rows();
    for window in scene.later_windows(3) {
        assert!(rows.contains_key(&window), "{window:?}: {rows:?}");
    }
}

//! A process that is stopped before any of its steps, whose successor does all of its own meanwhile, and that wakes up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine_lake::StepProbe;

use crate::crash_points::watched;
use crate::world::World;

/// Runs a scenario that is stopped before step `stopped_at`. The steps it took.
fn wakes_up_after_its_successor(stopped_at: u64) -> u64 {
    let world = World::new();
    let steps = Arc::new(AtomicU64::new(0));
    let (looked, counted) = (world.clone(), steps.clone());
    let store = world.store().with_probe(StepProbe::new(move |_, _| {
        if counted.fetch_add(1, Ordering::Relaxed) == stopped_at {
            looked.live(&watched(&looked)).unwrap();
            looked.assert_complete();
        }
        looked.look();
        Ok(())
    }));
    // It may fail at whatever its successor has taken away, or be told that it no longer owns anything.
    let lived = world.live(&store);
    let steps = steps.load(Ordering::Relaxed);
    if steps <= stopped_at {
        lived.unwrap();
    }
    world.assert_complete();
    steps
}

#[test]
fn a_process_that_sleeps_before_any_step_and_wakes_up_after_its_successor_changes_nothing() {
    let mut cases = 0;
    while wakes_up_after_its_successor(cases) > cases {
        cases += 1;
    }
    println!("{cases} places to sleep at");
    assert!(cases > 80, "{cases}");
}

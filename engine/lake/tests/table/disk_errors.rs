//! A disk that is full, or cannot be written, at any one step: an error that names the path, nothing half visible, and
//! never more than a warning for a merge.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine_lake::{LakeStore, StepProbe};

use crate::world::World;

/// The store of a process whose step `fails_at` fails.
fn failing(world: &World, fails_at: u64, kind: io::ErrorKind, steps: &Arc<AtomicU64>) -> LakeStore {
    let (looked, steps) = (world.clone(), steps.clone());
    world.store().with_probe(StepProbe::new(move |_, _| {
        looked.look();
        if steps.fetch_add(1, Ordering::Relaxed) == fails_at {
            return Err(kind.into());
        }
        Ok(())
    }))
}

fn describe(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", describe(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}

#[test]
fn a_step_that_the_disk_refuses_is_told_with_its_path_and_the_next_life_goes_on() {
    let kind = io::ErrorKind::StorageFull;
    let (mut cases, mut refused, mut survived) = (0, 0, 0);
    loop {
        let world = World::new();
        let steps = Arc::new(AtomicU64::new(0));
        match world.live(&failing(&world, cases, kind, &steps)) {
            Ok(()) => survived += 1,
            Err(error) => {
                refused += 1;
                let text = describe(error.as_ref());
                assert!(text.contains(&kind.to_string()), "{text}");
                assert!(text.starts_with("cannot ") && text.contains('"'), "{text}");
                assert!(engine_lake::advice(error.as_ref()).is_some(), "{text}");
                world.live(&failing(&world, u64::MAX, kind, &steps)).unwrap();
            }
        }
        if steps.load(Ordering::Relaxed) <= cases {
            break;
        }
        world.assert_complete();
        world.assert_can_merge();
        cases += 1;
    }
    println!("{cases} refused steps: {refused} stopped a writer, {survived} only a merge");
    assert!(refused > 40 && survived > 40, "{refused} {survived}");
}

//! A crash before every step of recovery, writing, staging, publishing and merging, and another one before every step of
//! the recovery after it. The disk as it is before a step is what a kill at that moment leaves, so one run of a scenario
//! gives all of them.

use std::sync::{Arc, Mutex};

use engine_lake::{LakeStore, StepProbe, recover};

use crate::folder::writer_id;
use crate::world::World;

/// The store of a process whose every step is looked at, and left as an image.
fn imaged(world: &World, images: &Arc<Mutex<Vec<World>>>) -> LakeStore {
    let (looked, images) = (world.clone(), images.clone());
    world.store().with_probe(StepProbe::new(move |_, _| {
        looked.look();
        images.lock().unwrap().push(looked.image());
        Ok(())
    }))
}

/// The store of a process whose every step is looked at.
pub(crate) fn watched(world: &World) -> LakeStore {
    let looked = world.clone();
    world.store().with_probe(StepProbe::new(move |_, _| {
        looked.look();
        Ok(())
    }))
}

fn taken(images: &Arc<Mutex<Vec<World>>>) -> Vec<World> {
    std::mem::take(&mut images.lock().unwrap())
}

#[test]
fn a_crash_before_every_step_and_before_every_step_of_its_recovery_loses_and_doubles_nothing() {
    let images = Arc::new(Mutex::new(Vec::new()));
    let world = World::new();
    world.live(&imaged(&world, &images)).unwrap();
    world.assert_complete();
    let mut looks = world.state().looks;

    let (mut crashes, mut second_crashes) = (0, 0);
    for crashed in taken(&images) {
        crashes += 1;
        crashed.look();
        // The next life recovers; each of its steps is another place to crash.
        let (me, committed) = crashed.take_over();
        recover(&imaged(&crashed, &images), &writer_id(), committed.as_ref()).unwrap();
        for again in taken(&images) {
            second_crashes += 1;
            again.live(&watched(&again)).unwrap();
            again.assert_complete();
            looks += again.state().looks;
        }
        let checkpoint = committed.map_or(0, |staged| staged.checkpoint_id());
        crashed.go_on(&watched(&crashed), me, checkpoint).unwrap();
        crashed.assert_complete();
        crashed.assert_can_merge();
        looks += crashed.state().looks;
    }
    println!("{crashes} crashes, {second_crashes} in their recoveries, {looks} looks at the table");
    assert!(crashes > 80, "{crashes}");
    assert!(second_crashes > 300, "{second_crashes}");
}

//! At least once no transaction fences a process that sleeps while another takes over: what it does when it wakes up must
//! not count, wherever it slept and whatever became of the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use engine_broker::FaultAction;
use engine_wire::messages::ApiKey;

use crate::process::{Started, signal, start};
use crate::scene::{Guarantee, Scene, wait_until};

/// Long enough to send a signal.
const A_MOMENT: FaultAction = FaultAction::Delay(Duration::from_secs(2));
const FOR_EVER: FaultAction = FaultAction::Delay(Duration::from_secs(3_600));

/// Requests at which something happens to their sender, one after the other.
struct Moments {
    allowed: AtomicUsize,
    come: AtomicUsize,
}

impl Moments {
    /// Each is a kind of request, bytes that are in it, and what the broker does to it.
    fn at(scene: &Scene, moments: &'static [(ApiKey, &[u8], FaultAction)]) -> Arc<Moments> {
        let both = Arc::new(Moments {
            allowed: AtomicUsize::new(0),
            come: AtomicUsize::new(0),
        });
        let observed = Arc::clone(&both);
        let is_first = scene.broker().observe(move |request| {
            let next = observed.come.load(Ordering::SeqCst);
            let (api, bytes, action) = moments.get(next)?;
            let has_come = next < observed.allowed.load(Ordering::SeqCst)
                && request.client_id != "verdict"
                && request.api_key == *api as i16
                && (bytes.is_empty() || request.body.windows(bytes.len()).any(|part| part == *bytes));
            if !has_come {
                return None;
            }
            observed.come.store(next + 1, Ordering::SeqCst);
            Some(*action)
        });
        assert!(is_first);
        both
    }

    /// Lets the next one come.
    fn allow(&self) {
        self.allowed.fetch_add(1, Ordering::SeqCst);
    }

    #[track_caller]
    fn wait(&self) {
        wait_until("the moment", || {
            self.come.load(Ordering::SeqCst) == self.allowed.load(Ordering::SeqCst)
        });
    }
}

/// Requests outlast the sleep: what the process was about to do is what it does when it wakes up.
fn patient_scene() -> Scene {
    Scene::new().promising(Guarantee::AtLeastOnce).with(
        "kafka",
        "request.timeout.ms = 30000\ndefault.api.timeout.ms = 60000\ndelivery.timeout.ms = 60000",
    )
}

/// Pitfall 23 of the stream engine: it slept between being assigned the partitions and claiming its epoch.
#[test]
fn a_process_that_slept_while_it_took_over_leaves_everything_to_its_successor() {
    let mut scene = patient_scene();
    let moments = Moments::at(&scene, &[(ApiKey::OffsetFetch, b"", A_MOMENT)]);
    scene.produce(0..3);
    moments.allow();
    let mut sleeper: Started = start(&mut scene.command(&[]));
    moments.wait();
    signal(&sleeper, "STOP");
    let successor = scene.start(&[]);
    scene.wait_for_rows(6);

    signal(&sleeper, "CONT");
    sleeper.said("The partitions went to another process");
    // What the successor commits from now on is what the next start must find.
    scene.produce(3..6);
    scene.wait_for_rows(15);
    scene.stop(sleeper);
    scene.stop(successor);
    scene.drains_exactly();
}

/// Pitfall 23 of the stream engine: it slept between its lake files and the manifest that names them.
#[test]
fn a_manifest_that_is_written_after_its_files_were_given_up_does_not_count() {
    let mut scene = patient_scene();
    let moments = Moments::at(
        &scene,
        &[
            (ApiKey::Produce, b"state/", A_MOMENT),
            (ApiKey::Produce, b"manifest/", FOR_EVER),
        ],
    );
    scene.produce(0..3);
    let mut sleeper = scene.start(&[]);
    scene.wait_for_rows(6);
    moments.allow();
    scene.produce(3..5);
    moments.wait();
    signal(&sleeper, "STOP");
    moments.allow();
    // Its successor deletes the files, which no manifest names yet, and dies before it has completed a checkpoint of its own.
    let successor = scene.start(&[]);
    moments.wait();
    drop(successor);

    signal(&sleeper, "CONT");
    sleeper.said("not this process's any more");
    scene.produce(5..7);
    scene.wait_for_rows(18);
    scene.stop(sleeper);
    scene.drains_exactly();
}

//! A bucket that goes away while the pipeline writes to it, and one that says no.

use std::time::{Duration, Instant};

use crate::counts::{assert_same, recount};
use crate::gate::{Gate, GatedServer};
use crate::job::{Job, Running};
use crate::long_tests::are_long_tests_wanted;
use crate::process::EmbeddedBroker;
use crate::server::{Server, server};
use crate::{bucket_job, table};

const WINDOW_MS: i64 = 1_000;
/// Nothing is waited for longer; a bucket that is asked again after a setback may have been left alone for 10 s before.
const PATIENCE: Duration = Duration::from_secs(120);

struct Scene {
    server: std::sync::Arc<Server>,
    gated: GatedServer,
    bucket: String,
    broker: EmbeddedBroker,
    job: Job,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// `None` without an S3 server.
    fn new(name: &str) -> Option<Scene> {
        let server = server()?;
        let gated = GatedServer::start(&server.address);
        let bucket = server.bucket();
        let broker = EmbeddedBroker::start(&[]);
        let folder = tempfile::tempdir().unwrap();
        let job = bucket_job(
            name,
            &broker.address,
            folder.path(),
            (&server, &gated.address.to_string()),
            &bucket,
        )
        .set("transforms.per_campaign.size=1s")
        .set("sinks.lake.s3.retry_timeout=300ms");
        Some(Scene {
            server,
            gated,
            bucket,
            broker,
            job,
            _folder: folder,
        })
    }

    fn published(&self) -> usize {
        let path = format!("/{}?list-type=2&prefix=ads/dt", self.bucket);
        let (status, list) = self.server.ask("GET", &path);
        assert_eq!(status, 200);
        String::from_utf8(list).unwrap().matches("<Key>").count()
    }

    /// Waits until there are more files than these.
    #[track_caller]
    fn publishes_more_than(&self, files: usize, run: &mut Running) {
        let deadline = Instant::now() + PATIENCE;
        while self.published() <= files {
            run.assert_running();
            assert!(Instant::now() < deadline, "no more than {files} files");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The next run finds everything, and each window is in the bucket once.
    #[track_caller]
    fn drains_exactly(&self, events: u64) {
        self.job.drain();
        let raw = recount(&self.broker.address, &self.job.topic("events"), WINDOW_MS);
        assert_eq!(raw.events, events);
        assert_same(
            "lake",
            &table(&self.server, &format!("{}/ads", self.bucket)),
            &raw.counts,
        );
    }
}

#[test]
fn a_bucket_that_is_away_or_asks_for_mercy_costs_what_came_after_the_last_checkpoint_and_nothing_else() {
    let Some(scene) = Scene::new("outage") else { return };
    let load = scene.job.start_load(500);
    let mut run = scene.job.start(&[]);
    run.started();
    for gate in [Gate::Closed, Gate::Answers(503, "SlowDown")] {
        scene.publishes_more_than(scene.published(), &mut run);
        scene.gated.set(gate);
        // Twice: the second is told by a session that could not even begin.
        for _ in 0..2 {
            let said = run.says("Back to the last checkpoint");
            let cause = match gate {
                Gate::Answers(_, code) => code,
                _ => "no answer",
            };
            let is_right = said.contains("sink \\\"lake\\\"") && said.contains(cause);
            assert!(is_right || said.contains("transaction"), "{said}");
            assert!(!said.contains(scene.server.keys().1), "{said}");
        }
        scene.gated.set(Gate::Open);
    }
    scene.publishes_more_than(scene.published(), &mut run);
    run.stops();
    scene.drains_exactly(load.ends());
}

#[test]
fn a_bucket_that_refuses_ends_the_run_with_its_answer_and_is_complete_when_it_lets_us_in_again() {
    let Some(scene) = Scene::new("refused") else { return };
    let load = scene.job.start_load(500);
    let mut run = scene.job.start(&[]);
    run.started();
    scene.publishes_more_than(0, &mut run);
    scene.gated.set(Gate::Answers(403, "AccessDenied"));
    let (code, said) = run.ends();
    assert_eq!(code, Some(1), "{said}");
    for part in ["lake", "403", "AccessDenied", "so said the gate"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert!(!said.contains(scene.server.keys().1), "{said}");
    scene.gated.set(Gate::Open);
    scene.drains_exactly(load.ends());
}

#[test]
fn a_signal_while_the_bucket_is_away_ends_the_run_in_time_and_nothing_is_lost() {
    if !are_long_tests_wanted("a signal while the bucket is away") {
        return;
    }
    let Some(mut scene) = Scene::new("stopped") else { return };
    // The lake waits for longer than anybody who has asked to stop.
    scene.job = scene.job.set("sinks.lake.s3.retry_timeout=300s");
    let load = scene.job.start_load(500);
    let mut run = scene.job.start(&[]);
    run.started();
    scene.publishes_more_than(0, &mut run);
    scene.gated.set(Gate::Closed);
    // Files of a checkpoint are on their way by then.
    std::thread::sleep(Duration::from_secs(3));
    run.is_asked_to_stop();
    let asked = Instant::now();
    let (code, said) = run.ends();
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the last checkpoint did not succeed"), "{said}");
    scene.gated.set(Gate::Open);
    scene.drains_exactly(load.ends());
}

#[test]
fn a_bucket_that_is_away_at_the_start_is_waited_for_and_one_that_refuses_is_not() {
    let Some(scene) = Scene::new("late") else { return };
    scene.job.generate(&["--rate", "max", "--count", "3000"]);
    scene.gated.set(Gate::Answers(403, "AccessDenied"));
    let (code, said) = scene.job.start(&["--until-end"]).ends();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("AccessDenied") && !said.contains("Cannot begin yet"),
        "{said}"
    );
    for gate in [Gate::Closed, Gate::Answers(503, "SlowDown")] {
        scene.gated.set(gate);
        let mut run = scene.job.start(&["--until-end"]);
        let said = run.says("Cannot begin yet");
        assert!(said.contains("sink \\\"lake\\\""), "{said}");
        scene.gated.set(Gate::Open);
        let (code, said) = run.ends();
        assert_eq!(code, Some(0), "{said}");
    }
    scene.drains_exactly(3_000);
}

//! The main job with its lake in a bucket of a real S3 server, read by pyarrow, which shares no code with us.

#[path = "ad_campaigns/counts.rs"]
mod counts;
#[path = "lake_on_s3/gate.rs"]
mod gate;
#[path = "ad_campaigns/job.rs"]
mod job;
#[path = "process/long_tests.rs"]
mod long_tests;
#[path = "lake_on_s3/outages.rs"]
mod outages;
#[path = "process/engine.rs"]
mod process;
#[path = "../../lake/tests/bucket/server.rs"]
mod server;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use counts::{Counts, assert_same, recount};
use job::Job;
use process::{EmbeddedBroker, engine};
use server::{Server, server};

const WINDOW_MS: i64 = 10_000;
const SECRET: &str = "hush-hush";

#[test]
fn counts_in_a_bucket_are_exact_also_after_kills() {
    let Some(server) = server() else { return };
    let bucket = server.bucket();
    let broker = EmbeddedBroker::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let job = bucket_job(
        "on-s3",
        &broker.address,
        folder.path(),
        (&server, &server.address),
        &bucket,
    );
    job.generate(&["--rate", "max", "--count", "20000", "--partitions", "4"]);
    for pause in [0, 300, 700] {
        let mut run = job.start(&[]);
        run.started();
        std::thread::sleep(Duration::from_millis(pause));
        run.kill();
    }
    let ended = job.run(&["--until-end", "--drain"]);
    for said in [&ended.0.stdout, &ended.0.stderr] {
        assert!(!said.contains(server.keys().1), "{said}");
    }
    assert_eq!(ended.summary()["outcome"], "drained");

    let raw = recount(&broker.address, &job.topic("events"), WINDOW_MS);
    assert_eq!(raw.events, 20_000);
    assert_same("lake", &table(&server, &format!("{bucket}/ads")), &raw.counts);
    let (_, left) = server.ask("GET", &format!("/{bucket}?list-type=2&prefix=ads/_staging/"));
    assert!(
        !String::from_utf8(left).unwrap().contains("<Key>"),
        "nothing is left staged"
    );
}

/// The main job with its lake in a bucket. The session of a process that was killed is over soon.
fn bucket_job(name: &str, servers: &str, folder: &Path, (server, endpoint): (&Server, &str), bucket: &str) -> Job {
    let (id, secret) = server.keys();
    Job::new(name, servers, folder)
        .set(&format!("sinks.lake.path=s3://{bucket}/ads"))
        .set(&format!("sinks.lake.s3.endpoint=http://{endpoint}"))
        .set(&format!("sinks.lake.s3.access_key_id={id}"))
        .set(&format!("sinks.lake.s3.secret_access_key={secret}"))
        .set("sources.events.kafka.session.timeout.ms=1500")
        .set("sources.events.kafka.heartbeat.interval.ms=300")
        .set("checkpoint.interval=200ms")
}

/// The rows as pyarrow sees them; each window and campaign may be there once.
fn table(server: &Server, table: &str) -> Counts {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("../../target/s3-venv/bin/python"))
        .arg(root.join("tests/lake_on_s3/read_table.py"))
        .args([&server.address, table])
        .env("AWS_ACCESS_KEY_ID", server.keys().0)
        .env("AWS_SECRET_ACCESS_KEY", server.keys().1)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut counts = Counts::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let row: [i64; 4] = serde_json::from_str(line).unwrap();
        let twice = counts.insert((row[0], row[1]), (row[2], row[3]));
        assert_eq!(twice, None, "{line} is there twice");
    }
    counts
}

#[test]
fn a_lake_that_cannot_be_reached_is_told_with_what_was_tried_and_for_how_long() {
    let broker = EmbeddedBroker::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let nobody = "127.0.0.1:1";
    let job = Job::new("nobody-there", &broker.address, folder.path())
        .set("sinks.lake.path=s3://some-bucket/ads")
        .set(&format!("sinks.lake.s3.endpoint=http://{nobody}"))
        .set("sinks.lake.s3.access_key_id=somebody")
        .set(&format!("sinks.lake.s3.secret_access_key={SECRET}"))
        .set("sinks.lake.s3.retry_timeout=500ms");
    let mut run = job.start(&["--until-end", "--drain"]);
    // It may be there in a moment.
    let said = run.says("Cannot begin yet");
    for part in [
        "lake",
        "s3://some-bucket/ads",
        &format!("http://{nobody}/some-bucket/"),
        "gave up after",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    run.is_asked_to_stop();
    let (code, more) = run.ends();
    assert_eq!(code, Some(0), "{more}");
    assert!(!said.contains(SECRET) && !more.contains(SECRET), "{said}{more}");
}

#[test]
fn explain_shows_the_bucket_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pipeline.toml");
    let pipeline = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../pipelines/ad-campaigns.toml"));
    std::fs::write(&file, pipeline.unwrap()).unwrap();
    let settings = [
        "sinks.lake.path=s3://some-bucket/ads",
        "sinks.lake.s3.endpoint=http://127.0.0.1:9000",
        "sinks.lake.s3.access_key_id=somebody",
        "sinks.lake.s3.secret_access_key=hush-hush",
    ];
    let mut arguments = vec!["explain", file.to_str().unwrap()];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    for more in [&[][..], &["--json"]] {
        let said = engine(&[&arguments, more].concat()).success();
        assert!(
            said.contains("s3://some-bucket/ads/dt=") && said.contains("http://127.0.0.1:9000"),
            "{said}"
        );
        assert!(said.contains("small files stay as they are: in a bucket"), "{said}");
        assert!(!said.contains(SECRET), "{said}");
    }
}

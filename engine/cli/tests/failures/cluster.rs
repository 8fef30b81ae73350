//! Three brokers of Apache Kafka: whose coordinators move because their nodes are killed, and of which too few are left.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::Runtime;

use crate::process::{engine, engine_with_input, signal, start};
use crate::real_broker::Cluster;
use crate::scene::{Counts, PATIENCE, Scene};

/// A node that was killed takes its time to come back, and its partitions to be led again.
const MOVING: Duration = Duration::from_secs(90);

const VERSION: &str = "4.4.0";

/// The pipeline on three brokers; its input has one partition, so that its rows come in order whoever writes them.
fn scene(cluster: &Cluster) -> Scene {
    let servers = &cluster.bootstrap_servers;
    let scene = Scene::on(Runtime::new().expect("a runtime"), None, servers.clone());
    let text = std::fs::read_to_string(scene.pipeline()).expect("our own file");
    let text = text
        .replace("replication_factor = 1", "replication_factor = 3\npartitions = 1")
        .replace("request.timeout.ms = 1000", "request.timeout.ms = 3000")
        .replace("default.api.timeout.ms = 3000", "default.api.timeout.ms = 20000")
        .replace("delivery.timeout.ms = 3000", "delivery.timeout.ms = 20000")
        .replace("max.block.ms = 3000", "max.block.ms = 20000");
    std::fs::write(scene.pipeline(), text).expect("our own file");
    let create = [
        "topics",
        "create",
        "events",
        "--partitions",
        "1",
        "--replication-factor",
        "3",
        "-b",
        servers,
    ];
    engine(&create).success();
    scene
}

fn produce(scene: &mut Scene, windows: std::ops::Range<i64>) {
    let lines: Vec<_> = windows.flat_map(|window| scene.views(window, 0)).collect();
    let servers = scene.servers.clone();
    engine_with_input(
        &["produce", "events", "-b", &servers, "-X", "acks=all"],
        format!("{}\n", lines.join("\n")).as_bytes(),
    )
    .success();
}

/// Rows of the results topic as readers of committed records see them.
fn rows(scene: &Scene) -> BTreeMap<(i64, i64), Vec<i64>> {
    let isolation = "isolation.level=read_committed";
    let read = engine(&[
        "consume",
        "results",
        "-b",
        &scene.servers,
        "--until-end",
        "-q",
        "-X",
        isolation,
    ]);
    let mut rows: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in read.stdout.lines() {
        let row: Value = serde_json::from_str(line).expect("JSON");
        let integer = |column: &str| row[column].as_i64().unwrap_or_else(|| panic!("{column} of {row}"));
        let window = (integer("window_start"), integer("campaign"));
        rows.entry(window).or_default().push(integer("views"));
    }
    rows
}

#[track_caller]
fn wait_for_rows(scene: &Scene, count: usize, engine: &mut crate::process::Started) {
    let deadline = Instant::now() + MOVING;
    while rows(scene).len() < count {
        assert_eq!(engine.try_wait().expect("our own child"), None, "it has ended");
        assert!(Instant::now() < deadline, "{} of {count} rows", rows(scene).len());
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[track_caller]
fn drains_exactly(scene: &Scene) {
    // A broker that is back may refuse for some time yet; whoever starts a pipeline again starts it more than once.
    let deadline = Instant::now() + MOVING;
    loop {
        let ended = scene.run_to_the_end(true);
        match ended.code {
            Some(0) => break,
            _ => assert!(Instant::now() < deadline, "{}", ended.stderr),
        }
    }
    let rows = rows(scene);
    scene.rows_are_exact(&rows);
    scene.lake_is_exact();
}

#[test]
fn coordinators_that_move_with_every_killed_node_cost_nothing() {
    let Some(cluster) = Cluster::start_for_long("coordinator-moves", VERSION, 3, &["--set", "min.insync.replicas=2"])
    else {
        return;
    };
    let mut scene = scene(&cluster);
    produce(&mut scene, 0..2);
    let mut engine = scene.start(&[]);
    let mut windows = 2;
    for node in 1..=3 {
        wait_for_rows(&scene, expected_closed(&scene, windows), &mut engine);
        cluster.node("kill", node);
        // Whatever that node led and coordinated moves; the engine goes on by itself.
        produce(&mut scene, windows..windows + 2);
        windows += 2;
        wait_for_rows(&scene, expected_closed(&scene, windows), &mut engine);
        cluster.node("start", node);
    }
    signal(&engine, "TERM");
    scene.ended(engine).success();
    drains_exactly(&scene);
}

#[test]
fn too_few_replicas_in_sync_stop_the_pipeline_and_nothing_is_lost() {
    let Some(cluster) = Cluster::start_for_long("min-insync", VERSION, 3, &["--set", "min.insync.replicas=3"]) else {
        return;
    };
    let mut scene = scene(&cluster);
    produce(&mut scene, 0..3);
    let mut engine = scene.start(&[]);
    wait_for_rows(&scene, expected_closed(&scene, 3), &mut engine);
    drop(engine);
    // The input is there before; what the pipeline writes is refused until the third replica is back.
    produce(&mut scene, 3..6);
    cluster.node("kill", 3);
    let began = Instant::now();
    let ended = scene.ended(start(&mut scene.command(&["--until-end"])));
    assert!(began.elapsed() < PATIENCE);
    let said = ended.failure(1);
    assert!(said.contains("error"), "{said}");
    cluster.node("start", 3);
    drains_exactly(&scene);
}

/// How many rows the first `windows` give while the last of them is still open.
fn expected_closed(scene: &Scene, windows: i64) -> usize {
    let all: &Counts = scene.expected();
    let later = scene.later_windows(windows - 1).len();
    all.len() - later
}

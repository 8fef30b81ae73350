//! Three brokers of Apache Kafka, some of which are killed: those that coordinate move what they coordinate, and when too
//! few replicas are left the pipeline waits for them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::Runtime;

use crate::process::{Started, engine, engine_with_input, signal};
use crate::raw_client::{Coordinates, RawClient};
use crate::real_broker::Cluster;
use crate::scene::Scene;

const VERSION: &str = "4.4.0";
const NODES: [usize; 3] = [1, 2, 3];
/// A node that was killed takes its time to come back, and its partitions to be led again.
const PATIENCE: Duration = Duration::from_secs(60);
const GROUP: &str = "views";
const TRANSACTIONAL_ID: &str = "engine-views";

/// The pipeline of a [`Scene`] on three brokers, and a topic of one partition that it reads: rows come in order whoever
/// writes them.
struct OnThree {
    scene: Scene,
    cluster: Cluster,
    /// Windows that were produced so far; the last of them is open.
    windows: i64,
}

impl OnThree {
    fn start(test: &str) -> Option<OnThree> {
        let cluster = Cluster::start_for_long(test, VERSION, NODES.len(), &[])?;
        let servers = cluster.bootstrap_servers.clone();
        let scene = Scene::on(Runtime::new().expect("a runtime"), None, servers.clone())
            .with("kafka", "replication_factor = 3\npartitions = 1")
            .with("kafka", "request.timeout.ms = 3000\ndefault.api.timeout.ms = 9000")
            .with("kafka", "delivery.timeout.ms = 9000\nmax.block.ms = 9000");
        let topic = ["topics", "create", "events", "--partitions", "1"];
        engine(&[&topic[..], &["--replication-factor", "3", "-b", &servers]].concat()).success();
        Some(OnThree {
            scene,
            cluster,
            windows: 0,
        })
    }

    /// Views of this many windows more.
    #[track_caller]
    fn produce(&mut self, windows: i64) {
        let range: Range<i64> = self.windows..self.windows + windows;
        self.windows = range.end;
        let lines: Vec<_> = range.flat_map(|window| self.scene.views(window, 0)).collect();
        let arguments = ["produce", "events", "-b", &self.scene.servers, "-X", "acks=all"];
        engine_with_input(&arguments, format!("{}\n", lines.join("\n")).as_bytes()).success();
    }

    /// The node that coordinates this, as a node that is up says.
    #[track_caller]
    fn coordinator(&self, what: Coordinates, of: &str) -> usize {
        self.coordinator_that(what, of, |_| true)
    }

    /// The same once it is such a node: who is asked may not know yet that another one has been chosen.
    #[track_caller]
    fn coordinator_that(&self, what: Coordinates, of: &str, is_such: impl Fn(usize) -> bool) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for address in self.scene.servers.split(',') {
                let (_, port) = address.rsplit_once(':').expect("host and port");
                let port: u16 = port.parse().expect("a port");
                let found = RawClient::try_connect(([127, 0, 0, 1], port).into())
                    .and_then(|mut client| client.coordinator(what, of));
                let found = found.map(|node| usize::try_from(node).expect("a node of ours"));
                if let Some(node) = found.filter(|node| is_such(*node)) {
                    return node;
                }
            }
            assert!(Instant::now() < deadline, "nobody knows who coordinates {of}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Rows of the results topic as readers of committed records see them; `None` if they cannot be read now.
    fn rows(&self) -> Option<BTreeMap<(i64, i64), Vec<i64>>> {
        let read = ["consume", "results", "-b", &self.scene.servers, "--until-end", "-q"];
        let read = engine(&[&read[..], &["-X", "isolation.level=read_committed"]].concat());
        if read.code != Some(0) {
            return None;
        }
        let mut rows: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for line in read.stdout.lines() {
            let row: Value = serde_json::from_str(line).expect("JSON");
            let integer = |column: &str| row[column].as_i64().unwrap_or_else(|| panic!("{column} of {row}"));
            let window = (integer("window_start"), integer("campaign"));
            rows.entry(window).or_default().push(integer("views"));
        }
        Some(rows)
    }

    /// Waits until all windows but the last have their rows, while the engine runs on.
    #[track_caller]
    fn wait_for_rows(&self, engine: &mut Started) {
        let open = self.scene.later_windows(self.windows - 1).len();
        let closed = self.scene.expected().len() - open;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rows = self.rows().map(|rows| rows.len());
            if rows == Some(closed) {
                return;
            }
            assert_eq!(engine.try_wait().expect("our own child"), None, "it has ended");
            assert!(Instant::now() < deadline, "{rows:?} of {closed} rows");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Stops the engine, drains, and finds every window exactly once. Gives what the engine had said.
    #[track_caller]
    fn ends_exactly(&self, engine: Started) -> String {
        signal(&engine, "TERM");
        let ended = self.scene.ended(engine);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        self.scene.run_to_the_end(true).success();
        self.scene.rows_are_exact(&self.rows().expect("all nodes are there"));
        self.scene.lake_is_exact();
        ended.stderr
    }
}

/// Pitfall 11 of the stream engine: the brokers that are to commit crash.
#[test]
fn a_pipeline_goes_on_by_itself_when_its_coordinators_are_killed() {
    let Some(mut on) = OnThree::start("coordinators-move") else {
        return;
    };
    on.produce(2);
    let mut engine = on.scene.start(&["-v"]);
    on.wait_for_rows(&mut engine);
    for (what, of) in [
        (Coordinates::Group, GROUP),
        (Coordinates::Transactions, TRANSACTIONAL_ID),
    ] {
        let node = on.coordinator(what, of);
        on.cluster.node("kill", node);
        on.produce(2);
        on.wait_for_rows(&mut engine);
        on.coordinator_that(what, of, |other| other != node);
        on.cluster.node("start", node);
    }
    on.produce(2);
    on.wait_for_rows(&mut engine);
    let said = on.ends_exactly(engine);
    for what in ["of=group", "of=transactional id"] {
        let is_told = |line: &str| line.contains("The coordinator has moved.") && line.contains(what);
        assert!(said.lines().any(is_told), "{what}: {said}");
    }
}

#[test]
fn too_few_replicas_are_told_and_waited_for_also_without_a_majority_of_the_brokers() {
    let Some(mut on) = OnThree::start("too-few-replicas") else {
        return;
    };
    // One node that is missing is one too many for this topic; the others are content with two.
    let topic = [
        "topics",
        "create",
        "results",
        "--partitions",
        "1",
        "--replication-factor",
        "3",
    ];
    let strict = ["--config", "min.insync.replicas=3", "-b", &on.scene.servers];
    engine(&[&topic[..], &strict].concat()).success();
    on.produce(2);
    let mut engine = on.scene.start(&[]);
    on.wait_for_rows(&mut engine);
    let coordinator = on.coordinator(Coordinates::Transactions, TRANSACTIONAL_ID);
    let others: Vec<usize> = NODES.into_iter().filter(|node| *node != coordinator).collect();

    on.cluster.node("kill", others[0]);
    on.produce(2);
    let said = engine.said("Back to the last checkpoint");
    assert!(
        said.contains("results-0") && said.contains("NOT_ENOUGH_REPLICAS"),
        "{said}"
    );
    on.cluster.node("start", others[0]);
    on.wait_for_rows(&mut engine);

    // The input is there; one node alone can neither replicate nor elect anybody.
    on.produce(2);
    for node in [coordinator, others[1]] {
        on.cluster.node("kill", node);
    }
    let said = engine.said("Back to the last checkpoint");
    assert!(said.contains("annot connect"), "{said}");
    for node in [coordinator, others[1]] {
        on.cluster.node("start", node);
    }
    on.wait_for_rows(&mut engine);
    on.ends_exactly(engine);
}

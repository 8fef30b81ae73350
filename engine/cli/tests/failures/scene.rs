//! A pipeline whose surroundings fail: what it reads, what it must make of it, and how its processes end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine_broker::{Broker, BrokerConfig, FaultAction, ObservedRequest};
use engine_wire::messages::ApiKey;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::pipeline_text::PipelineText;
use crate::process::{Ended, Started, command, signal, start, wait_at_most};
use crate::raw_client::{Isolation, RawClient};
use crate::rows::{Counts, lake, results};

/// The start of a window of 10 s.
const BASE_MS: i64 = 1_700_000_000_000;
const WINDOW_MS: i64 = 10_000;
const PARTITIONS: i32 = 3;
const CAMPAIGNS: i64 = 3;

/// Whatever happens, a process has ended by itself or goes on after this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Every timeout is short, so that a failure can outlast it.
const SHORT_TIMEOUTS: &str = "
request.timeout.ms = 1000
default.api.timeout.ms = 3000
delivery.timeout.ms = 3000
max.block.ms = 3000
retry.backoff.ms = 20
retry.backoff.max.ms = 200
reconnect.backoff.ms = 20
reconnect.backoff.max.ms = 200
replication_factor = 1
";

const OF_THE_GROUP: &str = "
session.timeout.ms = 6000
heartbeat.interval.ms = 200
rebalance.timeout.ms = 3000
fetch.max.wait.ms = 50
";

pub(crate) struct Scene {
    pub(crate) network: Runtime,
    /// `None` where the brokers are others'.
    pub(crate) broker: Option<Broker>,
    pub(crate) servers: String,
    pub(crate) folder: TempDir,
    text: PipelineText,
    guarantee: Guarantee,
    expected: Counts,
}

/// What the pipeline promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guarantee {
    ExactlyOnce,
    AtLeastOnce,
}

impl Scene {
    /// The pipeline on an embedded broker, with an empty topic to read.
    pub(crate) fn new() -> Scene {
        Scene::with_broker(BrokerConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            ..BrokerConfig::default()
        })
    }

    pub(crate) fn with_broker(config: BrokerConfig) -> Scene {
        let network = Runtime::new().expect("a runtime");
        let broker = network.block_on(Broker::start(config)).expect("the broker starts");
        let servers = broker.address().to_string();
        RawClient::connect(broker.address()).create("events", PARTITIONS, &[]);
        Scene::on(network, Some(broker), servers)
    }

    pub(crate) fn on(network: Runtime, broker: Option<Broker>, servers: String) -> Scene {
        let folder = tempfile::tempdir().expect("a folder");
        let text = PipelineText::new("views", &servers)
            .with("kafka", SHORT_TIMEOUTS)
            .every("20ms", "100ms")
            .counting_views()
            .without_delay()
            .with("sources.events.kafka", OF_THE_GROUP)
            .into_topic("results", Some("per_campaign"))
            .with("sinks.results", "key = \"campaign\"")
            .into_lake("lake", "per_campaign", &folder.path().join("lake"));
        let scene = Scene {
            network,
            broker,
            servers,
            folder,
            text,
            guarantee: Guarantee::ExactlyOnce,
            expected: Counts::new(),
        };
        scene.promising(Guarantee::ExactlyOnce)
    }

    /// The same with another promise.
    pub(crate) fn promising(mut self, guarantee: Guarantee) -> Scene {
        self.guarantee = guarantee;
        let named = match guarantee {
            Guarantee::ExactlyOnce => "exactly_once",
            Guarantee::AtLeastOnce => "at_least_once",
        };
        self.with("checkpoint", &format!("guarantee = \"{named}\""))
    }

    /// The same with these lines in a table of the pipeline's file.
    pub(crate) fn with(mut self, table: &str, lines: &str) -> Scene {
        self.text = self.text.clone().with(table, lines);
        self.write_pipeline(&self.servers);
        self
    }

    /// Writes the pipeline's file, for brokers at this address.
    pub(crate) fn write_pipeline(&self, servers: &str) {
        let text = self.text.clone();
        text.with("kafka", &format!("bootstrap.servers = \"{servers}\""))
            .write(self.folder.path(), "pipeline.toml");
    }

    pub(crate) fn pipeline(&self) -> PathBuf {
        self.folder.path().join("pipeline.toml")
    }

    pub(crate) fn lake(&self) -> PathBuf {
        self.folder.path().join("lake")
    }

    /// What a reader of the lake sees.
    #[track_caller]
    pub(crate) fn lake_rows(&self) -> Counts {
        lake(&self.lake()).unwrap()
    }

    pub(crate) fn broker(&self) -> &Broker {
        self.broker.as_ref().expect("an embedded broker")
    }

    fn address(&self) -> SocketAddr {
        self.broker().address()
    }

    pub(crate) fn client(&self) -> RawClient {
        RawClient::connect(self.address())
    }

    /// Whether the broker is up.
    pub(crate) fn is_reachable(&self) -> bool {
        RawClient::try_connect(self.address()).is_some()
    }

    /// Five views of each partition in each of these windows.
    pub(crate) fn produce(&mut self, windows: Range<i64>) {
        let mut client = self.client();
        for window in windows {
            for partition in 0..PARTITIONS {
                let values = self.views(window, partition);
                client.produce("events", partition, &values);
            }
        }
    }

    /// The same as text, and remembered.
    pub(crate) fn views(&mut self, window: i64, partition: i32) -> Vec<String> {
        (0..5)
            .map(|event| {
                let start = BASE_MS + window * WINDOW_MS;
                let campaign = (event + window + i64::from(partition)) % CAMPAIGNS;
                *self.expected.entry((start, campaign)).or_default() += 1;
                format!(r#"{{"campaign":{campaign},"time":{}}}"#, start + event * 1_900)
            })
            .collect()
    }

    fn run(&self, more: &[&str]) -> Vec<String> {
        let pipeline = self.pipeline().display().to_string();
        let mut arguments = vec!["run".to_owned(), pipeline];
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        arguments
    }

    /// `engine run` with these arguments more, not started yet.
    pub(crate) fn command(&self, more: &[&str]) -> Command {
        let arguments = self.run(more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        command(&arguments)
    }

    /// Starts it, and waits until it has restored what there was.
    pub(crate) fn start(&self, more: &[&str]) -> Started {
        let mut engine = start(&mut self.command(more));
        engine.said("restored");
        engine
    }

    /// Waits for a process that must end by itself.
    #[track_caller]
    pub(crate) fn ended(&self, engine: Started) -> Ended {
        wait_at_most(PATIENCE, engine, &["run"])
    }

    /// Runs to the end of the topic, and drains if asked to.
    #[track_caller]
    pub(crate) fn run_to_the_end(&self, drain: bool) -> Ended {
        let more: &[&str] = if drain {
            &["--until-end", "--drain"]
        } else {
            &["--until-end"]
        };
        self.ended(start(&mut self.command(more)))
    }

    /// Asks a process to stop; it must succeed.
    #[track_caller]
    pub(crate) fn stop(&self, engine: Started) -> String {
        signal(&engine, "TERM");
        self.ended(engine).success()
    }

    /// Starts again and drains: every window has its exact row at the end, in the topic and in the lake.
    #[track_caller]
    pub(crate) fn drains_exactly(&self) {
        self.run_to_the_end(true).success();
        self.is_exact();
    }

    /// All windows from this one on, with each campaign in them.
    pub(crate) fn later_windows(&self, window: i64) -> Vec<(i64, i64)> {
        let from = BASE_MS + window * WINDOW_MS;
        self.expected
            .keys()
            .copied()
            .filter(|(start, _)| *start >= from)
            .collect()
    }

    #[track_caller]
    pub(crate) fn is_exact(&self) {
        self.rows_are_exact(&self.rows());
        self.lake_is_exact();
    }

    /// These rows end with the exact one of each window; under exactly once there are no others.
    #[track_caller]
    pub(crate) fn rows_are_exact(&self, rows: &BTreeMap<(i64, i64), Vec<i64>>) {
        if self.guarantee == Guarantee::ExactlyOnce {
            let twice: Vec<_> = rows.iter().filter(|(_, rows)| rows.len() > 1).collect();
            assert!(twice.is_empty(), "{twice:?}");
        }
        let last = rows.iter().filter_map(|(window, rows)| Some((*window, *rows.last()?)));
        assert_eq!(last.collect::<Counts>(), self.expected, "the last row of each window");
    }

    /// What every window must say.
    pub(crate) fn expected(&self) -> &Counts {
        &self.expected
    }

    #[track_caller]
    pub(crate) fn lake_is_exact(&self) {
        assert_eq!(self.lake_rows(), self.expected, "the lake");
    }

    /// The rows of the results topic as far as they are committed.
    pub(crate) fn rows(&self) -> BTreeMap<(i64, i64), Vec<i64>> {
        self.rows_of(Isolation::Committed)
    }

    /// The rows of the results topic, those of open and aborted transactions only where asked for.
    pub(crate) fn rows_of(&self, isolation: Isolation) -> BTreeMap<(i64, i64), Vec<i64>> {
        let mut client = self.client();
        let partitions = client.partitions("results");
        results(&mut client, partitions, isolation)
    }

    /// Waits until this many windows of a campaign have results.
    #[track_caller]
    pub(crate) fn wait_for_rows(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.rows().len() < count {
            assert!(Instant::now() < deadline, "{} of {count} rows", self.rows().len());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            self.network.block_on(broker.shutdown());
        }
    }
}

/// Waits for something, as long as anything may take.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} never happens");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Lets the first request that `is_it` meet `action`; tells when it has come.
pub(crate) fn meet(
    scene: &Scene,
    is_it: impl Fn(&ObservedRequest<'_>) -> bool + Send + Sync + 'static,
    action: FaultAction,
) -> Arc<AtomicBool> {
    let has_come = Arc::new(AtomicBool::new(false));
    let come = Arc::clone(&has_come);
    let is_first = scene.broker().observe(move |request| {
        (request.client_id != "verdict" && is_it(request) && !come.swap(true, Ordering::SeqCst)).then_some(action)
    });
    assert!(is_first);
    has_come
}

/// Whether it commits the offsets of a checkpoint.
pub(crate) fn is_commit(request: &ObservedRequest<'_>) -> bool {
    request.api_key == ApiKey::OffsetCommit as i16 || request.api_key == ApiKey::TxnOffsetCommit as i16
}

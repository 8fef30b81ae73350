//! A broker in this process, a pipeline in another, and what happens between them.
//!
//! The engine runs as a process of its own, because it shall be killed as processes are: between any two of its
//! instructions, with nothing tidied up. All that decides where that happens is the order of its requests, which this side
//! sees; the clock decides nothing but how long the simulation takes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine_broker::{Broker, BrokerConfig, FaultAction, ObservedRequest};
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::pipeline_text::PipelineText;
use crate::process::{Started, command, start};
use crate::raw_client::RawClient;
use crate::step::{Step, Topics};
use crate::trouble::{DOWN, LATE, Planned, Trouble};

pub(crate) const PARTITIONS: i32 = 3;
pub(crate) const RESULT_PARTITIONS: i32 = 2;
pub(crate) const NAME: &str = "views";

/// No life of the engine may last longer, whatever it meets: that would be a hang.
const LIFE_MAX: Duration = Duration::from_secs(40);

/// A pipeline may be started again this often before the simulation gives it up.
const LIVES_MAX: usize = 5;

/// How long after an unanswered request the engine is killed.
const BEFORE_THE_KILL: Duration = Duration::from_millis(20);

/// What the pipeline promises, and with which protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Promise {
    pub(crate) exactly_once: bool,
    pub(crate) transaction_version: i16,
}

/// No timeout is long.
const SHORT_TIMEOUTS: &str = "
request.timeout.ms = 1200
default.api.timeout.ms = 8000
delivery.timeout.ms = 6000
retry.backoff.ms = 20
retry.backoff.max.ms = 200
reconnect.backoff.ms = 20
reconnect.backoff.max.ms = 100
linger.ms = 0
";

/// Every fetch brings one batch.
const OF_THE_SOURCE: &str = "
session.timeout.ms = 1500
heartbeat.interval.ms = 150
rebalance.timeout.ms = 2000
fetch.max.wait.ms = 50
max.partition.fetch.bytes = 100
fetch.max.bytes = 100
";

/// How one life of the engine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Life {
    /// With exit code 0.
    Finished,
    /// With exit code 1 and these last words.
    Failed(String),
    /// Killed, as was planned.
    Killed,
}

/// What the observer has seen and done.
#[derive(Default)]
pub(crate) struct Seen {
    /// Every step, with the number of commits before it.
    pub(crate) steps: Vec<(usize, Step)>,
    pub(crate) commits: usize,
    pub(crate) aborts: usize,
    /// Produce requests in transactions, and without.
    pub(crate) transactional_produces: usize,
    pub(crate) plain_produces: usize,
    /// What has been met of what was planned.
    pub(crate) met: Vec<Planned>,
    planned: Vec<Planned>,
    /// The engine, while it lives.
    engine: Option<Started>,
    /// Killed by the observer; or to be killed at this time.
    is_killed: bool,
    kill_at: Option<Instant>,
    lake: PathBuf,
    lake_is_gone: bool,
}

pub(crate) struct World {
    network: Handle,
    broker: Option<Broker>,
    pub(crate) address: SocketAddr,
    pub(crate) folder: TempDir,
    pub(crate) promise: Promise,
    seen: Arc<Mutex<Seen>>,
}

impl World {
    /// A broker with the input in it, and a pipeline that has not run yet.
    pub(crate) fn new(network: &Handle, promise: Promise, planned: &[Planned]) -> World {
        let config = BrokerConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            transaction_version: promise.transaction_version,
            ..BrokerConfig::default()
        };
        let broker = network.block_on(Broker::start(config)).expect("the broker starts");
        let address = broker.address();
        let mut client = RawClient::connect(address);
        let state = format!("engine-state-{NAME}");
        let mut topics = Topics::default();
        for (about, name, partitions, configs) in [
            ("events", "events", PARTITIONS, &[][..]),
            ("results", "results", RESULT_PARTITIONS, &[]),
            ("dead", "dead", 1, &[]),
            ("state", &state, 1, &[("cleanup.policy", "compact")]),
        ] {
            client.create(name, partitions, configs);
            topics.add(about, name, client.topic_id(name));
        }
        for (partition, values) in crate::input::batches() {
            client.produce("events", partition, &values);
        }

        let folder = tempfile::tempdir().expect("a folder");
        let lake = folder.path().join("lake");
        let guarantee = match promise.exactly_once {
            true => "exactly_once",
            false => "at_least_once",
        };
        PipelineText::new(NAME, &address.to_string())
            .with("kafka", SHORT_TIMEOUTS)
            .every("10ms", "1ms")
            .with("checkpoint", &format!("guarantee = \"{guarantee}\""))
            .counting_views()
            .without_delay()
            .with("sources.events", "on_error = \"dead_letter\"")
            .with("sources.events.kafka", OF_THE_SOURCE)
            .with("dead_letter", "topic = \"dead\"")
            .into_topic("results", Some("per_campaign"))
            .with("sinks.results", "key = \"campaign\"")
            .into_lake("lake", "per_campaign", &lake)
            .write(folder.path(), "pipeline.toml");
        let seen = Arc::new(Mutex::new(Seen {
            planned: planned.to_vec(),
            lake,
            ..Seen::default()
        }));
        let watched = Arc::clone(&seen);
        let is_first = broker.observe(move |request| {
            if request.client_id == "verdict" {
                return None;
            }
            lock(&watched).look(request, &topics, promise)
        });
        assert!(is_first);
        World {
            network: network.clone(),
            broker: Some(broker),
            address,
            folder,
            promise,
            seen,
        }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    pub(crate) fn lake(&self) -> PathBuf {
        self.folder.path().join("lake")
    }

    pub(crate) fn client(&self) -> RawClient {
        RawClient::connect(self.address)
    }

    /// Runs the pipeline to the end of its input and drains it, starting it again whenever it ends in another way. After each
    /// life `judge` may find fault with what it left.
    pub(crate) fn run_to_the_end(&self, judge: impl Fn(&World) -> Result<(), String>) -> Result<Vec<Life>, String> {
        let mut lives = Vec::new();
        while lives.last() != Some(&Life::Finished) {
            if lives.len() == LIVES_MAX {
                return Err(format!("it did not finish in {LIVES_MAX} lives: {lives:#?}"));
            }
            lives.push(self.live().map_err(|hang| format!("{hang}; before: {lives:?}"))?);
            judge(self).map_err(|wrong| format!("{wrong}; after: {lives:#?}"))?;
        }
        Ok(lives)
    }

    /// One life of the engine, from start to end.
    pub(crate) fn live(&self) -> Result<Life, String> {
        let path = self.folder.path().join("pipeline.toml");
        let log = self.folder.path().join("log");
        let file = std::fs::File::create(&log).expect("a file");
        let arguments = [
            "run",
            path.to_str().expect("UTF-8"),
            "--until-end",
            "--drain",
            "--quiet",
            "--workers",
            "1",
        ];
        let mut engine = command(&arguments);
        engine.stdout(std::process::Stdio::null()).stderr(file);
        {
            let mut seen = self.seen();
            seen.engine = Some(start(&mut engine));
            seen.is_killed = false;
        }
        let deadline = Instant::now() + LIFE_MAX;
        let status = loop {
            std::thread::sleep(Duration::from_millis(5));
            let mut seen = self.seen();
            if seen.kill_at.is_some_and(|at| Instant::now() >= at) {
                seen.kill();
            }
            let engine = seen.engine.as_mut().expect("it was started");
            if let Some(status) = engine.try_wait().expect("our own child") {
                break status;
            }
            if Instant::now() > deadline {
                seen.engine = None;
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("it hangs; it met {:?} and said: {said}", seen.met));
            }
        };
        let said = std::fs::read_to_string(&log).expect("a file");
        let mut seen = self.seen();
        seen.engine = None;
        seen.kill_at = None;
        if seen.lake_is_gone {
            seen.restore_lake();
        }
        if seen.is_killed {
            return Ok(Life::Killed);
        }
        match status.code() {
            Some(0) => Ok(Life::Finished),
            Some(1) if !said.trim().is_empty() => Ok(Life::Failed(said.trim().to_owned())),
            code => Err(format!("it ended with {code:?}, {status} and said: {said}")),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.seen().engine = None;
        if let Some(broker) = self.broker.take() {
            self.network.block_on(broker.shutdown());
        }
    }
}

impl Seen {
    fn look(&mut self, request: &ObservedRequest<'_>, topics: &Topics, promise: Promise) -> Option<FaultAction> {
        let meaning = topics.meaning(request, promise.exactly_once);
        let commits = self.commits;
        self.steps.extend(meaning.steps.iter().map(|step| (commits, *step)));
        match meaning.transactional {
            Some(true) => self.transactional_produces += 1,
            Some(false) => self.plain_produces += 1,
            None => {}
        }
        self.aborts += usize::from(meaning.is_abort);
        let index = self.planned.iter_mut().position(|planned| {
            let is_here = meaning.steps.contains(&planned.place.step) && commits >= planned.place.after_commits;
            if is_here && planned.place.skip > 0 {
                planned.place.skip -= 1;
                return false;
            }
            is_here
        });
        // What is asked for counts, done or not: "after two commits" may be after one that failed and one that did not.
        self.commits += usize::from(meaning.is_commit);
        let planned = self.planned.remove(index?);
        self.met.push(planned);
        Some(match planned.trouble {
            Trouble::Error(code) => FaultAction::Error(code),
            Trouble::Disconnect => FaultAction::Disconnect,
            Trouble::ApplyThenDisconnect => FaultAction::ApplyThenDisconnect,
            Trouble::Silence => FaultAction::Silence,
            Trouble::Delay => FaultAction::Delay(LATE),
            Trouble::Restart => FaultAction::Restart(DOWN),
            Trouble::KillBefore => {
                self.kill();
                FaultAction::Disconnect
            }
            Trouble::KillAfter => {
                self.kill_at = Some(Instant::now() + BEFORE_THE_KILL);
                FaultAction::Silence
            }
            Trouble::LakeGone => {
                self.hide_lake();
                return None;
            }
        })
    }

    fn kill(&mut self) {
        self.kill_at = None;
        if let Some(engine) = &mut self.engine {
            // It may have ended by itself just now.
            let _ = engine.kill();
            self.is_killed = true;
        }
    }

    /// A file stands where the folder was: nothing below it can be read or written, by no user of whatever rights.
    fn hide_lake(&mut self) {
        std::fs::rename(&self.lake, self.lake.with_extension("away")).expect("the lake is there");
        std::fs::write(&self.lake, b"").expect("a file");
        self.lake_is_gone = true;
    }

    fn restore_lake(&mut self) {
        std::fs::remove_file(&self.lake).expect("our own file");
        std::fs::rename(self.lake.with_extension("away"), &self.lake).expect("our own folder");
        self.lake_is_gone = false;
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

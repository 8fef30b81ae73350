//! SIGKILL in the middle of the main job, again and again, while events keep coming: each window is in the lake and in the
//! results once and exact (at least once: its last row is), and no restart begins before the last one.
//!
//! `ENGINE_E2E_SEED` repeats a failure's moments.

#[path = "ad_campaigns/counts.rs"]
mod counts;
#[path = "ad_campaigns/job.rs"]
mod job;
#[path = "process/engine.rs"]
mod process;
#[path = "real_broker/cluster.rs"]
mod real_broker;

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use counts::{assert_same, lake, recount, results, visible_files};
use job::{Job, Running};
use process::{EmbeddedBroker, Started, engine, is_optimised, wait};
use real_broker::Cluster;
use serde_json::Value;

/// Small windows: some close, and lake files are staged, in every second.
const WINDOW_MS: i64 = 1_000;
const EXACTLY_ONCE: &str = "exactly_once";
const SESSION_TIMEOUT_MS: u64 = 1_500;
/// No moment is waited for longer; the load may be over before it comes.
const MOMENT_TIMEOUT: Duration = Duration::from_secs(20);

/// When to kill.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// This long after the banner.
    After(Duration),
    /// As soon as a lake file is staged, before the checkpoint that is to publish it is whole.
    Staged,
    /// As soon as a lake file is published: before its checkpoint's offsets are committed, or just then.
    Published,
    /// As soon as offsets have been committed, right after a checkpoint.
    Committed,
}

impl Moment {
    fn kind(self) -> &'static str {
        match self {
            Moment::After(_) => "any time",
            Moment::Staged => "after staging",
            Moment::Published => "after publishing",
            Moment::Committed => "after committing",
        }
    }
}

/// Pitfall 11 of the stream engine: killed before, in and behind its checkpoints.
#[test]
fn kills_lose_nothing_and_double_nothing_on_kafka_4_4_0() {
    on_cluster("4.4.0", 1);
}

#[test]
fn kills_lose_nothing_and_double_nothing_on_three_brokers_of_kafka_3_9_2() {
    on_cluster("3.9.2", 3);
}

/// Pitfall 11 of the stream engine: killed before, in and behind its checkpoints.
/// Pitfall 13 of the stream engine: what a killed run had restored is restored again.
#[test]
fn kills_of_the_engine_and_of_the_embedded_broker_lose_nothing_and_double_nothing() {
    on_embedded_broker(EXACTLY_ONCE);
}

#[test]
fn kills_lose_nothing_at_least_once() {
    on_embedded_broker("at_least_once");
}

fn on_embedded_broker(guarantee: &str) {
    let data = tempfile::tempdir().unwrap();
    let arguments = ["--data", data.path().to_str().unwrap()];
    let mut broker = Some(EmbeddedBroker::start(&arguments));
    let address = broker.as_ref().unwrap().address.clone();
    let mut restart = |kill: usize| {
        // Before some restarts of the engine, and once while it runs.
        if kill % 2 == 1 {
            broker.take().unwrap().kill();
            broker = Some(EmbeddedBroker::start_at(&address, &arguments));
        }
    };
    survives(&address, 1, guarantee, (24_000, 2_000), 6, &mut restart);
}

fn on_cluster(version: &str, nodes: usize) {
    let test = format!("kills-{version}-{nodes}").replace('.', "-");
    // Kafka would not let a member ask for a short session, and each restart waits for the dead one's.
    let settings = ["--set", "group.min.session.timeout.ms=1000"];
    let start = if nodes == 1 {
        Cluster::start_with
    } else {
        Cluster::start_for_long
    };
    let Some(cluster) = start(&test, version, nodes, &settings) else {
        return;
    };
    let (load, kills) = match is_optimised() {
        true => ((300_000, 8_000), 11),
        false => ((30_000, 1_500), 6),
    };
    survives(
        &cluster.bootstrap_servers,
        nodes,
        EXACTLY_ONCE,
        load,
        kills,
        &mut |_| (),
    );
}

/// `load` is the number of events, or twice as many and so on if that is over before the kills, and how many come per second. `disturb` is called after each kill, before the restart.
fn survives(
    servers: &str,
    replicas: usize,
    guarantee: &str,
    load: (u64, u64),
    kills: usize,
    disturb: &mut dyn FnMut(usize),
) {
    let seed = std::env::var("ENGINE_E2E_SEED").map_or(20_261_121, |seed| seed.parse().expect("a number"));
    println!("ENGINE_E2E_SEED={seed}");
    let folder = tempfile::tempdir().unwrap();
    let job = Job::new("kills", servers, folder.path())
        .set(&format!("kafka.replication_factor={replicas}"))
        .set(&format!("sources.events.kafka.session.timeout.ms={SESSION_TIMEOUT_MS}"))
        .set("sources.events.kafka.heartbeat.interval.ms=300")
        .set("transforms.per_campaign.size=1s")
        .set(&format!("checkpoint.guarantee={guarantee}"))
        .set("trigger.interval=50ms")
        .set("checkpoint.interval=200ms");
    let (count, rate) = (load.0.to_string(), load.1.to_string());
    let generate = || {
        let bounds = ["--count", &count, "--rate", &rate];
        let others = ["--arrivals", "poisson", "--partitions", "4", "--key", "user"];
        job.start_generating(&[&bounds[..], &others].concat())
    };
    let (mut generator, mut events) = (generate(), 0);

    let mut seen = Seen::default();
    let mut reached = BTreeMap::new();
    for (kill, moment) in moments(seed, kills).into_iter().enumerate() {
        // On a slow machine the kills take longer than the load; without one no moment comes.
        if generator.try_wait().expect("our own child").is_some() {
            events += sent_by(std::mem::replace(&mut generator, generate()));
        }
        let mut run = job.start(&[]);
        seen.restored(&run.started());
        let at = Instant::now();
        let came = wait_for(&job, moment, &mut run);
        run.kill();
        let kind = if came {
            moment.kind()
        } else {
            "a moment that did not come"
        };
        *reached.entry(kind).or_insert(0) += 1;
        println!(
            "kill {kill}: {kind} ({moment:?}), {:.2?} after the banner; {seen:?}",
            at.elapsed()
        );
        disturb(kill);
        seen.committed(&committed(&job));
    }
    println!("{reached:?}");
    for moment in moments(seed, kills) {
        assert!(
            reached.contains_key(moment.kind()),
            "no kill was {}: {reached:?}",
            moment.kind()
        );
    }
    events += sent_by(generator);

    // To the end first, which leaves the newest windows open, then without any new event out of the state alone.
    let summary = job.run(&["--until-end"]).summary();
    assert_eq!(summary["outcome"], "end_reached", "{summary}");
    assert_eq!(summary["status"]["late_rows"], 0, "{summary}");
    let closed = lake(&job.lake).len();
    let summary = job.drain();
    assert_eq!(summary["outcome"], "drained", "{summary}");
    assert_eq!(summary["status"]["records_in"], 0, "{summary}");
    assert!(lake(&job.lake).len() > closed, "windows were left for the drain");
    seen.committed(&committed(&job));

    let raw = recount(servers, &job.topic("events"), WINDOW_MS);
    assert_eq!(raw.events, events, "the topic holds what was generated");
    assert_same("lake", &lake(&job.lake), &raw.counts);
    let rows = results(servers, &job.topic("results"), WINDOW_MS);
    let emitted: usize = rows.values().map(Vec::len).sum();
    if guarantee == EXACTLY_ONCE {
        let twice: Vec<_> = rows.iter().filter(|(_, rows)| rows.len() != 1).collect();
        assert!(twice.is_empty(), "windows that are not there once: {twice:?}");
    }
    let last = rows
        .into_iter()
        .map(|(window, rows)| (window, *rows.last().unwrap()))
        .collect();
    assert_same("last rows in the results topic", &last, &raw.counts);
    println!(
        "{} windows exact after {kills} kills; {emitted} rows in the topic",
        raw.counts.len()
    );
    job.clean_up();
}

/// The events of a load, once it has ended.
#[track_caller]
fn sent_by(generator: Started) -> u64 {
    let report = wait(generator, &["generate"]).success();
    let report: Value = serde_json::from_str(&report).expect("a report in JSON");
    report["events"].as_u64().expect("a number")
}

/// What the runs before have restored and committed. Nothing in it may go back.
#[derive(Debug, Default)]
struct Seen {
    checkpoint: Option<u64>,
    watermark_ms: Option<i64>,
    partitions: BTreeMap<i64, Commit>,
}

/// A committed offset with what its metadata say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Commit {
    offset: i64,
    checkpoint: u64,
    watermark_ns: Option<i64>,
}

impl Seen {
    /// A banner: it announces the newest checkpoint there is.
    #[track_caller]
    fn restored(&mut self, started: &Value) {
        let restored = &started["restored"];
        let checkpoint = restored["checkpoint_id"].as_u64();
        let committed = self.partitions.values().map(|commit| commit.checkpoint).max();
        assert!(
            checkpoint >= self.checkpoint.max(committed),
            "restored {restored} after {self:?}"
        );
        let watermark_ms = restored["watermark_ms"].as_i64();
        assert!(
            watermark_ms >= self.watermark_ms,
            "the watermark went back: restored {restored} after {self:?}"
        );
        for offset in restored["offsets"].as_array().into_iter().flatten() {
            let (partition, offset) = (offset[1].as_i64().unwrap(), offset[2].as_i64().unwrap());
            if let Some(commit) = self.partitions.get(&partition) {
                assert!(
                    offset >= commit.offset,
                    "partition {partition}: restored {restored} after {self:?}"
                );
            }
        }
        (self.checkpoint, self.watermark_ms) = (checkpoint, watermark_ms);
    }

    #[track_caller]
    fn committed(&mut self, commits: &BTreeMap<i64, Commit>) {
        for (partition, before) in &self.partitions {
            let now = commits.get(partition).expect("commits stay");
            let forward = now.offset >= before.offset
                && now.checkpoint >= before.checkpoint
                && now.watermark_ns >= before.watermark_ns;
            assert!(forward, "partition {partition}: committed {now:?} after {before:?}");
        }
        self.partitions.clone_from(commits);
    }
}

/// What `engine groups describe` shows of the job's group.
fn committed(job: &Job) -> BTreeMap<i64, Commit> {
    let described = engine(&["groups", "describe", &job.name, "--json", "-b", &job.servers]).success();
    let group: Value = serde_json::from_str(&described).expect("a group in JSON");
    let mut commits = BTreeMap::new();
    for offset in group["offsets"].as_array().expect("offsets") {
        let Some(metadata) = offset["metadata"].as_str() else {
            continue; // Assigned and not committed yet.
        };
        let words: BTreeMap<_, _> = metadata.split(' ').filter_map(|word| word.split_once('=')).collect();
        let commit = Commit {
            offset: offset["committed"].as_i64().expect("an offset"),
            checkpoint: words["checkpoint"].parse().expect("a number"),
            watermark_ns: words["watermark_ns"].parse().ok(),
        };
        commits.insert(offset["partition"].as_i64().expect("a partition"), commit);
    }
    commits
}

/// Every kind of moment in turn, from the seed.
fn moments(seed: u64, count: usize) -> Vec<Moment> {
    let mut state = seed;
    let mut random = |below: u64| {
        // Knuth's MMIX generator; its high bits are good enough for moments.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    (0..count)
        .map(|kill| match kill % 5 {
            1 => Moment::Committed,
            2 => Moment::Staged,
            3 => Moment::Published,
            _ => Moment::After(Duration::from_millis(random(1_200))),
        })
        .collect()
}

/// Whether the moment came: a kill at another time must not be taken for one in it.
fn wait_for(job: &Job, moment: Moment, run: &mut Running) -> bool {
    let deadline = Instant::now() + MOMENT_TIMEOUT;
    let until = |mut reached: Box<dyn FnMut() -> bool + '_>| {
        while !reached() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        true
    };
    let came = match moment {
        Moment::After(delay) => {
            std::thread::sleep(delay);
            true
        }
        Moment::Staged => until(Box::new(|| staged_files(&job.lake) > 0)),
        Moment::Published => {
            let before = visible_files(&job.lake).len();
            until(Box::new(move || visible_files(&job.lake).len() > before))
        }
        Moment::Committed => {
            let before = committed(job);
            until(Box::new(move || committed(job) != before))
        }
    };
    run.assert_running();
    came
}

fn staged_files(lake: &Path) -> usize {
    let writers = std::fs::read_dir(lake.join("_staging")).into_iter().flatten().flatten();
    writers
        .filter_map(|writer| std::fs::read_dir(writer.path()).ok())
        .map(Iterator::count)
        .sum()
}

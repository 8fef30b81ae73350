//! The main job as users run it: the pipeline file of the repository, with its own names per test.
//!
//! Included by the tests with `#[path]`, because a folder under `tests/` is no crate of its own.
#![allow(dead_code)] // Not every test file needs every part.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::process::{Ended, Started, command, engine, signal, start, wait_at_most};

/// A million events, compressed with gzip on a busy machine, take more than a minute.
const TIMEOUT: Duration = Duration::from_secs(300);

const PIPELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../pipelines/ad-campaigns-kafka.toml");

/// One pipeline with topics and a lake of its own on a shared cluster.
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) servers: String,
    pub(crate) lake: PathBuf,
    settings: Vec<String>,
}

impl Job {
    pub(crate) fn new(name: &str, servers: &str, folder: &Path) -> Self {
        let lake = folder.join(name);
        let settings = vec![
            format!("name={name}"),
            // A run may be there before its load.
            "kafka.create_topics=true".to_owned(),
            "kafka.partitions=4".to_owned(),
            "kafka.replication_factor=1".to_owned(),
            "server.listen=127.0.0.1:0".to_owned(),
            format!("sources.events.topics=[\"{name}-events\"]"),
            format!("sinks.results.topic={name}-results"),
            format!("sinks.late.topic={name}-late"),
            format!("dead_letter.topic={name}-dead"),
            format!("sinks.lake.path={}", lake.display()),
        ];
        Job {
            name: name.to_owned(),
            servers: servers.to_owned(),
            lake,
            settings,
        }
    }

    /// `--set` this too.
    pub(crate) fn set(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }

    pub(crate) fn topic(&self, what: &str) -> String {
        format!("{}-{what}", self.name)
    }

    /// `engine generate ads ARGUMENTS…` into the job's source, to its end; the report.
    #[track_caller]
    pub(crate) fn generate(&self, arguments: &[&str]) -> Value {
        let report = wait_at_most(TIMEOUT, self.start_generating(arguments), &["generate"]).success();
        serde_json::from_str(&report).expect("a report in JSON")
    }

    /// The same, in the background.
    pub(crate) fn start_generating(&self, arguments: &[&str]) -> Started {
        let topic = self.topic("events");
        let fixed = [
            "generate",
            "ads",
            "--topic",
            &topic,
            "-b",
            &self.servers,
            "-q",
            "--json",
        ];
        start(&mut command(&[&fixed, arguments].concat()))
    }

    /// Events into the job's source at this rate, for as long as what happens beside it takes.
    pub(crate) fn start_load(&self, rate: u64) -> Load {
        Load(self.start_generating(&["--rate", &rate.to_string(), "--count", "100000000"]))
    }

    /// `engine run --until-end --drain`: the summary.
    #[track_caller]
    pub(crate) fn drain(&self) -> Value {
        self.run(&["--until-end", "--drain"]).summary()
    }

    /// `engine run ARGUMENTS…` to its end.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        let child = start(&mut self.command(arguments));
        Run(wait_at_most(TIMEOUT, child, &["run"]))
    }

    /// `engine run` in the background.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running(start(&mut self.command(arguments)))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut all = vec!["run", PIPELINE, "--json", "--log", "json"];
        all.extend(self.settings.iter().flat_map(|setting| ["--set", setting.as_str()]));
        all.extend(arguments);
        let mut command = command(&all);
        command.env("BOOTSTRAP_SERVERS", &self.servers);
        command
    }

    /// Deletes the job's topics: disks are finite.
    pub(crate) fn clean_up(&self) {
        engine(&[
            "topics",
            "delete",
            &self.topic("events"),
            &self.topic("results"),
            "--yes",
            "-b",
            &self.servers,
        ])
        .success();
        let _ = std::fs::remove_dir_all(&self.lake);
    }
}

/// A load that goes on; killed when dropped.
pub(crate) struct Load(Started);

impl Load {
    /// Ends it: how many events it has sent.
    #[track_caller]
    pub(crate) fn ends(self) -> u64 {
        signal(&self.0, "INT");
        let ended = wait_at_most(TIMEOUT, self.0, &["generate"]);
        assert_eq!(ended.code, Some(130), "{}", ended.stderr);
        let report: Value = serde_json::from_str(&ended.stdout).expect("a report in JSON");
        report["events"].as_u64().expect("a number")
    }
}

/// A run that has ended.
pub(crate) struct Run(pub(crate) Ended);

impl Run {
    #[track_caller]
    pub(crate) fn summary(self) -> Value {
        serde_json::from_str(&self.0.success()).expect("a summary in JSON")
    }
}

/// A run that goes on; killed when dropped.
pub(crate) struct Running(Started);

impl Running {
    /// Waits for the banner: what was restored, and where the server listens.
    #[track_caller]
    pub(crate) fn started(&mut self) -> Value {
        let banner = self.says(r#""event":"started""#);
        let event: Value = serde_json::from_str(&banner).expect("an event in JSON");
        event["run"].clone()
    }

    /// A run that has ended by itself is a failure.
    #[track_caller]
    pub(crate) fn assert_running(&mut self) {
        if let Some(status) = self.0.try_wait().expect("our own child") {
            panic!("the run ended by itself ({status}): {}", self.0.so_far());
        }
    }

    /// Waits for a line with this in it.
    #[track_caller]
    pub(crate) fn says(&mut self, part: &str) -> String {
        let said = self.0.said(part);
        said.lines().next_back().unwrap_or_default().to_owned()
    }

    /// Waits for its end: the exit code, and what it had yet to say.
    #[track_caller]
    pub(crate) fn ends(self) -> (Option<i32>, String) {
        let ended = wait_at_most(TIMEOUT, self.0, &["run"]);
        (ended.code, ended.stderr)
    }

    /// SIGTERM.
    #[track_caller]
    pub(crate) fn is_asked_to_stop(&mut self) {
        self.assert_running();
        signal(&self.0, "TERM");
    }

    /// SIGTERM, and a good end.
    #[track_caller]
    pub(crate) fn stops(mut self) {
        self.is_asked_to_stop();
        let (code, said) = self.ends();
        assert_eq!(code, Some(0), "{said}");
    }

    /// SIGKILL, and gone.
    #[track_caller]
    pub(crate) fn kill(mut self) {
        self.assert_running();
        drop(self);
    }
}

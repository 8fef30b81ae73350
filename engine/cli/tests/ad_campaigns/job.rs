//! The main job as users run it: the pipeline file of the repository, with its own names per test.
//!
//! Included by the tests with `#[path]`, because a folder under `tests/` is no crate of its own.
#![allow(dead_code)] // Not every test file needs every part.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc::{Receiver, channel},
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

    /// `engine run` in the background, with what it says on standard error.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let mut child = start(&mut self.command(arguments));
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (lines, said) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
        Running { child, said }
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

/// A run that has ended.
pub(crate) struct Run(pub(crate) Ended);

impl Run {
    #[track_caller]
    pub(crate) fn summary(self) -> Value {
        serde_json::from_str(&self.0.success()).expect("a summary in JSON")
    }
}

/// A run that goes on; killed when dropped.
pub(crate) struct Running {
    child: Started,
    said: Receiver<String>,
}

impl Running {
    /// Waits for the banner: what was restored, and where the server listens.
    #[track_caller]
    pub(crate) fn started(&mut self) -> Value {
        let mut before = Vec::new();
        loop {
            let Ok(line) = self.said.recv_timeout(Duration::from_secs(60)) else {
                panic!("the run did not start; it said: {before:#?}");
            };
            match serde_json::from_str::<Value>(&line) {
                Ok(event) if event["event"] == "started" => return event["run"].clone(),
                _ => before.push(line),
            }
        }
    }

    /// A run that has ended by itself is a failure.
    #[track_caller]
    pub(crate) fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().expect("our own child") {
            panic!(
                "the run ended by itself ({status}): {:#?}",
                self.said.try_iter().collect::<Vec<_>>()
            );
        }
    }

    /// Waits for a line with this in it.
    #[track_caller]
    pub(crate) fn says(&mut self, part: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.said.recv_timeout(Duration::from_secs(60)) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => before.push(line),
                Err(error) => panic!("no `{part}` ({error}) in {before:#?}"),
            }
        }
    }

    /// Waits for its end: the exit code, and what it had yet to say.
    #[track_caller]
    pub(crate) fn ends(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        while let Ok(line) = self.said.recv_timeout(TIMEOUT) {
            said += &(line + "\n");
        }
        // Its standard error is closed a moment before it is gone.
        let status = self.child.wait().expect("our own child");
        (status.code(), said)
    }

    /// SIGTERM.
    #[track_caller]
    pub(crate) fn is_asked_to_stop(&mut self) {
        self.assert_running();
        signal(&self.child, "TERM");
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
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }
}

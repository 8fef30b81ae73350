//! A cluster of real Apache Kafka for a test, through `scripts/kafka`; down when dropped.
//!
//! Without Java or Maven a test is skipped, and says so past the capture of the test harness.
//! `ENGINE_REQUIRE_BROKER=1` makes a missing cluster a failure; `ENGINE_SKIP_BROKER=1` skips without trying. Tests that
//! mostly wait (for timeouts, elections, a log cleaner) run with `ENGINE_LONG_TESTS=1`, which `scripts/check` sets.
//! Included by the tests with `#[path]`, because a folder under `tests/` is no crate of its own.
#![allow(dead_code)] // Not every test file needs every part.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What `scripts/kafka` answers where Java or Maven is missing.
const MISSING: i32 = 69;

/// One cluster at a time in a test program: three nodes fill a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A running cluster.
pub(crate) struct Cluster {
    name: String,
    /// `host:port,…`, what `bootstrap.servers` wants.
    pub(crate) bootstrap_servers: String,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Starts Apache Kafka `version` with one or three nodes on free ports; `None` means: skip this test.
    #[track_caller]
    pub(crate) fn start(test: &str, version: &str, nodes: usize) -> Option<Self> {
        Self::start_with(test, version, nodes, &[])
    }

    /// The same with further arguments of `scripts/kafka up`, for example `["--set", "num.partitions=1"]`.
    #[track_caller]
    pub(crate) fn start_with(test: &str, version: &str, nodes: usize, arguments: &[&str]) -> Option<Self> {
        let required = is_set("ENGINE_REQUIRE_BROKER");
        if is_set("ENGINE_SKIP_BROKER") && !required {
            return skip(test, "ENGINE_SKIP_BROKER is set");
        }
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("{test}-{}", std::process::id());
        let nodes = nodes.to_string();
        let up = [
            "up",
            "--name",
            &name,
            "--version",
            version,
            "--nodes",
            &nodes,
            "--port",
            "0",
        ];
        let output = script(&[&up, arguments].concat());
        if output.status.success() {
            let bootstrap_servers = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            return Some(Self {
                name,
                bootstrap_servers,
                _turn: turn,
            });
        }
        let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if output.status.code() == Some(MISSING) && !required {
            return skip(test, &reason);
        }
        panic!("{test}: no Apache Kafka {version} with {nodes} node(s): {reason}");
    }

    /// As [`Cluster::start_with`], for a test that takes long: skipped without `ENGINE_LONG_TESTS`.
    #[track_caller]
    pub(crate) fn start_for_long(test: &str, version: &str, nodes: usize, arguments: &[&str]) -> Option<Self> {
        if !are_long_tests_wanted() {
            return skip(test, "it takes long; scripts/check runs it, and ENGINE_LONG_TESTS=1");
        }
        Self::start_with(test, version, nodes, arguments)
    }

    /// `start`, `stop`, `kill`, `pause` or `resume` of node 1, 2 or 3.
    #[track_caller]
    pub(crate) fn node(&self, verb: &str, node: usize) {
        let output = script(&[verb, "--name", &self.name, &node.to_string()]);
        assert!(
            output.status.success(),
            "{verb} {node}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Runs a Kafka command-line tool and gives what it printed.
    #[track_caller]
    pub(crate) fn tool(&self, class: &str, arguments: &[&str]) -> String {
        let output = self.try_tool(class, arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{class}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// The same for a tool that may fail.
    pub(crate) fn try_tool(&self, class: &str, arguments: &[&str]) -> Output {
        let fixed = ["cli", class, "--bootstrap-server", &self.bootstrap_servers];
        script(&[&fixed, arguments].concat())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        script(&["down", "--name", &self.name]);
    }
}

/// Runs a Kafka command-line tool on any broker, with this on standard input; `None` means: skip this test.
#[track_caller]
pub(crate) fn kafka_tool(test: &str, class: &str, arguments: &[&str], input: &[u8]) -> Option<String> {
    let required = is_set("ENGINE_REQUIRE_BROKER");
    if is_set("ENGINE_SKIP_BROKER") && !required {
        skip(test, "ENGINE_SKIP_BROKER is set");
        return None;
    }
    let output = script_with_input(&[&["cli", class], arguments].concat(), input);
    let (text, reason) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    if output.status.success() {
        return Some(text);
    }
    if output.status.code() == Some(MISSING) && !required {
        skip(test, reason.trim());
        return None;
    }
    panic!("{test}: {class}: {text}{reason}");
}

fn script(arguments: &[&str]) -> Output {
    script_with_input(arguments, b"")
}

fn script_with_input(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(repository().join("scripts/kafka"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("scripts/kafka runs");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // A tool that ends early closes its input; that is its right.
    std::thread::spawn(move || stdin.write_all(&input));
    child.wait_with_output().expect("our own child")
}

/// The folder that holds `scripts/`, from whichever crate includes this file.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .find(|folder| folder.join("scripts/kafka").exists())
        .expect("this crate is inside the repository")
        .to_owned()
}

/// Whether tests that take long are to run.
pub(crate) fn are_long_tests_wanted() -> bool {
    is_set("ENGINE_LONG_TESTS")
}

fn is_set(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| !matches!(value.as_str(), "" | "0"))
}

/// The harness captures what `eprintln!` prints; a skipped test must be seen.
fn skip(test: &str, reason: &str) -> Option<Cluster> {
    let banner = "#".repeat(100);
    let text = format!("\n{banner}\n# SKIPPED, NOT TESTED on a real broker: {test}: {reason}\n{banner}\n");
    let _ = std::io::stderr().write_all(text.as_bytes());
    None
}

//! `scripts/kafka` as far as it can be tried without Java: what is wrong usage, what is said when something is missing, and
//! that nobody else's process is stopped.

#[path = "real_broker/without_java.rs"]
mod without_java;

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use without_java::{add_tool, path_without_java};

const USAGE: i32 = 64;
const MISSING: i32 = 69;

#[test]
fn wrong_usage_exits_with_64_and_names_what_is_wrong() {
    let home = tempfile::tempdir().unwrap();
    for (arguments, message) in [
        (&[][..], "usage: scripts/kafka VERB"),
        (&["frob"], "unknown verb 'frob'"),
        (&["up", "--nodes"], "--nodes needs a value"),
        (&["up", "--nodes", "2"], "--nodes is 1 or 3, not '2'"),
        (&["up", "--port", "70000"], "from 0 to 65500, not '70000'"),
        (&["up", "--version", "new"], "looks like 4.4.0, not 'new'"),
        (&["up", "--nodes", "3", "--version", "2.8.2"], "on one node only"),
        (&["up", "--set", "num.partitions"], "--set looks like"),
        (&["up", "more"], "unknown argument 'more'"),
        (&["down", "more"], "down: unexpected argument 'more'"),
        (&["fetch", "latest"], "looks like 4.4.0, not 'latest'"),
        (&["up", "--name", "../x"], "a name is made of"),
        (&["cli"], "cli needs a class"),
    ] {
        let (code, stderr) = run(&mut script(home.path(), arguments));
        assert_eq!(code, Some(USAGE), "{arguments:?}: {stderr}");
        assert!(stderr.contains(message), "{arguments:?}: {stderr}");
    }
}

#[test]
fn without_java_or_maven_it_says_what_to_install() {
    let home = tempfile::tempdir().unwrap();
    let path = path_without_java(home.path());
    let run_there = |arguments: &[&str]| run(script(home.path(), arguments).env("PATH", &path));
    let (code, stderr) = run_there(&["up"]);
    assert!(
        code == Some(MISSING) && stderr.contains("Java is missing"),
        "{code:?}: {stderr}"
    );

    // A Java that is never asked to run anything.
    add_tool(&path, "java", "true");
    let (code, stderr) = run_there(&["up"]);
    assert!(
        code == Some(MISSING) && stderr.contains("Maven is missing"),
        "{code:?}: {stderr}"
    );
}

#[test]
fn a_pid_that_now_belongs_to_another_process_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let node = home.path().join("stale/node1");
    // Even one whose command line names the node's folder.
    let mut stranger = sleeping_in(&node);
    let settings = "VERSION=4.4.0 NODES=1 PORT=1 SPEED=quick\n";
    for pid in [
        format!("{}", stranger.id()),
        format!("{} 12345", stranger.id()),
        String::new(),
    ] {
        fs::create_dir_all(&node).unwrap();
        fs::write(home.path().join("stale/settings"), settings).unwrap();
        fs::write(node.join("pid"), format!("{pid}\n")).unwrap();
        let (code, stderr) = run(&mut script(home.path(), &["kill", "1", "--name", "stale"]));
        assert!(
            code == Some(1) && stderr.contains("node 1 is not running"),
            "{code:?}: {stderr}"
        );
        let (code, stderr) = run(&mut script(home.path(), &["down", "--name", "stale"]));
        assert_eq!(code, Some(0), "{stderr}");
        assert!(!node.exists(), "down deletes the data");
        assert_eq!(
            stranger.try_wait().unwrap(),
            None,
            "the process of pid file {pid:?} was stopped"
        );
    }
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

fn script(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(repository().join("scripts/kafka"));
    command
        .args(arguments)
        .env("ENGINE_KAFKA_HOME", home)
        .stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("scripts/kafka runs");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// A process of our own that looks like a node: this folder is in its command line.
fn sleeping_in(folder: &Path) -> Child {
    let name = format!("{}/server.properties", folder.display());
    let mut command = Command::new("bash");
    command.args(["-c", "exec -a \"$0\" sleep 60", &name]);
    command.spawn().expect("bash runs")
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

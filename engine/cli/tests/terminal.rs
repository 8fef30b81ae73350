//! What a person sees on a terminal, tried on a pseudo-terminal that `script` (util-linux) makes.

#[path = "process/engine.rs"]
mod process;

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use process::EmbeddedBroker;

const PIPELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../pipelines/ad-campaigns.toml");

#[test]
fn a_run_draws_one_live_line_and_standard_output_holds_the_summary_alone() {
    let folder = tempfile::tempdir().unwrap();
    let command = format!(
        "run {PIPELINE} --until-end --drain --set server.listen=127.0.0.1:0 --set sinks.lake.path=lake --set \
         generators.ads.count=2000 >out.txt"
    );
    let (seen, code) = on_terminal(folder.path(), &command, b"", &[]);
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.contains("pipeline ad-campaigns, exactly_once"), "{seen}");
    let drawn: Vec<&str> = seen.split('\r').filter(|line| line.contains("running · in ")).collect();
    assert!(
        // The first follows the banner.
        drawn.len() >= 2 && drawn[1..].iter().all(|line| !line.contains('\n')),
        "{seen:?}"
    );
    assert!(!seen.contains("records in"), "the summary went to the terminal: {seen}");
    let summary = std::fs::read_to_string(folder.path().join("out.txt")).unwrap();
    assert!(summary.starts_with("ad-campaigns: read to the end"), "{summary}");
    assert!(!summary.contains("running") && !summary.contains('\x1b'), "{summary:?}");
}

#[test]
fn what_destroys_something_asks_first() {
    let folder = tempfile::tempdir().unwrap();
    let broker = EmbeddedBroker::start(&[]);
    broker.engine_with_input(&["produce", "t", "--quiet"], b"v\n").success();
    let consume = ["consume", "t", "--group", "g", "--until-end"];
    broker.engine(&consume).success();
    let ask = |command: &str, answer: &[u8]| {
        let command = format!("{command} --bootstrap-servers {}", broker.address);
        on_terminal(folder.path(), &command, answer, &[])
    };
    for (command, question) in [
        ("topics clear t", "delete all records of t? [y/N] "),
        ("groups delete g", "delete g? [y/N] "),
        ("topics delete t", "delete t? [y/N] "),
    ] {
        for answer in [&b"n\n"[..], b"\n", b"what\n", b"\x04"] {
            let (seen, code) = ask(command, answer);
            assert!(seen.contains(question), "{seen}");
            assert!(
                code == Some(1) && seen.contains("nothing was changed"),
                "{answer:?}: {code:?} {seen}"
            );
        }
    }
    assert_eq!(broker.engine(&["consume", "t", "--until-end"]).success(), "v\n");
    assert_eq!(
        broker.engine(&["groups", "list", "--json"]).success().lines().count(),
        1
    );

    assert_eq!(ask("topics clear t", b"y\n").1, Some(0));
    assert_eq!(broker.engine(&["consume", "t", "--until-end"]).success(), "");
    assert_eq!(ask("groups delete g", b"yes\n").1, Some(0));
    assert_eq!(broker.engine(&["groups", "list", "--json"]).success(), "");
    let (seen, code) = ask("topics delete t --yes", b"");
    assert!(code == Some(0) && !seen.contains("[y/N]"), "{seen}");
    assert_eq!(broker.engine(&["topics", "list"]).success(), "");
}

#[test]
fn colours_are_for_terminals_without_no_color() {
    let folder = tempfile::tempdir().unwrap();
    // It warns before it gives up.
    let command = "topics list -b 127.0.0.1:1 -X socket.connection.setup.timeout.ms=1200";
    for (variables, coloured) in [
        (&[][..], true),
        (&[("NO_COLOR", "1")], false),
        (&[("NO_COLOR", "")], true),
    ] {
        let (seen, code) = on_terminal(folder.path(), command, b"", variables);
        assert!(
            code == Some(1) && seen.contains("No bootstrap server has answered yet"),
            "{seen}"
        );
        assert_eq!(seen.contains("\x1b["), coloured, "{variables:?}: {seen:?}");
    }
}

/// Runs `engine COMMAND` through a shell on a terminal, with this typed at it: what was seen, and the exit code.
fn on_terminal(folder: &Path, command: &str, typed: &[u8], variables: &[(&str, &str)]) -> (String, Option<i32>) {
    let command = format!("{} {command}", env!("CARGO_BIN_EXE_engine"));
    let mut script = Command::new("script");
    script
        .args(["--quiet", "--return", "--flush", "--command", &command, "/dev/null"])
        .current_dir(folder)
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .env_remove("RUST_LOG")
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = script.spawn().expect("script (util-linux) runs");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(typed).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin); // Its end would end the terminal's input too soon.
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        output.status.code(),
    )
}

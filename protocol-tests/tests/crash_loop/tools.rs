//! The programs beside the engines: the load, the watch, the verifier.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// A program that runs on until told to end; killed when dropped.
pub(crate) struct Program(Child);

impl Program {
    /// Its output goes to a file.
    pub(crate) fn start(program: &Path, arguments: &[&str], output: &Path) -> Self {
        let file = File::create(output).expect("the folder is ours");
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(file.try_clone().expect("a file"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        Self(child)
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("our own child").is_none()
    }

    /// SIGTERM, and SIGKILL to one that takes too long.
    pub(crate) fn terminate(mut self, patience: Duration) {
        let _ = Command::new("kill")
            .args(["-s", "TERM", &self.0.id().to_string()])
            .stderr(Stdio::null())
            .status();
        self.wait(patience);
    }

    /// Ends its standard input and waits.
    pub(crate) fn close(mut self, patience: Duration) {
        drop(self.0.stdin.take());
        self.wait(patience);
    }

    fn wait(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while self.is_running() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program to its end: whether it succeeded, and what it printed on both outputs.
pub(crate) fn run(program: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

/// A script of `protocol-tests/crash-loop/verifier/`.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("crash-loop/verifier")
        .join(name)
}

/// The report at the end of a file; whatever is there instead is a failure of its own.
pub(crate) fn report(path: &Path) -> Value {
    let mut text = String::new();
    let _ = File::open(path).and_then(|mut file| file.read_to_string(&mut text));
    let parsed = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
    parsed.unwrap_or_else(|| {
        let end: String = text.lines().rev().take(8).collect::<Vec<_>>().join("\n");
        json!({"ok": false, "failures": [{"where": path.display().to_string(), "kind": "no report", "what": end}]})
    })
}

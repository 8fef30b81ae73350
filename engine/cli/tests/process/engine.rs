//! Runs the `engine` binary as a user would: arguments in; standard output, standard error and exit code out.
//!
//! Included by the tests with `#[path]`, because a folder under `tests/` is no crate of its own.
#![allow(dead_code)] // Not every test file needs every part.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// No command of a test may take longer, unless it says so.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
}

impl Ended {
    /// Standard output of a command that must have succeeded.
    #[track_caller]
    pub(crate) fn success(self) -> String {
        assert_eq!(
            self.code,
            Some(0),
            "standard error: {}\nstandard output: {}",
            self.stderr,
            self.stdout
        );
        self.stdout
    }

    /// Standard error of a command that must have failed with this exit code.
    #[track_caller]
    pub(crate) fn failure(self, code: i32) -> String {
        assert_eq!(
            self.code,
            Some(code),
            "standard error: {}\nstandard output: {}",
            self.stderr,
            self.stdout
        );
        self.stderr
    }
}

/// Runs `engine ARGUMENTS…` to its end.
#[track_caller]
pub(crate) fn engine(arguments: &[&str]) -> Ended {
    engine_with_input(arguments, b"")
}

/// Runs `engine ARGUMENTS…` with these bytes on standard input.
#[track_caller]
pub(crate) fn engine_with_input(arguments: &[&str], input: &[u8]) -> Ended {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .expect("the binary of this package runs");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // A command that ends early closes its input; that is its right.
    std::thread::spawn(move || stdin.write_all(&input));
    wait(child, arguments)
}

/// `engine ARGUMENTS…` with captured output, not started yet.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    command
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Waits for a started command, at most a minute.
#[track_caller]
pub(crate) fn wait(child: Child, arguments: &[&str]) -> Ended {
    wait_at_most(TIMEOUT, child, arguments)
}

/// Waits for a started command that may take longer than others.
#[track_caller]
pub(crate) fn wait_at_most(timeout: Duration, mut child: Child, arguments: &[&str]) -> Ended {
    let stdout = collect(child.stdout.take().expect("piped"));
    let stderr = collect(child.stderr.take().expect("piped"));
    let deadline = Instant::now() + timeout;
    let status = loop {
        if let Some(status) = child.try_wait().expect("our own child") {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!(
                "engine {arguments:?} did not end; standard error: {}",
                stderr.join().unwrap()
            );
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    Ended {
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
        code: status.code(),
    }
}

/// Sends a signal by name to our own child.
pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(status.success());
}

fn collect(mut from: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// `engine broker` on a free port, stopped when dropped.
pub(crate) struct EmbeddedBroker {
    child: Child,
    pub(crate) address: String,
}

impl EmbeddedBroker {
    #[track_caller]
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", arguments)
    }

    /// The same on this address, where one may have been before.
    #[track_caller]
    pub(crate) fn start_at(listen: &str, arguments: &[&str]) -> Self {
        let arguments = [&["broker", "--listen", listen, "--quiet"], arguments].concat();
        let mut child = command(&arguments)
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary of this package runs");
        let mut address = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut address)
            .expect("the address");
        Self {
            child,
            address: address.trim().to_owned(),
        }
    }

    /// Runs a client command against this broker.
    #[track_caller]
    pub(crate) fn engine(&self, arguments: &[&str]) -> Ended {
        self.engine_with_input(arguments, b"")
    }

    #[track_caller]
    pub(crate) fn engine_with_input(&self, arguments: &[&str], input: &[u8]) -> Ended {
        engine_with_input(&[arguments, &["--bootstrap-servers", &self.address]].concat(), input)
    }

    /// SIGKILL, and gone.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        signal(&self.child, "TERM");
        self.child.wait().expect("our own child").code()
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

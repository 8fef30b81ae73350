//! Runs the `engine` binary as a user would: arguments in; standard output, standard error and exit code out.
//!
//! `ENGINE_RELEASE_BINARY` names one that was built with `--release`, to be run in place of the one of this build: the tests at
//! full size want it, and building the tests themselves with `--release` would compile every dependency twice, because the
//! binary aborts on a panic and a test unwinds.
//!
//! Included by the tests with `#[path]`, because a folder under `tests/` is no crate of its own.
#![allow(dead_code)] // Not every test file needs every part.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Read, Write},
    ops::{Deref, DerefMut},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const RELEASE_BINARY: &str = "ENGINE_RELEASE_BINARY";

/// No command of a test may take longer, unless it says so.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Nothing that a test waits for may take longer to be said, also on a slow machine.
const SAYING_MAX: Duration = Duration::from_secs(300);

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
    let mut child = start(command(arguments).stdin(Stdio::piped()));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // A command that ends early closes its input; that is its right.
    std::thread::spawn(move || stdin.write_all(&input));
    wait(child, arguments)
}

/// The binary under test.
fn binary() -> OsString {
    std::env::var_os(RELEASE_BINARY).unwrap_or_else(|| env!("CARGO_BIN_EXE_engine").into())
}

/// Whether it is fast enough for a test at full size.
pub(crate) fn is_optimised() -> bool {
    std::env::var_os(RELEASE_BINARY).is_some() || !cfg!(debug_assertions)
}

/// `engine ARGUMENTS…` with captured output, not started yet.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A command under way. Killed when dropped: a test that fails leaves nothing behind.
pub(crate) struct Started(Child);

impl Deref for Started {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Started {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // One that has ended and was waited for is not signalled again.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a command.
#[track_caller]
pub(crate) fn start(command: &mut Command) -> Started {
    Started(command.spawn().expect("the binary of this package runs"))
}

/// Waits for a started command, at most a minute.
#[track_caller]
pub(crate) fn wait(child: Started, arguments: &[&str]) -> Ended {
    wait_at_most(TIMEOUT, child, arguments)
}

/// Waits for a started command that may take longer than others.
#[track_caller]
pub(crate) fn wait_at_most(timeout: Duration, mut child: Started, arguments: &[&str]) -> Ended {
    let stdout = collect(child.stdout.take().expect("piped"));
    let stderr = collect(child.stderr.take().expect("piped"));
    let deadline = Instant::now() + timeout;
    let status = loop {
        if let Some(status) = child.try_wait().expect("our own child") {
            break status;
        }
        if Instant::now() > deadline {
            drop(child);
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

impl Started {
    /// Reads standard error up to a line that contains this, and gives all that was said until then. What follows
    /// stays for [`wait`], so nothing may be buffered here.
    #[track_caller]
    pub(crate) fn said(&mut self, part: &str) -> String {
        // A process that never says it must not hold the test up for ever: killed, its pipe ends.
        let (_heard, hearing) = std::sync::mpsc::channel::<()>();
        let id = self.id();
        std::thread::spawn(move || {
            if hearing.recv_timeout(SAYING_MAX) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-s", "KILL", &id.to_string()]).status();
            }
        });
        let stderr = self.stderr.as_mut().expect("piped");
        let mut before = Vec::new();
        let mut byte = [0];
        loop {
            let is_end = stderr.read(&mut byte).expect("a pipe") == 0;
            if is_end || byte[0] == b'\n' {
                let text = String::from_utf8_lossy(&before);
                if text.lines().last().is_some_and(|line| line.contains(part)) {
                    return text.into_owned();
                }
                assert!(!is_end, "no `{part}` in: {text}");
            }
            before.push(byte[0]);
        }
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
    child: Started,
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
        let mut child = start(command(&arguments).stderr(Stdio::inherit()));
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

//! Runs the `engine` binary as a user would: arguments in; standard output, standard error and exit code out.
//!
//! `ENGINE_RELEASE_BINARY` names one that was built with `--release`, to be run in place of the one of this build: the tests at
//! full size want it, and building the tests themselves with `--release` would compile every dependency twice, because the
//! binary aborts on a panic and a test unwinds.
//!
//! Included by the tests with `#[path]`, because a folder under `tests/` is no crate of its own.
#![allow(dead_code)] // Not every test file needs every part.

mod heard;

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Write},
    ops::{Deref, DerefMut},
    process::{Child, Command, Stdio},
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    time::{Duration, Instant},
};

use heard::Heard;

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

/// A command under way, whose standard error is read as it comes. Killed when dropped: a test that fails leaves nothing behind.
pub(crate) struct Started {
    child: Child,
    /// `None` where standard error goes elsewhere.
    heard: Option<Heard>,
}

impl Deref for Started {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl DerefMut for Started {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // One that has ended and was waited for is not signalled again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a command.
#[track_caller]
pub(crate) fn start(command: &mut Command) -> Started {
    let mut child = command.spawn().expect("the binary of this package runs");
    let heard = child.stderr.take().map(Heard::listen);
    Started { child, heard }
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
    let deadline = Instant::now() + timeout;
    let status = loop {
        if let Some(status) = child.try_wait().expect("our own child") {
            break status;
        }
        if Instant::now() > deadline {
            panic!("engine {arguments:?} did not end; standard error: {}", child.so_far());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    Ended {
        stdout: stdout.join().unwrap(),
        stderr: child.heard.take().map(Heard::rest).unwrap_or_default(),
        code: status.code(),
    }
}

impl Started {
    /// Waits until a line on standard error contains this, and gives all that was said until then and was not given before.
    /// What follows stays for the next time, or for [`wait`].
    #[track_caller]
    pub(crate) fn said(&mut self, part: &str) -> String {
        self.heard.as_mut().expect("piped").until(part, SAYING_MAX)
    }

    /// What was said on standard error and was not given yet.
    pub(crate) fn so_far(&self) -> String {
        self.heard.as_ref().map(Heard::so_far).unwrap_or_default()
    }
}

/// Kills a process whose output is waited for, unless it is dropped before: a process that hangs must not hang its test.
pub(crate) struct Watchdog(#[expect(dead_code, reason = "its end is what is told")] Sender<()>);

impl Watchdog {
    pub(crate) fn after(patience: Duration, child: &Child) -> Watchdog {
        let (done, is_done) = channel();
        let id = child.id().to_string();
        std::thread::spawn(move || {
            if is_done.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-s", "KILL", &id]).status();
            }
        });
        Watchdog(done)
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
        let _watchdog = Watchdog::after(TIMEOUT, &child);
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut address)
            .expect("the address");
        assert!(!address.is_empty(), "{arguments:?}: it does not listen");
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
        let _watchdog = Watchdog::after(TIMEOUT, &self.child);
        self.child.wait().expect("our own child").code()
    }
}

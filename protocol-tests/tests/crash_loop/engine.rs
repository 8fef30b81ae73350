//! A process of the engine under test: started, killed, frozen; its log kept and read.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread::JoinHandle,
    time::Instant,
};

use crate::board::{Board, Life};

/// Killed when dropped.
pub(crate) struct Engine {
    pub(crate) life: Life,
    pub(crate) started: Instant,
    child: Child,
    log: Option<JoinHandle<()>>,
}

impl Engine {
    /// `engine run PIPELINE ARGUMENTS…`; its log goes to `engine-LIFE.log` in the folder, and to the board.
    pub(crate) fn start(binary: &Path, folder: &Path, arguments: &[&str], life: Life, board: &Arc<Board>) -> Self {
        board.add(life);
        let path = folder.join(format!("engine-{life:04}.log"));
        let mut child = Command::new(binary)
            .args(["run", "pipeline.toml", "--log", "json", "-v"])
            .args(arguments)
            .current_dir(folder)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the engine runs");
        let started = Instant::now();
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut kept = File::create(path).expect("the folder is ours");
        let board = Arc::clone(board);
        let log = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = writeln!(kept, "{line}");
                board.read(life, &line);
            }
        });
        Self {
            life,
            started,
            child,
            log: Some(log),
        }
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child")
    }

    /// SIGKILL, and gone.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    /// SIGKILL without waiting for the end: another one is to be killed at the same time.
    pub(crate) fn start_killing(&mut self) {
        let _ = self.child.kill();
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .stderr(Stdio::null())
            .status()
            .expect("kill runs");
        // A process that has ended by itself cannot be signalled; whoever waits for it finds out.
        let _ = status;
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(log) = self.log.take() {
            let _ = log.join();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
    }
}

/// Where an engine keeps what it was told, for those who look at a failure.
pub(crate) fn write_pipeline(folder: &Path, words: &[(&str, &str)]) -> PathBuf {
    let mut text = include_str!("../../crash-loop/pipeline.toml").to_owned();
    for (word, value) in words {
        text = text.replace(&format!("@{word}@"), value);
    }
    let path = folder.join("pipeline.toml");
    std::fs::write(&path, text).expect("the folder is ours");
    path
}

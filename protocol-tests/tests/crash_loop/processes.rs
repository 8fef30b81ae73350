//! The engines that run at a time, one or two: who owns the partitions, who ended without being asked.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    board::{Board, Life, Role},
    engine::Engine,
};

/// Nobody may take longer to own the partitions, to stand by, to end when asked to, or to notice that it was frozen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Processes {
    pub(crate) board: Arc<Board>,
    pub(crate) engines: Vec<Engine>,
    pub(crate) starts: usize,
    /// Those that ended without being asked, by what they said last.
    pub(crate) exits: BTreeMap<String, usize>,
    pub(crate) failures: Vec<String>,
    binary: PathBuf,
    folder: PathBuf,
    next_life: Life,
    /// Whether a process may give up because its brokers were killed.
    may_give_up: bool,
    looked: Instant,
}

impl Processes {
    pub(crate) fn new(binary: PathBuf, folder: PathBuf, may_give_up: bool) -> Self {
        Self {
            board: Arc::default(),
            engines: Vec::new(),
            starts: 0,
            exits: BTreeMap::new(),
            failures: Vec::new(),
            binary,
            folder,
            next_life: 1,
            may_give_up,
            looked: Instant::now(),
        }
    }

    pub(crate) fn start(&mut self, arguments: &[&str]) {
        let engine = Engine::start(&self.binary, &self.folder, arguments, self.next_life, &self.board);
        self.next_life += 1;
        self.starts += 1;
        self.engines.push(engine);
    }

    /// Starts what is missing, and replaces those that ended by themselves.
    pub(crate) fn ensure(&mut self, count: usize) {
        self.reap();
        while self.engines.len() < count {
            self.start(&[]);
        }
    }

    /// As often as it is worth it: looks for processes that ended, while something is waited for.
    pub(crate) fn revive(&mut self) {
        if self.looked.elapsed() > Duration::from_millis(100) {
            self.looked = Instant::now();
            self.ensure(self.engines.len());
        }
    }

    fn reap(&mut self) {
        let mut at = 0;
        while at < self.engines.len() {
            let Some(status) = self.engines[at].ended() else {
                at += 1;
                continue;
            };
            let engine = self.engines.remove(at);
            let life = engine.life;
            engine.kill(); // It has ended; its log is read to the end.
            let said = self.board.last_lines(life);
            let last = said.lines().next_back().unwrap_or("nothing").trim();
            *self
                .exits
                .entry(format!("{status}: {}", without_time(last)))
                .or_default() += 1;
            if !self.may_give_up && !self.board.was_frozen(life) {
                self.failures
                    .push(format!("engine {life} ended by itself, {status}:\n    {said}"));
            }
        }
    }

    /// The place of the process that owns the partitions or, if none does, that is the next to.
    pub(crate) fn owner(&self) -> usize {
        let rank = |engine: &Engine| match self.board.role(engine.life) {
            Role::Owns { since } => (3, Some(since)),
            Role::Rebalances => (2, None),
            Role::StandsBy => (1, None),
            Role::Starting => (0, None),
        };
        let places = 0..self.engines.len();
        places
            .max_by_key(|place| rank(&self.engines[*place]))
            .expect("a process")
    }

    pub(crate) fn somebody_owns(&self) -> Option<Instant> {
        match self.board.role(self.engines[self.owner()].life) {
            Role::Owns { since } => Some(since),
            _ => None,
        }
    }

    /// Waits until this holds; false after [`PATIENCE`].
    pub(crate) fn wait_until(&mut self, holds: impl Fn(&Processes) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            if Instant::now() > deadline {
                return false;
            }
            self.revive();
            self.board.wait(Instant::now() + Duration::from_millis(50));
        }
        true
    }

    /// Asks a process to end, as whoever deploys a new version does.
    pub(crate) fn ask_to_end(&mut self, place: usize) {
        let mut engine = self.engines.remove(place);
        let deadline = Instant::now() + PATIENCE;
        // One that was started a moment ago does not listen to signals yet: it would die of this one.
        while !self.board.has_spoken(engine.life) && engine.ended().is_none() && Instant::now() < deadline {
            self.board.wait(Instant::now() + Duration::from_millis(50));
        }
        engine.signal("TERM");
        let status = loop {
            if let Some(status) = engine.ended() {
                break Some(status);
            }
            if Instant::now() > deadline {
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let life = engine.life;
        engine.kill();
        match status {
            Some(status) if status.success() => {}
            // A process that had a reason of its own to end may have been on its way.
            Some(status) if self.may_give_up || self.board.was_frozen(life) => {
                *self.exits.entry(format!("{status} after SIGTERM")).or_default() += 1;
            }
            status => self.failures.push(format!(
                "engine {life} was asked to end: {status:?}\n    {}",
                self.board.last_lines(life)
            )),
        }
    }

    /// What the engines said of themselves that must not be.
    pub(crate) fn take_failures(&mut self) -> Vec<String> {
        let mut failures = std::mem::take(&mut self.failures);
        failures.extend(self.board.went_back());
        failures
    }
}

/// A log line's own time and numbers that differ each time would make every reason another.
fn without_time(line: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(line) {
        Ok(object) => ["message", "error"]
            .iter()
            .filter_map(|key| object[*key].as_str())
            .collect::<Vec<_>>()
            .join(" "),
        Err(_) => line.to_owned(),
    }
}

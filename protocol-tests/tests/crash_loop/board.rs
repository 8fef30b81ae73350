//! What the engines have said so far: written by the threads that read their logs, read by the thread that kills them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde_json::Value;

/// Numbers the processes of a run, from 1.
pub(crate) type Life = usize;

const LINES_MAX: usize = 12;

/// What a process said of itself last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Starting,
    StandsBy,
    Owns {
        since: Instant,
    },
    /// It had the partitions and rebalances, or lost them.
    Rebalances,
}

/// One process.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) role: Role,
    /// Taking over, as often as it did.
    pub(crate) taken_over: Vec<Instant>,
    /// It was stopped for a while: what it says of the time before is old.
    pub(crate) was_frozen: bool,
    pub(crate) has_spoken: bool,
    /// The last lines that matter, for messages.
    pub(crate) lines: VecDeque<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Board {
    said: Mutex<BTreeMap<Life, Said>>,
    changed: Condvar,
    newest: Mutex<Newest>,
}

/// The newest checkpoint that any owner restored. None may restore an older one.
#[derive(Debug, Default)]
struct Newest {
    checkpoint: u64,
    watermark_ms: Option<i64>,
    went_back: Vec<String>,
}

impl Board {
    pub(crate) fn add(&self, life: Life) {
        let said = Said {
            role: Role::Starting,
            taken_over: Vec::new(),
            was_frozen: false,
            has_spoken: false,
            lines: VecDeque::new(),
        };
        lock(&self.said).insert(life, said);
    }

    /// A line of a process's log, which is JSON but for what a panic prints.
    pub(crate) fn read(&self, life: Life, line: &str) {
        let object: Value = serde_json::from_str(line).unwrap_or(Value::Null);
        let message = object["message"].as_str().unwrap_or("");
        let role = if message.starts_with("This process owns the partitions") {
            Some(Role::Owns { since: Instant::now() })
        } else if message.starts_with("Standing by") {
            Some(Role::StandsBy)
        } else if message.starts_with("The partitions went") || message.starts_with("The group rebalances") {
            Some(Role::Rebalances)
        } else {
            None
        };
        let mut all = lock(&self.said);
        let said = all.get_mut(&life).expect("every process is on the board");
        said.has_spoken = true;
        if let Some(role) = role {
            said.role = role;
            if let Role::Owns { since } = role {
                said.taken_over.push(since);
                if !said.was_frozen {
                    lock(&self.newest).restored(life, &object);
                }
            }
        }
        if !matches!(object["event"].as_str(), Some("status" | "started")) {
            said.lines.push_back(line.to_owned());
            if said.lines.len() > LINES_MAX {
                said.lines.pop_front();
            }
        }
        drop(all);
        self.changed.notify_all();
    }

    pub(crate) fn freeze(&self, life: Life) {
        lock(&self.said).get_mut(&life).expect("on the board").was_frozen = true;
    }

    pub(crate) fn was_frozen(&self, life: Life) -> bool {
        lock(&self.said)[&life].was_frozen
    }

    pub(crate) fn role(&self, life: Life) -> Role {
        lock(&self.said)[&life].role
    }

    /// Whether it has said anything yet.
    pub(crate) fn has_spoken(&self, life: Life) -> bool {
        lock(&self.said)[&life].has_spoken
    }

    /// The last time it took over, after this instant.
    pub(crate) fn took_over_since(&self, life: Life, instant: Instant) -> Option<Instant> {
        let all = lock(&self.said);
        all[&life].taken_over.iter().copied().find(|at| *at >= instant)
    }

    pub(crate) fn last_lines(&self, life: Life) -> String {
        let all = lock(&self.said);
        let lines: Vec<&str> = all[&life].lines.iter().map(String::as_str).collect();
        lines.join("\n    ")
    }

    /// Restores that began before the last one.
    pub(crate) fn went_back(&self) -> Vec<String> {
        lock(&self.newest).went_back.clone()
    }

    /// Waits a little, or until somebody says something.
    pub(crate) fn wait(&self, until: Instant) {
        let all = lock(&self.said);
        let left = until.saturating_duration_since(Instant::now());
        let _ = self.changed.wait_timeout(all, left);
    }
}

impl Newest {
    fn restored(&mut self, life: Life, said: &Value) {
        let checkpoint = said["checkpoint"].as_u64().unwrap_or(0);
        let watermark_ms = said["watermark_ms"].as_i64();
        if checkpoint < self.checkpoint || watermark_ms < self.watermark_ms {
            self.went_back.push(format!(
                "engine {life} restored checkpoint {checkpoint}, watermark {watermark_ms:?} after checkpoint {}, watermark {:?}",
                self.checkpoint, self.watermark_ms
            ));
        }
        self.checkpoint = self.checkpoint.max(checkpoint);
        self.watermark_ms = self.watermark_ms.max(watermark_ms);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

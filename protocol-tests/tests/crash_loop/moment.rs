//! Waiting for the moment at which something is done.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{plan::Moment, processes::Processes};

/// A window closes every second while somebody owns the partitions; with brokers killed it takes longer.
const FILE_PATIENCE: Duration = Duration::from_secs(15);
/// How often the lake is looked at.
const LOOK: Duration = Duration::from_micros(500);

/// Waits, and says which kind of moment came in the end: one that did not come is counted as that.
pub(crate) fn wait(moment: Moment, processes: &mut Processes, lake: &Path, is_fresh: bool) -> &'static str {
    match moment {
        Moment::Starting(after) => {
            let started = processes.engines.last().expect("a process").started;
            if !is_fresh {
                return "any time"; // It was not killed before, only frozen.
            }
            sleep_until(started + after);
            moment.kind()
        }
        Moment::TakingOver(after) | Moment::Running(after) => {
            if !processes.wait_until(|all| all.somebody_owns().is_some()) {
                return nobody_owns(processes);
            }
            // In one that owned the partitions before, this moment is any.
            let since = processes.somebody_owns().unwrap_or_else(Instant::now);
            let fresh = is_fresh && matches!(moment, Moment::TakingOver(_));
            sleep_until(if fresh { since } else { since.max(Instant::now()) } + after);
            if fresh { moment.kind() } else { "any time" }
        }
        Moment::Staged(after) => file(processes, moment, after, || staged(lake)),
        Moment::Published(after) => file(processes, moment, after, || visible(lake)),
    }
}

fn nobody_owns(processes: &mut Processes) -> &'static str {
    processes
        .failures
        .push("nobody owned the partitions for a minute".to_owned());
    "not reached: nobody owned the partitions"
}

/// Waits for a file that was not there before.
fn file(
    processes: &mut Processes,
    moment: Moment,
    after: Duration,
    list: impl Fn() -> BTreeSet<PathBuf>,
) -> &'static str {
    if !processes.wait_until(|all| all.somebody_owns().is_some()) {
        return nobody_owns(processes);
    }
    let before = list();
    let deadline = Instant::now() + FILE_PATIENCE;
    while list().is_subset(&before) {
        if Instant::now() > deadline {
            return match moment {
                Moment::Staged(_) => "not reached: no lake file was staged",
                _ => "not reached: no lake file was published",
            };
        }
        processes.revive();
        std::thread::sleep(LOOK);
    }
    std::thread::sleep(after);
    moment.kind()
}

fn sleep_until(at: Instant) {
    std::thread::sleep(at.saturating_duration_since(Instant::now()));
}

fn staged(lake: &Path) -> BTreeSet<PathBuf> {
    files(&lake.join("_staging"), &|_| true)
}

fn visible(lake: &Path) -> BTreeSet<PathBuf> {
    files(lake, &|name| !name.starts_with(['_', '.']))
}

/// The files below a folder, of those folders and files whose names are wanted. What goes while it is listed is not there.
fn files(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if !wanted(&entry.file_name().to_string_lossy()) {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.append(&mut files(&path, wanted)),
            Ok(_) => _ = found.insert(path),
            Err(_) => {}
        }
    }
    found
}

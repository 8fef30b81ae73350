//! What is done to the engines in a round: drawn from the seed before anything runs.

use std::{fmt, time::Duration};

use crate::{random::Random, settings};

/// When something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// This long after the process was started, at most 100 ms.
    Starting(Duration),
    /// This long after it took the partitions over: before, in or just after its first checkpoint.
    TakingOver(Duration),
    /// This long after it took the partitions over, up to some checkpoints later.
    Running(Duration),
    /// This long after a lake file was staged: somewhere between staging, the commit and the publication.
    Staged(Duration),
    /// This long after a lake file appeared.
    Published(Duration),
}

impl Moment {
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Moment::Starting(_) => "within 100 ms of the start",
            Moment::TakingOver(_) => "around the first checkpoint",
            Moment::Running(_) => "any time",
            Moment::Staged(_) => "after staging a lake file",
            Moment::Published(_) => "after publishing a lake file",
        }
    }
}

/// What is done, and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// SIGKILL to the process that owns the partitions, or is about to.
    KillOwner,
    /// SIGKILL to the one that stands by.
    KillStandby,
    /// SIGKILL to both, one right after the other.
    KillBoth,
    /// SIGSTOP to the owner, SIGCONT this long after.
    FreezeOwner(Duration),
}

/// One deed of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// How many processes there are before it, 1 or 2.
    pub(crate) processes: usize,
    /// Whether it waits until the second process stands by; else it may come in the middle of the rebalance.
    pub(crate) settled: bool,
    pub(crate) moment: Moment,
    pub(crate) deed: Deed,
    /// How long nothing is started afterwards.
    pub(crate) pause: Duration,
}

impl Step {
    /// How many processes it kills.
    pub(crate) fn kills(&self) -> usize {
        match self.deed {
            Deed::KillOwner | Deed::KillStandby => 1,
            Deed::KillBoth => 2,
            Deed::FreezeOwner(_) => 0,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step {
            processes,
            settled,
            moment,
            deed,
            pause,
        } = self;
        let settled = if *processes == 2 && !settled {
            ", rebalancing"
        } else {
            ""
        };
        write!(
            f,
            "{processes} process(es){settled}, {moment:?}: {deed:?}, pause {pause:?}"
        )
    }
}

/// The steps of a round, with this many kills.
pub(crate) fn steps(seed: u64, round: u64, kills: usize) -> Vec<Step> {
    let mut random = Random::of(seed, round);
    let mut steps = Vec::new();
    // A new job: several times before there is any checkpoint.
    for _ in 0..random.between(2, 4) {
        let moment = match random.between(0, 1) {
            0 => Moment::Starting(random.milliseconds(0, 100)),
            _ => Moment::TakingOver(random.milliseconds(0, 40)),
        };
        steps.push(alone(moment, Deed::KillOwner, Duration::ZERO));
    }
    while steps.iter().map(Step::kills).sum::<usize>() < kills {
        for _ in 0..random.between(8, 14) {
            steps.push(step_alone(&mut random));
        }
        for _ in 0..random.between(3, 6) {
            steps.push(step_of_two(&mut random));
        }
    }
    while steps.iter().map(Step::kills).sum::<usize>() > kills {
        steps.pop();
    }
    steps
}

fn alone(moment: Moment, deed: Deed, pause: Duration) -> Step {
    Step {
        processes: 1,
        settled: true,
        moment,
        deed,
        pause,
    }
}

fn step_alone(random: &mut Random) -> Step {
    let moment = match random.weighted(&[(25, 0), (15, 1), (20, 2), (30, 3), (10, 4)]) {
        0 => Moment::Starting(random.milliseconds(0, 100)),
        1 => Moment::TakingOver(random.milliseconds(0, 300)),
        2 => Moment::Running(random.milliseconds(0, 1_500)),
        3 => Moment::Staged(jitter(random)),
        _ => Moment::Published(jitter(random)),
    };
    let freezes = random.between(1, 100) <= 3 && !matches!(moment, Moment::Starting(_));
    let deed = if freezes { freeze(random) } else { Deed::KillOwner };
    alone(moment, deed, pause(random))
}

fn step_of_two(random: &mut Random) -> Step {
    let moment = match random.weighted(&[(40, 0), (40, 1), (20, 2)]) {
        0 => Moment::Running(random.milliseconds(0, 700)),
        1 => Moment::Staged(jitter(random)),
        _ => Moment::Published(jitter(random)),
    };
    let deed = match random.weighted(&[(55, 0), (15, 1), (15, 2), (15, 3)]) {
        0 => Deed::KillOwner,
        1 => Deed::KillStandby,
        2 => Deed::KillBoth,
        _ => freeze(random),
    };
    Step {
        processes: 2,
        settled: random.between(1, 5) > 1,
        moment,
        deed,
        pause: pause(random),
    }
}

/// Mostly at once: a checkpoint takes some ten milliseconds, and each of its steps should have its turn.
fn jitter(random: &mut Random) -> Duration {
    match random.between(1, 3) {
        1 => random.milliseconds(0, 3),
        2 => random.milliseconds(0, 15),
        _ => random.milliseconds(0, 60),
    }
}

/// Longer than the session and the transaction of the process may last.
fn freeze(random: &mut Random) -> Deed {
    let longest = settings::SESSION_TIMEOUT.max(settings::TRANSACTION_TIMEOUT).as_millis() as u64;
    Deed::FreezeOwner(random.milliseconds(longest + 300, longest + 2_000))
}

fn pause(random: &mut Random) -> Duration {
    let longest = settings::SESSION_TIMEOUT.max(settings::TRANSACTION_TIMEOUT).as_millis() as u64;
    match random.weighted(&[(75, 0), (15, 1), (7, 2), (3, 3)]) {
        0 => Duration::ZERO,
        1 => random.milliseconds(1, 300),
        2 => random.milliseconds(300, 1_000),
        _ => random.milliseconds(longest + 300, longest + 1_500),
    }
}

//! What happens to the nodes, one at a time.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::cluster::Cluster;

/// What is done to a node, and undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disturbance {
    /// SIGKILL, and started again.
    Kill,
    /// SIGTERM, which hands its leaders over, and started again.
    Restart,
    /// SIGSTOP for longer than the controller waits: its connections stay open and nothing answers. Then SIGCONT: it wakes up
    /// and believes for a moment that it still leads.
    Pause,
}

/// How often each was done.
#[derive(Debug, Default)]
pub(crate) struct Disturbed {
    kills: usize,
    restarts: usize,
    pauses: usize,
}

impl Disturbed {
    pub(crate) fn total(&self) -> usize {
        self.kills + self.restarts + self.pauses
    }
}

impl fmt::Display for Disturbed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Disturbed {
            kills,
            restarts,
            pauses,
        } = self;
        write!(f, "{kills} nodes killed, {restarts} restarted, {pauses} paused")
    }
}

/// Disturbs one node after another; each comes back before the next one goes, though its replicas may still be behind.
pub(crate) fn disturb(cluster: &Cluster, kinds: &[Disturbance], run_for: Duration, seed: u64) -> Disturbed {
    let deadline = Instant::now() + run_for;
    let mut disturbed = Disturbed::default();
    std::thread::sleep(QUIET_AT_FIRST);
    for round in 0.. {
        if Instant::now() >= deadline {
            break;
        }
        // Each node has its turn, so that the controller has, and seeds differ in who is next and how long it is gone.
        let node = (seed.wrapping_mul(7).wrapping_add(round * (1 + seed % 2)) % 3) as usize + 1;
        let gone = Duration::from_millis(300 + seed.wrapping_add(round).wrapping_mul(389) % 1_500);
        let kind = kinds[round as usize % kinds.len()];
        match kind {
            Disturbance::Kill => {
                cluster.node("kill", node);
                std::thread::sleep(gone);
                cluster.node("start", node);
                disturbed.kills += 1;
            }
            Disturbance::Restart => {
                cluster.node("stop", node);
                cluster.node("start", node);
                disturbed.restarts += 1;
            }
            Disturbance::Pause => {
                cluster.node("pause", node);
                std::thread::sleep(SESSION_TIMEOUT + gone);
                cluster.node("resume", node);
                disturbed.pauses += 1;
            }
        }
        std::thread::sleep(gone);
    }
    disturbed
}

const QUIET_AT_FIRST: Duration = Duration::from_secs(1);
/// `broker.session.timeout.ms` of `scripts/kafka`.
const SESSION_TIMEOUT: Duration = Duration::from_secs(2);

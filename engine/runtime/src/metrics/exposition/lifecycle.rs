//! Which of several processes of a pipeline works, and how often that changed.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::metrics::snapshot::Snapshot;
use crate::progress::RunPhase;

/// Every phase with its name in the label, as the status tells it.
const PHASES: [(RunPhase, &str); 5] = [
    (RunPhase::Starting, "starting"),
    (RunPhase::StandingBy, "standing_by"),
    (RunPhase::Running, "running"),
    (RunPhase::Draining, "draining"),
    (RunPhase::Stopping, "stopping"),
];

/// Adds the phase and what the sessions came to. All phases are there from the start, so that a sum over processes tells how
/// many run.
pub(super) fn register(registry: &mut Registry, snapshot: &Snapshot) {
    let phases = Family::<Vec<(&'static str, &'static str)>, Gauge<f64, AtomicU64>>::default();
    for (phase, name) in PHASES {
        let is_now = f64::from(u8::from(phase == snapshot.phase));
        phases.get_or_create(&vec![("phase", name)]).set(is_now);
    }
    registry.register(
        "engine_pipeline_phase",
        "1 for what this process is doing, 0 for everything else",
        phases,
    );
    let sessions = snapshot.sessions;
    for (name, help, count) in [
        (
            "engine_session_begun",
            "Times that this process took the partitions over",
            sessions.begun,
        ),
        (
            "engine_session_lost",
            "Times that the partitions or the transaction were lost to another process or to a timeout",
            sessions.lost,
        ),
        (
            "engine_session_setbacks",
            "Failures after which this process went back to the last checkpoint",
            sessions.setbacks,
        ),
    ] {
        registry.register(name, help, ConstCounter::new(count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_has_the_name_that_the_status_tells() {
        for (phase, name) in PHASES {
            assert_eq!(serde_json::to_value(phase).unwrap(), name);
        }
    }
}

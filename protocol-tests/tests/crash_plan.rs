//! The crash loop's plan: it follows from the seed alone, and everything that is promised of it occurs.
//!
//! The loop itself (`crash_loop/`) is a program without the test harness.

#[path = "crash_loop/plan.rs"]
#[allow(dead_code)] // The loop uses all of it.
mod plan;
#[path = "crash_loop/random.rs"]
mod random;
#[path = "crash_loop/settings.rs"]
#[allow(dead_code)] // The loop uses all of it.
mod settings;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use plan::{Deed, Moment, Step, steps};

#[test]
fn a_seed_makes_the_same_plan_again_and_another_seed_another() {
    assert_eq!(steps(7, 3, 50), steps(7, 3, 50));
    assert_ne!(steps(7, 3, 50), steps(7, 4, 50));
    assert_ne!(steps(7, 3, 50), steps(8, 3, 50));
}

#[test]
fn a_plan_has_as_many_kills_as_were_asked_for_or_one_less() {
    for round in 0..200 {
        let kills: usize = steps(1, round, 40).iter().map(Step::kills).sum();
        assert!((39..=40).contains(&kills), "round {round}: {kills}");
    }
}

#[test]
fn a_round_begins_with_kills_before_its_first_checkpoint() {
    for round in 0..50 {
        let first = &steps(2, round, 40)[..2];
        assert!(
            first
                .iter()
                .all(|step| matches!(step.moment, Moment::Starting(_) | Moment::TakingOver(_)) && step.pause.is_zero()),
            "round {round}: {first:?}"
        );
    }
}

#[test]
fn every_moment_and_every_deed_occurs_within_a_thousand_kills() {
    let all: Vec<Step> = (0..25).flat_map(|round| steps(3, round, 40)).collect();
    let mut moments = BTreeMap::new();
    let (mut deeds, mut pauses) = (BTreeSet::new(), BTreeSet::new());
    let longest = settings::SESSION_TIMEOUT.max(settings::TRANSACTION_TIMEOUT);
    for step in &all {
        *moments.entry(step.moment.kind()).or_insert(0) += step.kills();
        deeds.insert(match step.deed {
            Deed::KillOwner => (step.processes, "owner"),
            Deed::KillStandby => (step.processes, "standby"),
            Deed::KillBoth => (step.processes, "both"),
            Deed::FreezeOwner(duration) => {
                assert!(duration > longest, "{step}");
                (step.processes, "freeze")
            }
        });
        pauses.insert((step.pause > Duration::ZERO, step.pause > longest));
    }
    assert_eq!(moments.len(), 5, "{moments:?}");
    assert!(moments.values().all(|kills| *kills >= 50), "{moments:?}");
    let expected = [
        (1, "freeze"),
        (1, "owner"),
        (2, "both"),
        (2, "freeze"),
        (2, "owner"),
        (2, "standby"),
    ];
    assert_eq!(deeds, BTreeSet::from(expected));
    assert_eq!(pauses.len(), 3, "at once, a moment later, after every timeout");
}

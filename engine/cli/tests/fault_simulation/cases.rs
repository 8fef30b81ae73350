//! Which faults are tried, alone and in pairs, and trying them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use engine_wire::messages::ApiKey;

use crate::network;
use crate::trouble::{Place, Planned, checkpoint_steps, first_steps, troubles_at};
use crate::verdict::{shows_nothing_early, verdict};
use crate::world::{Promise, World};

/// Cases that run at a time: most of them wait.
const AT_A_TIME: usize = 6;

/// Pairs that are tried if nobody asks for more.
const PAIRS: usize = 12;

/// Every trouble at every step: of the start, of the first checkpoint, and of one after two others.
pub(crate) fn single_faults(promise: Promise) -> Vec<Vec<Planned>> {
    let checkpoint = checkpoint_steps(promise.exactly_once, promise.transaction_version);
    let mut places = Vec::new();
    for step in first_steps(promise.exactly_once) {
        places.push(Place {
            step,
            after_commits: 0,
            skip: 0,
        });
    }
    for step in checkpoint {
        for after_commits in [0, 2] {
            // A checkpoint's state and its manifest are two requests.
            let skips = if step.api == ApiKey::Produce && step.about == "state" {
                2
            } else {
                1
            };
            places.extend((0..skips).map(|skip| Place {
                step,
                after_commits,
                skip,
            }));
        }
    }
    let mut cases = Vec::new();
    for place in places {
        let troubles = troubles_at(place.step).into_iter();
        cases.extend(troubles.map(|trouble| vec![Planned { place, trouble }]));
    }
    cases
}

/// Pairs of single faults, by seed: the second may hit the recovery from the first.
pub(crate) fn pairs(promise: Promise) -> Vec<Vec<Planned>> {
    let number = |variable: &str, default: usize| {
        std::env::var(variable).map_or(default, |value| value.parse().expect("a number"))
    };
    let (count, seed) = (
        number("ENGINE_FAULT_PAIRS", PAIRS),
        number("ENGINE_FAULT_SEED", 20_261_121),
    );
    println!("ENGINE_FAULT_SEED={seed} ENGINE_FAULT_PAIRS={count}");
    let single = single_faults(promise);
    let mut random = seed as u64;
    let mut choose = |from: usize| {
        // SplitMix64.
        random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % from as u64) as usize
    };
    (0..count)
        .map(|_| vec![single[choose(single.len())][0], single[choose(single.len())][0]])
        .collect()
}

/// Tries every case, and fails with all that went wrong.
pub(crate) fn run_all(promise: Promise, cases: Vec<Vec<Planned>>) {
    let wanted = std::env::var("ENGINE_FAULT_CASE").unwrap_or_default();
    let cases: Vec<_> = cases
        .into_iter()
        .filter(|case| format!("{case:?}").contains(&wanted))
        .collect();
    let network = network();
    let (next, unmet) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failures = Mutex::new(Vec::new());
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let began = Instant::now();
                    let world = World::new(network.handle(), promise, case);
                    let lives = world.run_to_the_end(shows_nothing_early);
                    let outcome = lives.and_then(|lives| {
                        verdict(&world)
                            .map(|()| lives.len())
                            .map_err(|wrong| format!("{wrong}; lives: {lives:#?}"))
                    });
                    let met = world.seen().met.len();
                    println!("{case:?}: {met} met, {outcome:?}, {:.1?}", began.elapsed());
                    if met < case.len() {
                        unmet.fetch_add(1, Ordering::Relaxed);
                    }
                    // The second of a pair may have nothing left to hit; a fault alone always has.
                    let never_met = (met == 0).then(|| Err("it was never met".to_owned()));
                    if let Err(wrong) = outcome.and(never_met.unwrap_or(Ok(0))) {
                        failures.lock().expect("no panic").push(format!("{case:?}: {wrong}"));
                    }
                }
            });
        }
    });
    println!(
        "{} cases in {:.0?}, {} of them not met in full",
        cases.len(),
        started.elapsed(),
        unmet.load(Ordering::Relaxed)
    );
    let failures = failures.into_inner().expect("no panic");
    assert!(
        failures.is_empty(),
        "{} of {} cases failed:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n\n")
    );
}

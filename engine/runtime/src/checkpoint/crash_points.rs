//! Every crash point of the checkpoint protocol, and every takeover, by exhaustion.
//!
//! A model of the brokers and of a table runs lives of an engine step by step; what a life decides, it decides with the
//! product's own pure code: the state table, the manifest, the choice of segments, the start positions, the lake's
//! recovery. After every step no reader may see anything twice, and in the end every window is there once, with its
//! exact count.
//!
//! ```text
//! life A: n steps, crash                                      n over all steps
//! life A: n steps, crash · life B: m steps, crash             n × m
//! life A: n steps, asleep · life B: m steps · A wakes up and goes on until it is stopped · B goes on (or crashes)
//! ```
//! The last life always runs to its end.

mod life;
mod world;

use self::life::Life;
use self::world::Guarantee::{AtLeastOnce, ExactlyOnce};
use self::world::{End, Guarantee, World};

/// What every case of one kind came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cases {
    whole: usize,
    fenced: usize,
    conflicts: usize,
}

/// Steps of a life that nobody disturbs.
fn steps_of_a_clean_life(guarantee: Guarantee) -> usize {
    let (mut world, mut life) = (World::default(), Life::new(guarantee, 1));
    assert_eq!(life.run_on(&mut world), End::Done);
    world.check_whole("undisturbed");
    life.taken
}

/// The last life finds the state topic as it was written, or compacted.
fn finish(world: &World, guarantee: Guarantee, cases: &mut Cases, case: &str) {
    for is_compacted in [false, true] {
        let mut world = world.clone();
        if is_compacted {
            world.compact();
        }
        let mut last = Life::new(guarantee, world.member + 1);
        match last.run_on(&mut world) {
            End::Done => {
                world.check_whole(case);
                cases.whole += 1;
            }
            End::Conflict => cases.conflicts += 1,
            End::Fenced => panic!("{case}: nobody is there to fence the last life"),
        }
    }
}

fn one_and_two_crashes(guarantee: Guarantee) -> Cases {
    let mut cases = Cases::default();
    let steps = steps_of_a_clean_life(guarantee);
    for first in 0..=steps {
        for second in 0..=steps + 4 {
            let mut world = World::default();
            Life::new(guarantee, 1).run(&mut world, first);
            if second > 0 {
                Life::new(guarantee, world.member + 1).run(&mut world, second);
            }
            finish(
                &world,
                guarantee,
                &mut cases,
                &format!("crashes after {first} and {second} steps"),
            );
        }
    }
    cases
}

/// The first life sleeps after `n` steps and wakes up after the second has taken `m`; the second then crashes, or goes on.
fn takeovers(guarantee: Guarantee, crash_of_the_second: bool) -> Cases {
    let mut cases = Cases::default();
    let steps = steps_of_a_clean_life(guarantee);
    for asleep in 1..steps {
        for taken in 1..=steps + 4 {
            let case = format!("asleep after {asleep} steps, awake after {taken} of its successor");
            let mut world = World::default();
            let mut first = Life::new(guarantee, 1);
            if first.run(&mut world, asleep).is_some() {
                continue;
            }
            let mut second = Life::new(guarantee, 2);
            let second_ended = second.run(&mut world, taken);
            match first.run_on(&mut world) {
                End::Fenced => cases.fenced += 1,
                // It had nothing left to commit, or its files are the successor's by now.
                End::Done | End::Conflict => {}
            }
            if crash_of_the_second {
                finish(&world, guarantee, &mut cases, &case);
                continue;
            }
            match second_ended.unwrap_or_else(|| second.run_on(&mut world)) {
                End::Done => {
                    // What the sleeper left in its staging folder goes with the next start.
                    finish(&world, guarantee, &mut cases, &case);
                }
                End::Conflict => cases.conflicts += 1,
                End::Fenced => panic!("{case}: the successor was fenced"),
            }
        }
    }
    cases
}

#[test]
fn exactly_once_survives_every_crash_and_every_pair_of_crashes() {
    let cases = one_and_two_crashes(ExactlyOnce);
    println!("{cases:?}");
    assert_eq!((cases.fenced, cases.conflicts), (0, 0));
}

#[test]
fn exactly_once_survives_every_takeover_of_a_life_that_wakes_up_again() {
    for crash_of_the_second in [false, true] {
        let cases = takeovers(ExactlyOnce, crash_of_the_second);
        println!("the second crashes: {crash_of_the_second}: {cases:?}");
        assert_eq!(cases.conflicts, 0);
        assert!(cases.fenced > 0, "sleepers are fenced");
    }
}

#[test]
fn at_least_once_loses_nothing_in_any_crash_or_pair_of_crashes() {
    let cases = one_and_two_crashes(AtLeastOnce);
    println!("{cases:?}");
    assert_eq!((cases.fenced, cases.conflicts), (0, 0));
}

#[test]
fn at_least_once_survives_every_takeover_of_a_life_that_wakes_up_again() {
    for crash_of_the_second in [false, true] {
        let cases = takeovers(AtLeastOnce, crash_of_the_second);
        println!("the second crashes: {crash_of_the_second}: {cases:?}");
        assert_eq!(cases.conflicts, 0);
        assert!(cases.fenced > 0, "sleepers are fenced");
    }
}

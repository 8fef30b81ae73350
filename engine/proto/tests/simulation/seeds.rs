//! Which seeds a simulation runs, and what a failing one says.
//!
//! Without further word a simulation runs the seeds that fit into continuous integration. Never here: what a seed means.

use std::env;

/// How many seeds to run: `ENGINE_SIMULATION_SEEDS`.
const SEEDS: &str = "ENGINE_SIMULATION_SEEDS";

/// The first of them: `ENGINE_SIMULATION_FIRST_SEED`.
const FIRST_SEED: &str = "ENGINE_SIMULATION_FIRST_SEED";

/// Runs `run` with each seed. True if those were at least the usual `count`, so that what happens in one run or another must
/// have happened.
pub(crate) fn for_each_seed(simulation: &'static str, count: u64, mut run: impl FnMut(u64)) -> bool {
    let first = number(FIRST_SEED);
    let seeds = number(SEEDS).unwrap_or(if first.is_some() { 1 } else { count });
    let first = first.unwrap_or(0);
    for seed in first..first + seeds {
        let last_word = LastWord { simulation, seed };
        run(seed);
        drop(last_word);
    }
    println!("{simulation}: {seeds} seeds from {first} on");
    seeds >= count
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
    )
}

/// Tells of the seed if its run panics.
struct LastWord {
    simulation: &'static str,
    seed: u64,
}

impl Drop for LastWord {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { simulation, seed } = self;
            eprintln!("seed {seed} failed; alone: {FIRST_SEED}={seed} scripts/simulate {simulation}");
        }
    }
}

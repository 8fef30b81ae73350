//! Seeded simulation: answers delayed, dropped and reordered, leaders that move.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::FetchResponse;
use fastrand::Rng;

use super::scene::{VERSION, config, data, leader, response, start_of_time, tp};
use super::session_broker::{Asked, SessionBroker, refusal};
use super::stored::batch;
use crate::fetch::fetcher::{FetchConfig, Fetcher};
use crate::fetch::lookup::{Found, Lookup};
use crate::fetch::partition::PartitionLeader;
use crate::fetch::plan::FetchPlan;
use crate::fetch::position::{Position, StartAt};

/// A log per partition and a network that delays, drops and reorders answers; leaders move, the
/// application seeks, pauses and polls as it likes. What it gets between two seeks is contiguous.
#[test]
fn simulated_fetching_neither_skips_nor_repeats() {
    for seed in 0..300 {
        simulate(seed);
    }
}

fn simulate(seed: u64) {
    const PARTITIONS: i32 = 4;
    let mut rng = Rng::with_seed(seed);
    let mut fetcher = Fetcher::new(
        FetchConfig {
            prefetch_bytes_max: 4000,
            ..config()
        },
        seed,
    );
    let mut now = start_of_time();
    let mut leaders: Vec<PartitionLeader> = (0..PARTITIONS).map(|p| leader(p % 2, 3)).collect();
    let mut expected = vec![0i64; PARTITIONS as usize];
    let mut network: Vec<FetchPlan> = Vec::new();
    let mut brokers: BTreeMap<i32, SessionBroker> = BTreeMap::new();
    let mut lookups: Vec<Lookup> = Vec::new();
    let mut handed_out = 0;
    fetcher.assign((0..PARTITIONS).map(tp));
    for partition in 0..PARTITIONS {
        fetcher.start(
            &tp(partition),
            StartAt::Offset {
                offset: 0,
                leader_epoch: None,
            },
        );
    }
    fetcher.handle_leaders(|tp| Some(leaders[tp.partition as usize]));
    for step in 0..400 {
        now += Duration::from_millis(rng.u64(0..300));
        let partition = rng.i32(0..PARTITIONS);
        let index = partition as usize;
        match rng.u32(0..20) {
            0 => {
                leaders[index] = leader(rng.i32(0..3), leaders[index].leader_epoch + 1);
                fetcher.handle_leaders(|tp| Some(leaders[tp.partition as usize]));
            }
            1 => {
                let offset = rng.i64(0..200);
                let leader_epoch = rng.bool().then_some(3);
                fetcher.start(&tp(partition), StartAt::Offset { offset, leader_epoch });
                expected[index] = offset;
            }
            2 => drop(fetcher.pause(&tp(partition))),
            3 | 4 => drop(fetcher.resume(&tp(partition))),
            5 if !network.is_empty() => {
                let plan = network.swap_remove(rng.usize(0..network.len()));
                if rng.bool() {
                    let _ = brokers.entry(plan.node_id).or_default().hear(&plan); // The answer is lost on its way.
                }
                fetcher.handle_fetch_failed(now, &plan);
            }
            6..=10 if !network.is_empty() => {
                let plan = network.swap_remove(rng.usize(0..network.len()));
                let broker = brokers.entry(plan.node_id).or_default();
                match rng.u32(0..20) {
                    0 => broker.evict(),
                    1 => broker.lose_count(),
                    _ => {}
                }
                let answer = match broker.hear(&plan) {
                    Ok(asked) => serve(&mut rng, asked),
                    Err(code) => refusal(code),
                };
                fetcher.handle_fetch(now, &plan, VERSION, answer);
            }
            11 | 12 if !lookups.is_empty() => {
                let lookup = lookups.swap_remove(rng.usize(0..lookups.len()));
                let agreed = Position {
                    offset: i64::MAX,
                    leader_epoch: Some(3),
                };
                let found = if rng.bool() {
                    Found::EpochEnd(agreed)
                } else {
                    Found::Retry
                };
                fetcher.handle_found(now, &lookup, found);
            }
            _ => {
                if let Some(fetched) = fetcher.poll_fetched() {
                    let fetched = fetched.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                    let index = fetched.tp.partition as usize;
                    assert_eq!(fetched.first_offset, expected[index], "seed {seed}, step {step}");
                    assert!(fetched.next_offset > fetched.first_offset, "seed {seed}, step {step}");
                    expected[index] = fetched.next_offset;
                    handed_out += 1;
                }
            }
        }
        lookups.extend(fetcher.poll_lookups(now));
        while let Some(plan) = fetcher.poll_fetch(now) {
            network.push(plan);
        }
        let queued: usize = fetcher.partitions.values().map(|state| state.queued_bytes).sum();
        assert_eq!(fetcher.queued_bytes(), queued, "seed {seed}, step {step}");
    }
    let stats = fetcher.stats();
    assert!(stats.unchanged > 0 && stats.lost_sessions > 0, "seed {seed}: {stats:?}");
    assert!(
        handed_out > 5,
        "seed {seed}: only {handed_out} answers reached the application"
    );
}

/// Batches of ten, the one that holds the offset whole, or an error, or nothing new.
fn serve(rng: &mut Rng, asked: Asked) -> FetchResponse {
    let mut answers = Vec::new();
    for (partition, offset) in asked.partitions {
        match rng.u32(0..10) {
            0 => {
                let code = ErrorCode::NOT_LEADER_OR_FOLLOWER.code();
                answers.push(data(partition, &[]).with_error_code(code));
            }
            1..=3 if asked.is_incremental => {}
            _ => {
                let base = offset - offset % 10;
                let batches: Vec<Bytes> = (0..rng.i64(0..3)).map(|n| batch(base + 10 * n, 10)).collect();
                answers.push(data(partition, &batches));
            }
        }
    }
    response(answers).with_session_id(asked.session_id)
}

//! A cluster of three Apache Kafka brokers whose nodes are killed, stopped and paused one after another under load: nothing
//! is lost, nothing is there twice, and the order of each partition is kept.
//!
//! Two producers write all the time, one idempotent, one transactional; two consumers read what they write, and so does a
//! group whose members come and go. At the end
//! Kafka's own console consumer reads both topics from the start, and what it prints is compared record by record with
//! what the producers were told.
//!
//! Nodes are disturbed for `ENGINE_DISTURB_SECONDS` (default 15); `ENGINE_DISTURB_SEED` chooses other nodes in another order.

#[path = "../../../engine/cli/tests/real_broker/cluster.rs"]
mod cluster;
mod disturbance;
mod independent_count;
mod members;
mod readers;
mod topic;
mod writers;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use cluster::Cluster;
use disturbance::{Disturbance, disturb};
use engine_client::IsolationLevel;
use topic::{PARTITIONS, create_topic};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_while_brokers_of_4_4_0_are_killed() {
    load_while_disturbed("killed-brokers", "4.4.0", &[Disturbance::Kill]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_while_brokers_of_3_9_2_restart_in_turn_and_hang() {
    load_while_disturbed("restarts", "3.9.2", &[Disturbance::Restart, Disturbance::Pause]).await;
}

/// Writes and reads while nodes are disturbed, then compares what was told with what is there.
async fn load_while_disturbed(name: &str, version: &str, kinds: &[Disturbance]) {
    let Some(cluster) = Cluster::start_for_long(name, version, 3, &[]) else {
        return;
    };
    let idempotent = create_topic(&cluster, "idempotent").await;
    let transactional = create_topic(&cluster, "transactional").await;
    let is_over = AtomicBool::new(false);
    let run_for = number("ENGINE_DISTURB_SECONDS", 15);
    let seed = number("ENGINE_DISTURB_SEED", 1);
    let started = Instant::now();

    let load = async {
        let writing = async {
            tokio::join!(
                writers::write_idempotent(&idempotent, &is_over),
                writers::write_transactions(&transactional, &is_over),
            )
        };
        let (plain, committed) = tokio::join!(
            readers::LiveReader::start(&idempotent, IsolationLevel::ReadUncommitted),
            readers::LiveReader::start(&transactional, IsolationLevel::ReadCommitted),
        );
        let group = members::Group::start(&idempotent);
        let (sent, committed_sent) = writing.await;
        let (plain, committed, group) = tokio::join!(
            plain.up_to(&sent.by_partition),
            committed.up_to(&committed_sent.by_partition),
            group.up_to(&sent.by_partition)
        );
        (sent, committed_sent, plain, committed, group)
    };
    let (outcome, disturbed) = std::thread::scope(|scope| {
        let disturbing = scope.spawn(|| {
            let _over = SetWhenDropped(&is_over);
            disturb(&cluster, kinds, Duration::from_secs(run_for), seed)
        });
        let outcome = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(load));
        (outcome, disturbing.join().expect("no node refused"))
    });
    let (sent, committed_sent, plain, committed, group) = outcome;

    println!(
        "{version}, 3 nodes, seed {seed}: {disturbed} in {:.0} s",
        started.elapsed().as_secs_f64()
    );
    println!("idempotent: {sent}");
    println!("transactional: {committed_sent}");
    println!("a group: {group}");
    assert!(disturbed.total() > 0, "nothing was disturbed");
    assert_eq!(
        plain.by_partition, sent.by_partition,
        "the live reader of the idempotent topic"
    );
    assert_eq!(
        committed.by_partition, committed_sent.by_partition,
        "the live reader of the committed records"
    );
    group.assert_complete(&sent.by_partition);
    // At once, because most of the time the tool only starts, or waits for more.
    let counted = std::thread::scope(|scope| {
        let cluster = &cluster;
        let count = |topic| scope.spawn(move || independent_count::read_with_kafkas_own_consumer(cluster, topic));
        [&idempotent, &transactional]
            .map(count)
            .map(|count| count.join().expect("is read"))
    });
    for ((topic, sent), counted) in [(&idempotent, &sent), (&transactional, &committed_sent)]
        .into_iter()
        .zip(&counted)
    {
        for partition in 0..PARTITIONS {
            let (sent, counted) = (&sent.by_partition[partition], &counted[partition]);
            let first = sent.iter().zip(counted).position(|(sent, counted)| sent != counted);
            assert!(
                sent == counted,
                "{}-{partition}: {} records sent, {} counted, the first difference is at {first:?}",
                topic.name,
                sent.len(),
                counted.len()
            );
        }
        let total: usize = counted.iter().map(Vec::len).sum();
        println!(
            "{}: Kafka's own consumer counted {total} records, 0 lost, 0 doubled, in order",
            topic.name
        );
    }
}

/// Ends the load also when the thread that disturbs the cluster panics.
struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} = {text:?} is no number"))
    })
}

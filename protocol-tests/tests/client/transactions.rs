//! Transactions on Apache Kafka and on the embedded broker: `isolation.level` on those of raw requests, and our own producer's.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use engine_broker::{Broker, BrokerConfig};
use engine_client::{Codec, ConsumerConfig, IsolationLevel, StartAt};

use crate::cluster::Cluster;
use crate::scene::{Member, Scene, run};
use crate::transactional_producer::ours_do_what_they_promise;
use crate::transactional_writer::TransactionalWriter;

#[tokio::test(flavor = "multi_thread")]
async fn transactions_on_3_9_2_are_written_and_read_as_promised() {
    let Some(cluster) = Cluster::start("transactions-3-9-2", "3.9.2", 1) else {
        return;
    };
    read_as_the_isolation_level_says(&cluster.bootstrap_servers).await;
    ours_do_what_they_promise(&cluster.bootstrap_servers, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_on_4_4_0_are_written_and_read_as_promised() {
    let Some(cluster) = Cluster::start("transactions-4-4-0", "4.4.0", 1) else {
        return;
    };
    read_as_the_isolation_level_says(&cluster.bootstrap_servers).await;
    ours_do_what_they_promise(&cluster.bootstrap_servers, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_on_the_embedded_broker_are_written_and_read_as_promised() {
    for transaction_version in [1, 2] {
        let broker = Broker::start(BrokerConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            transaction_version,
            ..BrokerConfig::default()
        });
        let broker = broker.await.expect("the embedded broker starts");
        let bootstrap_servers = broker.address().to_string();
        read_as_the_isolation_level_says(&bootstrap_servers).await;
        ours_do_what_they_promise(&bootstrap_servers, transaction_version == 2).await;
        broker.shutdown().await;
    }
}

async fn read_as_the_isolation_level_says(bootstrap_servers: &str) {
    aborted_records_are_left_out_whatever_their_codec(bootstrap_servers).await;
    transactions_that_overlap_are_told_apart(bootstrap_servers).await;
    an_emptied_aborted_transaction_swallows_nothing(bootstrap_servers).await;
    an_open_transaction_holds_readers_back(bootstrap_servers).await;
}

async fn aborted_records_are_left_out_whatever_their_codec(bootstrap_servers: &str) {
    let scene = scene(bootstrap_servers).await;
    let mut writer = TransactionalWriter::begin(&scene, "a");
    let (mut committed, mut all) = (Vec::new(), Vec::new());
    for (round, codec) in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4]
        .into_iter()
        .enumerate()
    {
        let first = 100 * round as u32;
        let (kept, dropped) = ([first, first + 1, first + 2], [first + 50, first + 51]);
        writer.add_partition();
        writer.produce(codec, &kept[..2]);
        writer.produce(codec, &kept[2..]);
        writer.end(true);
        writer.add_partition();
        writer.produce(codec, &dropped[..1]);
        writer.produce(codec, &dropped[1..]);
        writer.end(false);
        committed.extend(kept);
        all.extend(kept.iter().chain(&dropped));
    }
    // Four rounds of five records and two markers.
    for bytes_max in [1, 1 << 20] {
        assert_eq!(
            read(&scene, IsolationLevel::ReadCommitted, bytes_max, 0, 28).await,
            committed
        );
        assert_eq!(
            read(&scene, IsolationLevel::ReadUncommitted, bytes_max, 0, 28).await,
            all
        );
    }
    // From the second record of an aborted transaction on, and from its marker on.
    for first in [5, 6] {
        let rest = read(&scene, IsolationLevel::ReadCommitted, 1 << 20, first, 28).await;
        assert_eq!(rest, committed[3..], "from {first}");
    }
}

async fn transactions_that_overlap_are_told_apart(bootstrap_servers: &str) {
    let scene = scene(bootstrap_servers).await;
    let mut kept = TransactionalWriter::begin(&scene, "kept");
    let mut dropped = TransactionalWriter::begin(&scene, "dropped");
    for round in 0..3 {
        kept.add_partition();
        dropped.add_partition();
        kept.produce(Codec::Lz4, &[10 * round, 10 * round + 1]);
        dropped.produce(Codec::Lz4, &[1_000 + round]);
        scene.produce(1, 5_000 + round, 1).await; // Outside of transactions.
        kept.produce(Codec::None, &[10 * round + 2]);
        dropped.produce(Codec::None, &[2_000 + round]);
        // Once the one, once the other ends first.
        if round % 2 == 0 {
            dropped.end(false);
            kept.end(true);
        } else {
            kept.end(true);
            dropped.end(false);
        }
    }
    let committed = [0, 1, 5_000, 2, 10, 11, 5_001, 12, 20, 21, 5_002, 22];
    let all = [
        0, 1, 1_000, 5_000, 2, 2_000, 10, 11, 1_001, 5_001, 12, 2_001, 20, 21, 1_002, 5_002, 22, 2_002,
    ];
    for bytes_max in [1, 1 << 20] {
        assert_eq!(
            read(&scene, IsolationLevel::ReadCommitted, bytes_max, 0, 24).await,
            committed
        );
        assert_eq!(
            read(&scene, IsolationLevel::ReadUncommitted, bytes_max, 0, 24).await,
            all
        );
    }
}

async fn an_emptied_aborted_transaction_swallows_nothing(bootstrap_servers: &str) {
    let scene = scene(bootstrap_servers).await;
    let mut writer = TransactionalWriter::begin(&scene, "a");
    // Its partition got the marker alone.
    writer.add_partition();
    writer.end(false);
    writer.add_partition();
    writer.produce(Codec::None, &[1, 2]);
    writer.end(true);
    assert_eq!(read(&scene, IsolationLevel::ReadCommitted, 1 << 20, 0, 4).await, [1, 2]);
    // Its records are deleted, its marker is not.
    writer.add_partition();
    writer.produce(Codec::Gzip, &[3, 4]);
    writer.end(false);
    writer.add_partition();
    writer.produce(Codec::None, &[5, 6]);
    writer.end(true);
    let deleted = scene.admin().await.delete_records(&[(scene.tp(0), 6)]).await;
    assert_eq!(deleted.expect("answers"), [(scene.tp(0), Ok(6))]);
    for bytes_max in [1, 1 << 20] {
        assert_eq!(
            read(&scene, IsolationLevel::ReadCommitted, bytes_max, 6, 10).await,
            [5, 6]
        );
    }
}

async fn an_open_transaction_holds_readers_back(bootstrap_servers: &str) {
    let scene = scene(bootstrap_servers).await;
    let mut writer = TransactionalWriter::begin(&scene, "a");
    writer.add_partition();
    writer.produce(Codec::None, &[1]);
    writer.end(true);
    writer.add_partition();
    writer.produce(Codec::None, &[2]);
    scene.produce(1, 3, 1).await;

    let mut careful = reader(&scene, IsolationLevel::ReadCommitted, 1 << 20, 0).await;
    run(&mut [&mut careful], "what is committed", |m| !m[0].seen.is_empty()).await;
    assert_eq!(end(&careful, &scene).await, 2, "the last stable offset");
    let mut hasty = reader(&scene, IsolationLevel::ReadUncommitted, 1 << 20, 0).await;
    run(&mut [&mut hasty], "everything", |m| m[0].seen.len() >= 3).await;
    assert_eq!(end(&hasty, &scene).await, 4, "the high watermark");
    assert_eq!(hasty.seen, [1, 2, 3]);
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        careful.step().await;
    }
    assert_eq!(careful.seen, [1], "held back at the open transaction");
    assert_eq!(careful.consumer.position(&scene.tp(0)).map(|at| at.offset), Some(2));
    assert_eq!(
        careful.consumer.lag(&scene.tp(0)),
        Some(0),
        "counted to where it may read"
    );

    writer.end(true);
    run(&mut [&mut careful], "what was held back", |m| m[0].seen.len() >= 3).await;
    assert_eq!(careful.seen, [1, 2, 3]);
    careful.consumer.close().await;
    hasty.consumer.close().await;
}

async fn scene(bootstrap_servers: &str) -> Scene {
    Scene::on(None, bootstrap_servers.to_owned(), 1).await
}

async fn reader(scene: &Scene, isolation_level: IsolationLevel, bytes_max: usize, first: i64) -> Member {
    let config = ConsumerConfig {
        isolation_level,
        partition_fetch_bytes_max: bytes_max,
        ..scene.config()
    };
    let mut member = scene.reader(config).await;
    let start = StartAt::Offset {
        offset: first,
        leader_epoch: None,
    };
    member.consumer.assign([scene.tp(0)]);
    member.consumer.start([(scene.tp(0), start)]).expect("assigned");
    member
}

/// All values from `first` on; the position must end behind the last marker, at `end_offset`.
async fn read(
    scene: &Scene,
    isolation_level: IsolationLevel,
    bytes_max: usize,
    first: i64,
    end_offset: i64,
) -> Vec<u32> {
    let mut member = reader(scene, isolation_level, bytes_max, first).await;
    assert_eq!(end(&member, scene).await, end_offset);
    let tp = scene.tp(0);
    let at_end = |m: &[&mut Member]| m[0].consumer.position(&tp).is_some_and(|at| at.offset == end_offset);
    run(&mut [&mut member], "the position behind the last marker", at_end).await;
    assert!(member.errors.is_empty(), "{:?}", member.errors);
    let committed: BTreeMap<_, _> = member.positions.clone();
    assert!(committed.values().all(|at| at.offset <= end_offset), "{committed:?}");
    let seen = std::mem::take(&mut member.seen);
    member.consumer.close().await;
    seen
}

async fn end(member: &Member, scene: &Scene) -> i64 {
    member.consumer.end_offsets(&[scene.tp(0)]).await.expect("answers")[0].1
}

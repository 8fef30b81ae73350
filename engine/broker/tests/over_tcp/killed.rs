//! A broker on disk that is killed in the middle of its work: nothing that it acknowledged is lost.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use engine_broker::{Broker, BrokerConfig, StartError};
use engine_wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use engine_wire::messages::offset_fetch_request::OffsetFetchRequestTopic;
use engine_wire::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest, ProduceRequest};

use crate::client::{RawClient, batch, name, produce_request, read, start_with, string};

const PARTITIONS: i32 = 4;
const ROUNDS: u64 = 6;
/// Where the child keeps its logs and says its address.
const FOLDER: &str = "ENGINE_BROKER_TEST_FOLDER";

/// By partition and offset, the value that was acknowledged there.
type Acknowledged = BTreeMap<(i32, i64), String>;

fn on_disk(folder: &Path) -> BrokerConfig {
    BrokerConfig {
        data: Some(folder.join("data")),
        default_partitions: PARTITIONS,
        segment_bytes: 20_000,
        ..BrokerConfig::default()
    }
}

/// Not a test by itself: the process that the test below kills.
#[tokio::test(flavor = "multi_thread")]
async fn the_child_that_serves_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let broker = start_with(on_disk(folder)).await;
    let whole = folder.join("address.new");
    fs::write(&whole, broker.address().to_string()).expect("written");
    fs::rename(whole, folder.join("address")).expect("renamed");
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_batches_come_in_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().expect("a directory");
    let mut acknowledged = Acknowledged::new();
    let mut committed = -1;
    for round in 0..ROUNDS {
        let mut child = spawn(folder.path());
        let address = address_of(folder.path(), &mut child).await;
        RawClient::connect_to(address).await.create("t").await;
        let producers: Vec<_> = (0..PARTITIONS)
            .map(|partition| tokio::spawn(produce_until_killed(address, round, partition)))
            .collect();
        let committer = tokio::spawn(commit_until_killed(address, committed));
        tokio::time::sleep(Duration::from_millis(100 + 37 * round)).await;
        child.kill().expect("our own child");
        child.wait().expect("our own child");
        let mut this_round = 0;
        for producer in producers {
            let more = producer.await.expect("no panic");
            this_round += more.len();
            acknowledged.extend(more);
        }
        assert!(this_round > 0, "round {round}: killed before anything was acknowledged");
        committed = committer.await.expect("no panic");

        let broker = restart(folder.path()).await;
        let mut client = RawClient::connect(&broker).await;
        let stored = stored(&mut client).await;
        for (place, value) in &acknowledged {
            assert_eq!(
                stored.get(place),
                Some(value),
                "round {round}: partition and offset {place:?}"
            );
        }
        let found = committed_offset(&mut client).await;
        assert!(
            found >= committed,
            "round {round}: {found} was committed, {committed} acknowledged"
        );
        committed = found;
        drop(client);
        broker.shutdown().await;
    }
}

fn spawn(folder: &Path) -> Child {
    let _ = fs::remove_file(folder.join("address"));
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "killed::the_child_that_serves_until_it_is_killed"])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .spawn()
        .expect("this program runs")
}

async fn address_of(folder: &Path, child: &mut Child) -> SocketAddr {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Ok(address) = fs::read_to_string(folder.join("address")) {
            return address.parse().expect("an address");
        }
        assert!(child.try_wait().expect("our own child").is_none(), "the broker ended");
        assert!(Instant::now() < deadline, "the broker does not start");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn produce_until_killed(address: SocketAddr, round: u64, partition: i32) -> Acknowledged {
    let mut client = RawClient::connect_to(address).await;
    let mut acknowledged = Acknowledged::new();
    for number in 0.. {
        let value = format!("{round}-{number}-{}", "x".repeat(number % 700));
        let request: ProduceRequest = produce_request("t", partition, batch(&[&value]));
        let Some(mut answer) = client.try_ask(9, &request).await else {
            break;
        };
        let produced = answer.responses.remove(0).partition_responses.remove(0);
        assert_eq!(produced.error_code, 0);
        acknowledged.insert((partition, produced.base_offset), value);
    }
    acknowledged
}

/// Commits one offset after the other; the last that was acknowledged.
async fn commit_until_killed(address: SocketAddr, mut committed: i64) -> i64 {
    let mut client = RawClient::connect_to(address).await;
    loop {
        let wanted = OffsetCommitRequestPartition::default()
            .with_committed_offset(committed + 1)
            .with_committed_metadata(Some(string("where we are")));
        let topic = OffsetCommitRequestTopic::default()
            .with_name(name("t"))
            .with_partitions(vec![wanted]);
        let commit = OffsetCommitRequest::default()
            .with_group_id(GroupId(string("g")))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic]);
        match client.try_ask(8, &commit).await {
            Some(answer) => assert_eq!(answer.topics[0].partitions[0].error_code, 0),
            None => return committed,
        }
        committed += 1;
    }
}

async fn committed_offset(client: &mut RawClient) -> i64 {
    let topic = OffsetFetchRequestTopic::default()
        .with_name(name("t"))
        .with_partition_indexes(vec![0]);
    let fetch = OffsetFetchRequest::default()
        .with_group_id(GroupId(string("g")))
        .with_topics(Some(vec![topic]));
    client
        .ask(7, &fetch)
        .await
        .topics
        .remove(0)
        .partitions
        .remove(0)
        .committed_offset
}

async fn stored(client: &mut RawClient) -> Acknowledged {
    let mut stored = Acknowledged::new();
    for partition in 0..PARTITIONS {
        let mut offset = 0;
        loop {
            let fetched = client.fetch("t", partition, offset, 0).await;
            assert_eq!(fetched.error_code, 0);
            let records = read(fetched.records);
            let Some((last, _)) = records.last() else { break };
            offset = last + 1;
            stored.extend(records.into_iter().map(|(offset, value)| ((partition, offset), value)));
        }
    }
    stored
}

/// The killed process lets go of the directory when it is gone; that takes a moment at most.
async fn restart(folder: &Path) -> Broker {
    for _ in 0..200 {
        let listen = ([127, 0, 0, 1], 0).into();
        let config = BrokerConfig {
            listen,
            ..on_disk(folder)
        };
        match Broker::start(config).await {
            Ok(broker) => return broker,
            Err(StartError::Locked { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("the data directory stays locked");
}

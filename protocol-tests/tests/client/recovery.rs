//! All brokers replaced (KIP-899, KIP-1102): clients start again from their bootstrap servers.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use engine_broker::{Broker, BrokerConfig, Fault, FaultAction};
use engine_client::{ClientConfig, ConsumerConfig, MetadataRecoveryStrategy, Producer, ProducerConfig, StartAt};
use engine_wire::error_code::ErrorCode;

use crate::scene::{METADATA, Member, Scene, numbers, run};

/// A cluster of one node that keeps its logs in `data`, and is another node there every time.
async fn broker(data: &Path, node_id: i32, listen: SocketAddr) -> Broker {
    let config = BrokerConfig {
        listen,
        node_id,
        data: Some(data.to_owned()),
        group_session_timeout_min: Duration::from_millis(100),
        ..BrokerConfig::default()
    };
    Broker::start(config).await.expect("the embedded broker starts")
}

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// An address where nobody listens now. Of the 127 network's others than the first, because there every test beside this one
/// takes whatever port is free.
fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.7", 0)).expect("a port");
    listener.local_addr().expect("bound")
}

fn client(servers: &[SocketAddr]) -> ClientConfig {
    ClientConfig {
        bootstrap_servers: servers.iter().map(ToString::to_string).collect(),
        retry_backoff: Duration::from_millis(20),
        retry_backoff_max: Duration::from_millis(100),
        ..ClientConfig::default()
    }
}

async fn reader(scene: &Scene, client: ClientConfig) -> Member {
    let config = ConsumerConfig {
        client,
        ..scene.config()
    };
    let mut member = scene.reader(config).await;
    member.consumer.assign([scene.tp(0)]);
    let start = (scene.tp(0), StartAt::Earliest);
    member.consumer.start([start]).expect("assigned");
    member
}

async fn producer(client: ClientConfig) -> Producer {
    let config = ProducerConfig {
        client,
        ..ProducerConfig::default()
    };
    Producer::connect(config).await.expect("connects")
}

#[tokio::test]
async fn clients_follow_a_cluster_whose_brokers_are_all_replaced() {
    let data = tempfile::tempdir().expect("a folder");
    let second = free_address();
    let old = broker(data.path(), 1, ANY_PORT).await;
    let servers = [old.address(), second];
    let scene = Scene::on(None, old.address().to_string(), 1).await;
    let mut member = reader(&scene, client(&servers)).await;
    let producer = producer(client(&servers)).await;
    scene.write(&producer, 1, 0, 50).await;
    // One alone, one in a group: its coordinator is replaced, too.
    let config = ConsumerConfig {
        client: client(&servers),
        ..scene.config()
    };
    let mut in_group = scene.reader(config).await;
    in_group
        .consumer
        .subscribe([scene.topic.as_str()])
        .expect("has a group");
    let both = |m: &[&mut Member], count| m.iter().all(|member| member.seen.len() >= count);
    run(&mut [&mut member, &mut in_group], "50 records", |m| both(m, 50)).await;
    in_group.commit().await.expect("is a member");
    old.shutdown().await;
    let new = broker(data.path(), 2, second).await;
    scene.write(&producer, 1, 50, 50).await;
    run(&mut [&mut member, &mut in_group], "50 more", |m| both(m, 100)).await;
    for member in [member, in_group] {
        assert_eq!(member.seen, numbers(0..100));
        assert!(member.errors.is_empty(), "{:?}", member.errors);
        member.consumer.close().await;
    }
    new.shutdown().await;
}

/// A cluster that stops giving metadata, and another one that is started at the second bootstrap server meanwhile,
/// with a topic of the same name.
struct Replacement {
    old: Broker,
    new: Broker,
    scene: Scene,
    member: Member,
}

/// Every Metadata request at the old cluster meets `action` from now on.
async fn replaced(action: FaultAction, change: impl FnOnce(&mut ClientConfig)) -> Replacement {
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let second = free_address();
    let old = broker(folders[0].path(), 1, ANY_PORT).await;
    let scene = Scene::on(None, old.address().to_string(), 1).await;
    let mut config = client(&[old.address(), second]);
    config.metadata_age_max = Duration::from_millis(100);
    change(&mut config);
    scene.produce(1, 0, 10).await;
    let mut member = reader(&scene, config).await;
    run(&mut [&mut member], "10 records", |m| m[0].seen.len() >= 10).await;
    let new = broker(folders[1].path(), 2, second).await;
    let elsewhere = Scene {
        broker: None,
        bootstrap: second.to_string(),
        topic: scene.topic.clone(),
    };
    elsewhere.produce(1, 10, 10).await;
    old.inject(Fault {
        times: u32::MAX,
        ..Fault::once(METADATA, action)
    });
    Replacement {
        old,
        new,
        scene,
        member,
    }
}

impl Replacement {
    async fn expect_records_of_the_new_cluster(mut self) {
        run(&mut [&mut self.member], "the new cluster's records", |m| {
            m[0].seen.len() >= 20
        })
        .await;
        assert_eq!(self.member.seen, numbers(0..20));
        self.close().await;
    }

    async fn close(self) {
        self.member.consumer.close().await;
        self.old.shutdown().await;
        self.new.shutdown().await;
    }
}

#[tokio::test]
async fn brokers_that_give_no_metadata_for_long_are_given_up() {
    let replacement = replaced(FaultAction::Disconnect, |config| {
        config.metadata_recovery_rebootstrap_trigger = Duration::from_millis(300);
    });
    replacement.await.expect_records_of_the_new_cluster().await;
}

#[tokio::test]
async fn a_broker_that_says_so_sends_clients_back_to_their_bootstrap_servers() {
    let required = FaultAction::Error(ErrorCode::REBOOTSTRAP_REQUIRED);
    let replacement = replaced(required, |_| {}).await;
    replacement.expect_records_of_the_new_cluster().await;
}

#[tokio::test]
async fn without_recovery_clients_stay_with_the_brokers_they_know() {
    for action in [
        FaultAction::Disconnect,
        FaultAction::Error(ErrorCode::REBOOTSTRAP_REQUIRED),
    ] {
        let mut replacement = replaced(action, |config| {
            config.metadata_recovery_strategy = MetadataRecoveryStrategy::None;
            config.metadata_recovery_rebootstrap_trigger = Duration::from_millis(100);
        })
        .await;
        let member = &mut replacement.member;
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            member.step().await;
        }
        assert_eq!(member.seen, numbers(0..10), "{action:?}");
        replacement.old.clear_faults();
        replacement.scene.produce(1, 10, 5).await;
        run(&mut [&mut *member], "5 more of the old cluster", |m| {
            m[0].seen.len() >= 15
        })
        .await;
        assert!(member.errors.is_empty(), "{:?}", member.errors);
        replacement.close().await;
    }
}

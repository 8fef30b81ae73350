//! The cluster: finding it, its brokers, its leaders, and connections that rest.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use engine_client::{Admin, ProduceRecord, StartAt};
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::{
    AlterPartitionReassignmentsRequest, ApiKey, BrokerId, FetchRequest, StrBytes, TopicName,
    alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic},
    fetch_request::{FetchPartition, FetchTopic},
};

use crate::behaviour::{Shown, behaviours, cannot};
use crate::raw_connection::RawConnection;
use crate::reading::{numbers, read_count, reader_at};
use crate::scene::{Scene, tp, write_with};

behaviours! { "Cluster":
    the_cluster_is_described_with_its_brokers_and_its_controller,
    each_broker_alone_leads_to_the_whole_cluster,
    a_bootstrap_server_that_is_down_is_passed_over,
    no_bootstrap_server_at_all_is_an_error_that_names_them,
    features_are_told_as_the_broker_tells_them,
    connections_that_were_idle_are_opened_again,
    partitions_of_a_topic_are_led_by_different_brokers_and_read_from_all,
    a_consumer_in_a_rack_reads_from_the_replica_there,
    producer_and_consumer_follow_a_leader_that_moves,
}

async fn the_cluster_is_described_with_its_brokers_and_its_controller(scene: Scene) -> Shown {
    let cluster = scene.admin().await.describe_cluster().await.expect("answers");
    assert!(cluster.cluster_id.is_some_and(|id| !id.is_empty()));
    let controller = cluster.controller.expect("there is a controller");
    assert!(cluster.brokers.iter().any(|broker| broker.node_id == controller));
    let listed = scene.facts.bootstrap.split(',').count();
    assert_eq!(cluster.brokers.len(), listed, "{:?}", cluster.brokers);
    Ok(())
}

async fn each_broker_alone_leads_to_the_whole_cluster(scene: Scene) -> Shown {
    let brokers = scene.facts.cluster.brokers.clone();
    for broker in &brokers {
        let mut config = scene.client_config();
        config.bootstrap_servers = vec![format!("{}:{}", broker.host, broker.port)];
        let admin = Admin::connect(config).await.expect("connects");
        assert_eq!(admin.describe_cluster().await.expect("answers").brokers, brokers);
    }
    Ok(())
}

async fn a_bootstrap_server_that_is_down_is_passed_over(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let producer = scene
        .producer(|config| config.client.bootstrap_servers.insert(0, "127.0.0.1:1".into()))
        .await;
    write_with(&producer, &topic, 0, 0..3).await;
    let mut consumer = scene
        .consumer(|config| config.client.bootstrap_servers.insert(0, "127.0.0.1:1".into()))
        .await;
    consumer.assign([tp(&topic, 0)]);
    consumer
        .start([(tp(&topic, 0), StartAt::Earliest)])
        .expect("just assigned");
    assert_eq!(numbers(&read_count(&mut consumer, 3).await), [0, 1, 2]);
    Ok(())
}

async fn no_bootstrap_server_at_all_is_an_error_that_names_them(scene: Scene) -> Shown {
    let mut config = scene.client_config();
    config.bootstrap_servers = vec!["127.0.0.1:1".into()];
    config.connection_setup_timeout = Duration::from_millis(500);
    let started = Instant::now();
    let error = Admin::connect(config).await.expect_err("nobody is there");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let mut told = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(source) = cause {
        told = format!("{told}: {source}");
        cause = source.source();
    }
    assert!(told.contains("127.0.0.1:1"), "{told}");
    Ok(())
}

async fn features_are_told_as_the_broker_tells_them(scene: Scene) -> Shown {
    let supported = scene.admin().await.supported_features().await.expect("answers");
    for (name, level) in &scene.facts.features {
        let newest = supported.get(name).copied().unwrap_or(0);
        assert!(newest >= *level, "{name}: {level} is in force, {newest} is supported");
    }
    match supported.is_empty() {
        true => cannot("tells of no features"),
        false => Ok(()),
    }
}

async fn connections_that_were_idle_are_opened_again(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let idle = Duration::from_millis(300);
    let producer = scene.producer(|config| config.client.connections_idle_max = idle).await;
    let admin = {
        let mut config = scene.client_config();
        config.connections_idle_max = idle;
        Admin::connect(config).await.expect("connects")
    };
    for round in 0..3 {
        write_with(&producer, &topic, 0, 10 * round..10 * round + 2).await;
        admin.describe_cluster().await.expect("answers");
        tokio::time::sleep(4 * idle).await;
    }
    assert_eq!(numbers(&scene.read_topic(&topic, 1).await), [0, 1, 10, 11, 20, 21]);
    Ok(())
}

async fn partitions_of_a_topic_are_led_by_different_brokers_and_read_from_all(scene: Scene) -> Shown {
    scene.needs_brokers(2)?;
    let topic = scene.topic(6).await;
    scene.known_everywhere(&topic, |_| true).await;
    let admin = scene.admin().await;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let described = admin
            .describe_topics(&[&topic])
            .await
            .expect("answers")
            .remove(0)
            .1
            .expect("exists");
        let mut leaders: Vec<i32> = described.partitions.iter().filter_map(|it| it.leader).collect();
        leaders.sort_unstable();
        leaders.dedup();
        if leaders.len() >= 2 {
            break;
        }
        assert!(Instant::now() < deadline, "all are led by {leaders:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let producer = scene.producer(|_| {}).await;
    for partition in 0..6 {
        let first = 10 * partition as u32;
        write_with(&producer, &topic, partition, first..first + 5).await;
    }
    let read = scene.read_topic(&topic, 6).await;
    for partition in 0..6 {
        let first = 10 * partition as u32;
        let expected: Vec<u32> = (first..first + 5).collect();
        assert_eq!(crate::reading::numbers_of(&read, partition), expected);
    }
    Ok(())
}

async fn a_consumer_in_a_rack_reads_from_the_replica_there(scene: Scene) -> Shown {
    scene.needs_brokers(2)?;
    scene.needs(ApiKey::Fetch, 11)?;
    let topic = scene.topic(1).await;
    let admin = scene.admin().await;
    let partition = loop {
        let described = admin.describe_topics(&[&topic]).await.expect("answers").remove(0).1;
        let mut partitions = described.map(|topic| topic.partitions).unwrap_or_default();
        match partitions.pop() {
            Some(partition) if partition.leader.is_some() => break partition,
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let follower = partition.replicas.iter().find(|node| Some(**node) != partition.leader);
    let brokers = &scene.facts.cluster.brokers;
    let follower = follower.and_then(|node| brokers.iter().find(|broker| broker.node_id == *node));
    let Some(rack) = follower.and_then(|broker| broker.rack.clone()) else {
        return cannot("has no follower of the partition that names a rack");
    };
    let mut consumer = scene
        .consumer(|config| {
            config.client_rack = Some(rack.clone());
            config.fetch_wait_max = Duration::from_millis(100);
        })
        .await;
    consumer.assign([tp(&topic, 0)]);
    consumer
        .start([(tp(&topic, 0), StartAt::Earliest)])
        .expect("just assigned");
    let deadline = Instant::now() + Duration::from_secs(15);
    let producer = scene.producer(|_| {}).await;
    let mut next = 0;
    // The first fetch asks the leader, which names the replica; a follower that is not in sync is not named yet.
    while consumer.stats().fetch.from_followers == 0 {
        if Instant::now() >= deadline {
            let named = scene.replica_named_by_leader(&topic, &rack).await;
            assert_eq!(named, -1, "the leader names it, and only the leader was read");
            return cannot("has leaders that name no replica to consumers in its rack (replica.selector.class)");
        }
        write_with(&producer, &topic, 0, next..next + 3).await;
        assert_eq!(numbers(&read_count(&mut consumer, 3).await), [next, next + 1, next + 2]);
        next += 3;
    }
    Ok(())
}

async fn producer_and_consumer_follow_a_leader_that_moves(scene: Scene) -> Shown {
    scene.needs_brokers(2)?;
    scene.needs(ApiKey::AlterPartitionReassignments, 0)?;
    let topic = scene.topic(1).await;
    let first_leader = scene.leader_address(&topic, 0).await;
    let producer = scene.producer(|config| config.linger = Duration::ZERO).await;
    let stopped = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let (topic, stopped) = (topic.clone(), Arc::clone(&stopped));
        async move {
            let mut receipts = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let value = receipts.len().to_string();
                let record = ProduceRecord {
                    topic: &topic,
                    partition: Some(0),
                    value: Some(value.as_bytes()),
                    ..ProduceRecord::default()
                };
                receipts.push(producer.send(record).await.expect("is accepted"));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            for receipt in &receipts {
                receipt.delivered().await.expect("is delivered");
            }
            receipts.len()
        }
    });
    let mut consumer = reader_at(&scene, &tp(&topic, 0), StartAt::Earliest).await;
    let mut read = read_count(&mut consumer, 20).await;
    let mut leaders = vec![first_leader];
    for broker in scene.facts.cluster.brokers.iter().cycle().take(4) {
        let address = format!("{}:{}", broker.host, broker.port);
        reassign(&scene, &topic, broker.node_id).await;
        let deadline = Instant::now() + Duration::from_secs(30);
        while scene.leader_address(&topic, 0).await != address {
            if Instant::now() >= deadline {
                stopped.store(true, Ordering::Relaxed);
                writing.await.expect("everything is delivered");
                return cannot("takes a reassignment, and 30 s later the leader is the old one");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        leaders.push(address);
        read.extend(read_count(&mut consumer, 20).await);
    }
    leaders.dedup();
    assert!(leaders.len() > 2, "the leader did not move: {leaders:?}");
    stopped.store(true, Ordering::Relaxed);
    let written = writing.await.expect("everything is delivered");
    read.extend(read_count(&mut consumer, written - read.len()).await);
    assert_eq!(
        numbers(&read),
        (0..written as u32).collect::<Vec<_>>(),
        "once and in order"
    );
    Ok(())
}

impl Scene {
    /// Which replica of partition 0 its leader names to a consumer in this rack; -1 for none.
    async fn replica_named_by_leader(&self, topic: &str, rack: &str) -> i32 {
        const FETCH_VERSION: i16 = 11;
        let mut connection = RawConnection::open(&self.leader_address(topic, 0).await).await;
        let partition = FetchPartition::default().with_partition_max_bytes(1_000);
        let topics = FetchTopic::default()
            .with_topic(TopicName(StrBytes::from_string(topic.to_owned())))
            .with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_bytes(1_000)
            .with_session_epoch(-1)
            .with_topics(vec![topics])
            .with_rack_id(StrBytes::from_string(rack.to_owned()));
        let answer = connection.ask(FETCH_VERSION, &request).await;
        answer.responses[0].partitions[0].preferred_read_replica.0
    }
}

/// Makes one broker the only replica; a topic of the test can do with that.
async fn reassign(scene: &Scene, topic: &str, node_id: i32) {
    let mut connection = RawConnection::open(&scene.facts.bootstrap).await;
    let partition = ReassignablePartition::default()
        .with_partition_index(0)
        .with_replicas(Some(vec![BrokerId(node_id)]));
    let topics = ReassignableTopic::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partitions(vec![partition]);
    let request = AlterPartitionReassignmentsRequest::default()
        .with_timeout_ms(30_000)
        .with_topics(vec![topics]);
    let answer = connection.ask(0, &request).await;
    let code = ErrorCode::from(answer.error_code);
    assert!(code.is_ok(), "{code}");
    let code = ErrorCode::from(answer.responses[0].partitions[0].error_code);
    assert!(code.is_ok(), "{code}");
}

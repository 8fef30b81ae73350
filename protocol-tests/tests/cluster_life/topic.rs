//! A topic on all three nodes, and the numbers that were written to it.

use engine_client::{Admin, ClientConfig, TopicPartition, admin::NewTopic};

use crate::cluster::Cluster;

pub(crate) const PARTITIONS: usize = 6;

/// A topic of [`PARTITIONS`] partitions.
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) bootstrap_servers: Vec<String>,
}

impl Topic {
    pub(crate) fn partitions(&self) -> impl Iterator<Item = TopicPartition> {
        let partitions = 0..i32::try_from(PARTITIONS).expect("small");
        partitions.map(|partition| TopicPartition::new(self.name.as_str(), partition))
    }
}

/// The numbers in each partition, in order.
pub(crate) type Numbers = [Vec<u64>; PARTITIONS];

pub(crate) async fn create_topic(cluster: &Cluster, name: &str) -> Topic {
    let bootstrap_servers: Vec<String> = cluster.bootstrap_servers.split(',').map(str::to_owned).collect();
    let config = ClientConfig {
        bootstrap_servers: bootstrap_servers.clone(),
        ..ClientConfig::default()
    };
    let topic = NewTopic {
        name: name.to_owned(),
        partitions: Some(i32::try_from(PARTITIONS).expect("small")),
        replication_factor: Some(3),
        ..NewTopic::default()
    };
    let admin = Admin::connect(config).await.expect("connects");
    let created = admin.create_topics(&[topic]).await.expect("answers");
    assert_eq!(created, [(name.to_owned(), Ok(()))]);
    Topic {
        name: name.to_owned(),
        bootstrap_servers,
    }
}

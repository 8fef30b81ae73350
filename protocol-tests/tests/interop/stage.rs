//! A broker with fresh topics, and the two clients.

use std::{collections::BTreeMap, time::Duration};

use engine_broker::{Broker, BrokerConfig};
use engine_client::{Admin, ClientConfig, admin::NewTopic};

use crate::client::{Clients, Reading};

pub(crate) async fn embedded_broker() -> Broker {
    let config = BrokerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        group_initial_rebalance_delay: Duration::ZERO,
        ..BrokerConfig::default()
    };
    Broker::start(config).await.expect("the embedded broker starts")
}

pub(crate) struct Stage {
    pub(crate) bootstrap: String,
    pub(crate) peer_name: String,
    pub(crate) clients: Clients,
    pub(crate) topics: u32,
    /// What the peer is known to do otherwise, as far as the behaviour met it.
    pub(crate) exceptions: Vec<String>,
}

impl Stage {
    /// A topic that nobody has used.
    pub(crate) async fn topic(&mut self, partitions: i32) -> Result<String, String> {
        self.topics += 1;
        let name = format!("interop-{}-{}-{}", self.peer_name, std::process::id(), self.topics);
        let topic = NewTopic {
            name: name.clone(),
            partitions: Some(partitions),
            replication_factor: Some(1),
            configs: BTreeMap::from([
                ("max.message.bytes".to_owned(), (16 << 20).to_string()),
                // The records' timestamps are years old: a broker's retention would take them within half a minute.
                ("retention.ms".to_owned(), "-1".to_owned()),
            ]),
        };
        let admin = Admin::connect(ClientConfig::new(&self.bootstrap)).await;
        let created = admin.map_err(|error| error.to_string())?.create_topics(&[topic]).await;
        match created.map_err(|error| error.to_string())?.pop() {
            Some((_, Ok(()))) => Ok(name),
            Some((name, Err(error))) => Err(format!("{name}: {error}")),
            None => Err(format!("{name}: no answer")),
        }
    }

    pub(crate) fn reading<'a>(bootstrap: &'a str, topic: &'a str, count: usize) -> Reading<'a> {
        Reading {
            bootstrap,
            topic,
            partitions: 1,
            count,
            read_committed: true,
        }
    }
}

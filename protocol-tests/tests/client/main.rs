//! The client against a broker: producing, fetching, groups, commits, administration.
//!
//! Runs on the embedded broker. With `ENGINE_TEST_BOOTSTRAP=host:port` the consumer's tests that inject no fault
//! run on that cluster instead, an Apache Kafka for example. One program, because each costs its linking.

mod administration;
#[path = "../../../engine/cli/tests/real_broker/cluster.rs"]
mod cluster;
mod commits;
mod compaction;
mod connecting;
mod examples;
mod fetch_sessions;
mod fetching;
mod groups;
mod growing_topics;
mod half_open;
mod hardships;
mod producing;
mod producing_given_up;
mod producing_order;
mod recovery;
mod recreated;
mod replicas;
mod scene;
mod silences;
mod sticky_groups;
mod transactional_faults;
mod transactional_producer;
mod transactional_writer;
mod transactions;

//! What the client knows about the cluster, and when it asks again.
//!
//! [`ClusterMetadata`] is the cache: brokers, topics with their ids, leaders and epochs.
//! [`MetadataRefresh`] decides when a Metadata request goes out; however many parts of the
//! client ask for one when a broker dies, only one is in flight.
//! Never here: sockets, connections, who the caller is.

mod metadata;
mod refresh;

pub use metadata::{Broker, ClusterMetadata, Leader, PartitionMetadata, TopicMetadata};
pub use refresh::{MetadataRefresh, RefreshPolicy, RefreshRequest, RefreshSource, RefreshTicket};

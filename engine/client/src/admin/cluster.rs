//! The cluster: its id, its controller, its brokers.

use engine_wire::messages::DescribeClusterRequest;

use super::{Admin, AdminError, Refusal};
use crate::{
    cluster::{Lane, NodeTarget},
    connection::RequestError,
};

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDescription {
    /// Its id, if the brokers tell.
    pub cluster_id: Option<String>,
    /// The controller's node id (under KRaft: any broker, which forwards).
    pub controller: Option<i32>,
    /// By node id.
    pub brokers: Vec<BrokerDescription>,
}

/// One broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerDescription {
    /// The node id.
    pub node_id: i32,
    /// The advertised host.
    pub host: String,
    /// The advertised port.
    pub port: i32,
    /// The rack, if it has one.
    pub rack: Option<String>,
}

impl Admin {
    /// The cluster now: DescribeCluster, or Metadata where brokers do not have that (before 2.8).
    ///
    /// # Errors
    /// If the request fails or is refused.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, AdminError> {
        let timeout = self.cluster.config().request_timeout;
        let ask = || {
            let request = DescribeClusterRequest::default();
            self.cluster.request(NodeTarget::Any, Lane::Control, request, timeout)
        };
        let response = match self.read(self.deadline(), ask).await {
            Err(RequestError::Version { .. }) => return self.cluster_from_metadata().await,
            response => response?,
        };
        Refusal::check(response.error_code, response.error_message).map_err(|refusal| AdminError::Refused {
            operation: "describe cluster",
            refusal,
        })?;
        let mut brokers: Vec<_> = response
            .brokers
            .into_iter()
            .map(|broker| BrokerDescription {
                node_id: broker.broker_id.0,
                host: broker.host.to_string(),
                port: broker.port,
                rack: broker.rack.map(|rack| rack.to_string()),
            })
            .collect();
        brokers.sort_by_key(|broker| broker.node_id);
        Ok(ClusterDescription {
            cluster_id: Some(response.cluster_id.to_string()).filter(|id| !id.is_empty()),
            controller: Some(response.controller_id.0).filter(|id| *id >= 0),
            brokers,
        })
    }

    async fn cluster_from_metadata(&self) -> Result<ClusterDescription, AdminError> {
        let ticket = self.cluster.refresh_metadata();
        self.cluster.wait_refreshed(ticket, self.deadline()).await?;
        let metadata = self.cluster.metadata();
        let brokers = metadata.brokers().map(|broker| BrokerDescription {
            node_id: broker.node_id,
            host: broker.host.to_string(),
            port: broker.port.into(),
            rack: broker.rack.as_ref().map(ToString::to_string),
        });
        Ok(ClusterDescription {
            cluster_id: metadata.cluster_id().map(ToString::to_string),
            controller: metadata.controller_id(),
            brokers: brokers.collect(),
        })
    }
}

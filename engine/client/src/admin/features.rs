//! What a broker says of its abilities beyond the versions of its APIs (KIP-584).

use std::collections::BTreeMap;

use engine_wire::messages::{ApiVersionsRequest, StrBytes};

use super::{Admin, AdminError};
use crate::cluster::{Lane, NodeTarget};

impl Admin {
    /// The newest level of every feature that one broker of the cluster supports, by the feature's name. Empty where
    /// brokers do not tell: those of Apache Kafka do since 2.7.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn supported_features(&self) -> Result<BTreeMap<String, i16>, AdminError> {
        let timeout = self.cluster.config().request_timeout;
        let build = |version| match version {
            // Older ones have no body at all.
            0..3 => ApiVersionsRequest::default(),
            _ => ApiVersionsRequest::default()
                .with_client_software_name(StrBytes::from_static_str(env!("CARGO_PKG_NAME")))
                .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION"))),
        };
        let response = self
            .cluster
            .request_with(NodeTarget::Any, Lane::Control, None, build, timeout)
            .await?;
        let features = response.supported_features.into_iter();
        Ok(features
            .map(|feature| (feature.name.to_string(), feature.max_version))
            .collect())
    }
}

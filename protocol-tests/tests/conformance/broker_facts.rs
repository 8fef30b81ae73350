//! What a broker says of itself: its APIs, its features, its cluster.
//!
//! Asked once, over a connection of its own, before the behaviours run.

use std::collections::BTreeMap;

use engine_client::{Admin, ClientConfig, admin::ClusterDescription};
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::{ApiKey, ApiVersionsRequest, StrBytes};

use crate::raw_connection::RawConnection;

/// The version of ApiVersions that tells features; brokers from 2.4 on have it.
const API_VERSIONS_WITH_FEATURES: i16 = 3;

/// As a fresh connection to the bootstrap servers tells.
#[derive(Debug, Clone)]
pub(crate) struct BrokerFacts {
    /// `bootstrap.servers`.
    pub(crate) bootstrap: String,
    /// Oldest and newest version, by the API's number.
    pub(crate) apis: BTreeMap<i16, (i16, i16)>,
    /// Levels in force (KIP-584).
    pub(crate) features: BTreeMap<String, i16>,
    /// Brokers, racks, controller.
    pub(crate) cluster: ClusterDescription,
}

impl BrokerFacts {
    pub(crate) async fn ask(bootstrap: &str) -> Self {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("conformance"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let mut connection = RawConnection::open(bootstrap).await;
        let answer = connection.ask(API_VERSIONS_WITH_FEATURES, &request).await;
        assert!(
            ErrorCode::from(answer.error_code).is_ok(),
            "ApiVersions {API_VERSIONS_WITH_FEATURES} is refused with {}",
            answer.error_code
        );
        let apis = answer.api_keys.iter();
        let features = answer.finalized_features.iter();
        let admin = Admin::connect(ClientConfig::new(bootstrap)).await.expect("connects");
        Self {
            bootstrap: bootstrap.to_owned(),
            apis: apis
                .map(|api| (api.api_key, (api.min_version, api.max_version)))
                .collect(),
            features: features
                .map(|feature| (feature.name.to_string(), feature.max_version_level))
                .collect(),
            cluster: admin.describe_cluster().await.expect("answers"),
        }
    }

    /// Whether the broker has this API in this version.
    pub(crate) fn offers(&self, api: ApiKey, version: i16) -> bool {
        let range = self.apis.get(&(api as i16));
        range.is_some_and(|(min, max)| (*min..=*max).contains(&version))
    }

    /// Oldest and newest version, as text: `0–13`, or `none`.
    pub(crate) fn versions(&self, api: ApiKey) -> String {
        match self.apis.get(&(api as i16)) {
            Some((min, max)) => format!("{min}–{max}"),
            None => "none".into(),
        }
    }

    /// The level of a feature, 0 if the broker does not have it.
    pub(crate) fn feature(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }
}

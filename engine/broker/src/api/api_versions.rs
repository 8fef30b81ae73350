//! ApiVersions: what this broker can be asked (KIP-35, KIP-511).

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use engine_wire::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse, StrBytes};

use crate::exchange::Asker;
use crate::node::Node;
use crate::supported::SUPPORTED;

/// A feature of this broker alone (KIP-584): who asks can tell that it is no Apache Kafka. Older versions of the
/// answer have no room for features.
const FEATURE: &str = "engine.broker";

/// The feature that tells a producer which protocol its transactions follow (KIP-890).
const TRANSACTION_VERSION: &str = "transaction.version";
const TRANSACTION_VERSION_MAX: i16 = 2;

pub(super) fn handle(node: &Arc<Node>, asker: Asker<'_>, _: ApiVersionsRequest) -> ApiVersionsResponse {
    let supported = |name, min, max| {
        SupportedFeatureKey::default()
            .with_name(StrBytes::from_static_str(name))
            .with_min_version(min)
            .with_max_version(max)
    };
    // Before version 4, clients take a feature that begins at 0 for an error (KAFKA-17011).
    let transaction_version_min = if asker.version >= 4 { 0 } else { 1 };
    let response = ApiVersionsResponse::default()
        .with_api_keys(SUPPORTED.iter().map(api_version).collect())
        .with_supported_features(vec![
            supported(FEATURE, 1, 1),
            supported(TRANSACTION_VERSION, transaction_version_min, TRANSACTION_VERSION_MAX),
        ]);
    match node.config.transaction_version {
        level @ 1..=TRANSACTION_VERSION_MAX => response.with_finalized_features_epoch(0).with_finalized_features(vec![
            FinalizedFeatureKey::default()
                .with_name(StrBytes::from_static_str(TRANSACTION_VERSION))
                .with_max_version_level(level)
                .with_min_version_level(level),
        ]),
        _ => response,
    }
}

pub(super) fn failed(_: Asker<'_>, _: ApiVersionsRequest, code: ErrorCode) -> ApiVersionsResponse {
    ApiVersionsResponse::default().with_error_code(code.code())
}

/// The answer, always in version 0, to a version we do not know; it names only ApiVersions itself.
pub(super) fn unsupported_version() -> ApiVersionsResponse {
    let this = SUPPORTED.iter().filter(|(api, ..)| *api == ApiKey::ApiVersions);
    ApiVersionsResponse::default()
        .with_error_code(ErrorCode::UNSUPPORTED_VERSION.code())
        .with_api_keys(this.map(api_version).collect())
}

fn api_version((api, min, max): &(ApiKey, i16, i16)) -> ApiVersion {
    ApiVersion::default()
        .with_api_key(*api as i16)
        .with_min_version(*min)
        .with_max_version(*max)
}

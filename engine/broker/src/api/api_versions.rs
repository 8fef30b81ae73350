//! ApiVersions: what this broker can be asked (KIP-35, KIP-511).

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::api_versions_response::{ApiVersion, SupportedFeatureKey};
use engine_wire::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse, StrBytes};

use crate::exchange::Asker;
use crate::node::Node;
use crate::supported::SUPPORTED;

/// The one feature that this broker names (KIP-584): who asks can tell that it is no Apache Kafka. Older versions of the
/// answer have no room for it.
const FEATURE: &str = "engine.broker";

pub(super) fn handle(_: &Arc<Node>, _: Asker<'_>, _: ApiVersionsRequest) -> ApiVersionsResponse {
    let this_broker = SupportedFeatureKey::default()
        .with_name(StrBytes::from_static_str(FEATURE))
        .with_min_version(1)
        .with_max_version(1);
    ApiVersionsResponse::default()
        .with_api_keys(SUPPORTED.iter().map(api_version).collect())
        .with_supported_features(vec![this_broker])
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

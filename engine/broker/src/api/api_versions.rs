//! ApiVersions: what this broker can be asked (KIP-35, KIP-511).

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::api_versions_response::ApiVersion;
use engine_wire::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};

use crate::exchange::Asker;
use crate::node::Node;
use crate::supported::SUPPORTED;

pub(super) fn handle(_: &Arc<Node>, _: Asker<'_>, _: ApiVersionsRequest) -> ApiVersionsResponse {
    ApiVersionsResponse::default().with_api_keys(SUPPORTED.iter().map(api_version).collect())
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

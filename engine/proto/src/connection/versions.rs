//! Which version of which request both sides speak.
//!
//! Never here: encoding; a range is only two numbers.

use std::collections::BTreeMap;

use engine_wire::messages::{ApiKey, ApiVersionsResponse};

/// Versions `min..=max` of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiRange {
    /// The oldest version.
    pub min: i16,
    /// The newest version.
    pub max: i16,
}

/// The versions of `api_key` that this client writes.
///
/// Produce and Fetch stop at 12, the last that name topics: whoever has an id for each topic may ask
/// for more (see [`RequestPlan::has_topic_ids`](crate::producer::RequestPlan::has_topic_ids) and
/// [`FetchPlan::has_topic_ids`](crate::fetch::plan::FetchPlan::has_topic_ids)).
/// Metadata starts at 4, the first that can forbid topic creation.
pub fn client_range(api_key: ApiKey) -> ApiRange {
    let known = api_key.valid_versions();
    let (min, max) = match api_key {
        ApiKey::Produce => (3, 12),
        ApiKey::Fetch => (4, 12),
        ApiKey::Metadata => (4, 13),
        _ => (i16::MIN, i16::MAX),
    };
    ApiRange {
        min: known.min.max(min),
        max: known.max.min(max),
    }
}

/// The versions that a broker announced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiRanges {
    ranges: BTreeMap<i16, ApiRange>,
    transaction_version: i16,
}

impl ApiRanges {
    /// What an ApiVersions response lists. Ranges that are empty or negative are left out.
    pub fn from_response(response: &ApiVersionsResponse) -> Self {
        let ranges = response
            .api_keys
            .iter()
            .filter(|api| api.min_version >= 0 && api.min_version <= api.max_version)
            .map(|api| {
                let (min, max) = (api.min_version, api.max_version);
                (api.api_key, ApiRange { min, max })
            })
            .collect();
        let features = response.finalized_features.iter();
        let transaction_version = features
            .filter(|feature| &*feature.name == "transaction.version")
            .map(|feature| feature.max_version_level)
            .next();
        Self {
            ranges,
            transaction_version: transaction_version.unwrap_or(0),
        }
    }

    /// The finalized level of the feature `transaction.version` as of the handshake; 0 where brokers do not tell. From 2 on
    /// they speak the newer protocol of transactions (KIP-890).
    pub fn transaction_version(&self) -> i16 {
        self.transaction_version
    }

    /// The broker's versions of `api_key`, if it knows the request.
    pub fn broker_range(&self, api_key: ApiKey) -> Option<ApiRange> {
        self.ranges.get(&(api_key as i16)).copied()
    }

    /// The newest version of `api_key` that both sides speak.
    pub fn negotiate(&self, api_key: ApiKey) -> Result<i16, VersionError> {
        self.negotiate_within(api_key, client_range(api_key))
    }

    /// The newest version within `ours` that the broker speaks too.
    pub fn negotiate_within(&self, api_key: ApiKey, ours: ApiRange) -> Result<i16, VersionError> {
        let broker = self
            .broker_range(api_key)
            .ok_or(VersionError::UnknownToBroker { api_key })?;
        let version = broker.max.min(ours.max);
        if version < broker.min.max(ours.min) {
            return Err(VersionError::NoCommonVersion { api_key, ours, broker });
        }
        Ok(version)
    }
}

/// Why a request cannot be sent to this broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// The broker does not have this request at all.
    #[error("the broker does not support {api_key:?} requests")]
    UnknownToBroker {
        /// The request.
        api_key: ApiKey,
    },
    /// Both know the request, in versions that do not overlap.
    #[error(
        "no common version of {api_key:?}: the broker has {}..={}, this client {}..={}",
        broker.min, broker.max, ours.min, ours.max
    )]
    NoCommonVersion {
        /// The request.
        api_key: ApiKey,
        /// Our versions.
        ours: ApiRange,
        /// The broker's versions.
        broker: ApiRange,
    },
}

#[cfg(test)]
mod tests {
    use engine_wire::messages::{
        StrBytes,
        api_versions_response::{ApiVersion, FinalizedFeatureKey},
    };

    use super::*;

    fn ranges(api_key: ApiKey, min: i16, max: i16) -> ApiRanges {
        let api = ApiVersion::default()
            .with_api_key(api_key as i16)
            .with_min_version(min)
            .with_max_version(max);
        ApiRanges::from_response(&ApiVersionsResponse::default().with_api_keys(vec![api]))
    }

    #[test]
    fn negotiation_takes_the_newest_common_version() {
        for (broker, expected) in [
            ((0, 9), Ok(9)),
            ((0, 99), Ok(client_range(ApiKey::Metadata).max)),
            ((4, 4), Ok(4)),
        ] {
            let negotiated = ranges(ApiKey::Metadata, broker.0, broker.1).negotiate(ApiKey::Metadata);
            assert_eq!(negotiated, expected, "broker {broker:?}");
        }
    }

    #[test]
    fn a_broker_without_common_version_is_named_with_both_ranges() {
        let error = ranges(ApiKey::Produce, 0, 2).negotiate(ApiKey::Produce).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no common version of Produce: the broker has 0..=2, this client 3..=12"
        );
        let error = ranges(ApiKey::Produce, 3, 9).negotiate(ApiKey::Fetch).unwrap_err();
        assert_eq!(error, VersionError::UnknownToBroker { api_key: ApiKey::Fetch });
    }

    #[test]
    fn the_level_of_transactions_is_the_finalized_one() {
        let finalized = |name, level| {
            FinalizedFeatureKey::default()
                .with_name(StrBytes::from_static_str(name))
                .with_max_version_level(level)
        };
        for (features, expected) in [
            (vec![], 0),
            (vec![finalized("metadata.version", 25)], 0),
            (
                vec![finalized("metadata.version", 25), finalized("transaction.version", 2)],
                2,
            ),
        ] {
            let response = ApiVersionsResponse::default().with_finalized_features(features);
            assert_eq!(ApiRanges::from_response(&response).transaction_version(), expected);
        }
    }

    #[test]
    fn nonsense_ranges_count_as_not_supported() {
        for (min, max) in [(5, 3), (-2, -1), (-1, 3)] {
            assert!(ranges(ApiKey::Metadata, min, max).negotiate(ApiKey::Metadata).is_err());
        }
    }
}

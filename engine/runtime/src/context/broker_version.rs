//! Which software the brokers are, as far as they tell.
//!
//! Kafka's protocol has no field for a broker's version. Since 3.3 a broker names the newest level of the cluster's metadata
//! that it supports (`metadata.version`, KIP-584 and KIP-778), and every release has raised that level: it tells releases
//! apart, patches not. What is not known is said to be unknown.

use std::collections::BTreeMap;

/// The feature that only the embedded broker names.
const EMBEDDED: &str = "engine.broker";

/// The newest production level of `metadata.version` of each release, from `MetadataVersion.LATEST_PRODUCTION`.
const RELEASES: [(i16, &str); 15] = [
    (1, "3.0"),
    (2, "3.1"),
    (3, "3.2"),
    (7, "3.3"),
    (8, "3.4"),
    (11, "3.5"),
    (14, "3.6"),
    (19, "3.7"),
    (20, "3.8"),
    (21, "3.9"),
    (25, "4.0"),
    (27, "4.1"),
    (29, "4.2"),
    (30, "4.3"),
    (33, "4.4"),
];

/// From the features that a broker supports, with their newest levels, to what it is. `None` if they do not tell.
pub(super) fn broker_version(features: &BTreeMap<String, i16>) -> Option<String> {
    if features.contains_key(EMBEDDED) {
        return Some("engine's embedded broker".to_owned());
    }
    let level = *features.get("metadata.version")?;
    Some(match RELEASES.iter().find(|(newest, _)| level <= *newest) {
        Some((_, release)) => format!("Apache Kafka {release}"),
        None => {
            let (_, last) = RELEASES[RELEASES.len() - 1];
            format!("Apache Kafka newer than {last} (metadata.version {level})")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_told_apart_by_their_newest_metadata_level() {
        let of = |name: &str, level| broker_version(&[(name.to_owned(), level)].into());
        for (level, version) in [
            (7, "Apache Kafka 3.3"),
            (19, "Apache Kafka 3.7"),
            (21, "Apache Kafka 3.9"),
            (25, "Apache Kafka 4.0"),
            (33, "Apache Kafka 4.4"),
            (34, "Apache Kafka newer than 4.4 (metadata.version 34)"),
        ] {
            assert_eq!(of("metadata.version", level).as_deref(), Some(version));
        }
        assert_eq!(of("engine.broker", 1).as_deref(), Some("engine's embedded broker"));
    }

    #[test]
    fn a_broker_that_names_no_known_feature_is_unknown() {
        assert_eq!(broker_version(&BTreeMap::new()), None);
        assert_eq!(broker_version(&[("kraft.version".to_owned(), 1)].into()), None);
    }
}

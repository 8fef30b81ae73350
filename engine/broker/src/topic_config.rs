//! Topic configuration: Kafka's dotted names, which of them this broker obeys, and their defaults.
//!
//! A name that Kafka knows but this broker does nothing with is accepted and shown, so that scripts written for
//! Kafka run; an unknown name is refused, as Kafka does.

use std::collections::BTreeMap;

use crate::config::BrokerConfig;

/// A value that is not possible, with the sentence for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("unknown topic config name: {0}")]
    Unknown(String),
    #[error("invalid value {value} for configuration {name}: {expected}")]
    Invalid {
        name: String,
        value: String,
        expected: &'static str,
    },
}

/// What a topic was explicitly configured with, and what follows from it.
#[derive(Debug, Clone, Default)]
pub(crate) struct TopicConfig {
    explicit: BTreeMap<String, String>,
    pub(crate) is_compacted: bool,
    pub(crate) is_deleted: bool,
    pub(crate) is_log_append_time: bool,
    pub(crate) message_bytes_max: Option<usize>,
    pub(crate) retention_bytes: Option<u64>,
    pub(crate) retention_ms: Option<i64>,
}

/// How a value is checked and shown (`config_type` of DescribeConfigs).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConfigType {
    Boolean = 1,
    String = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

/// A setting as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) config_type: ConfigType,
    pub(crate) value: String,
    pub(crate) source: ConfigSource,
}

/// Where a value in force comes from (`config_source` of DescribeConfigs).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConfigSource {
    /// Set on the topic.
    Topic = 1,
    /// Fixed when the broker started.
    StaticBroker = 4,
    Default = 5,
}

/// Resource type of topics in the requests about configuration.
pub(crate) const TOPIC_RESOURCE: i8 = 2;

/// Name, type, Kafka's default.
type Known = (&'static str, ConfigType, &'static str);

const KNOWN: &[Known] = &[
    ("cleanup.policy", ConfigType::List, "delete"),
    ("compression.type", ConfigType::String, "producer"),
    ("delete.retention.ms", ConfigType::Long, "86400000"),
    ("file.delete.delay.ms", ConfigType::Long, "60000"),
    ("flush.messages", ConfigType::Long, "9223372036854775807"),
    ("flush.ms", ConfigType::Long, "9223372036854775807"),
    ("follower.replication.throttled.replicas", ConfigType::List, ""),
    ("index.interval.bytes", ConfigType::Int, "4096"),
    ("leader.replication.throttled.replicas", ConfigType::List, ""),
    ("local.retention.bytes", ConfigType::Long, "-2"),
    ("local.retention.ms", ConfigType::Long, "-2"),
    ("max.compaction.lag.ms", ConfigType::Long, "9223372036854775807"),
    ("max.message.bytes", ConfigType::Int, "1048588"),
    ("message.timestamp.after.max.ms", ConfigType::Long, "3600000"),
    (
        "message.timestamp.before.max.ms",
        ConfigType::Long,
        "9223372036854775807",
    ),
    ("message.timestamp.type", ConfigType::String, "CreateTime"),
    ("min.cleanable.dirty.ratio", ConfigType::Double, "0.5"),
    ("min.compaction.lag.ms", ConfigType::Long, "0"),
    ("min.insync.replicas", ConfigType::Int, "1"),
    ("preallocate", ConfigType::Boolean, "false"),
    ("remote.storage.enable", ConfigType::Boolean, "false"),
    ("retention.bytes", ConfigType::Long, "-1"),
    ("retention.ms", ConfigType::Long, "604800000"),
    ("segment.bytes", ConfigType::Int, "1073741824"),
    ("segment.index.bytes", ConfigType::Int, "10485760"),
    ("segment.jitter.ms", ConfigType::Long, "0"),
    ("segment.ms", ConfigType::Long, "604800000"),
    ("unclean.leader.election.enable", ConfigType::Boolean, "false"),
];

/// Longest value; the journal's strings hold 64 KiB.
const VALUE_BYTES_MAX: usize = 32 << 10;

impl TopicConfig {
    /// Checks every setting.
    pub(crate) fn parse(explicit: BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut config = Self {
            is_deleted: true,
            ..Self::default()
        };
        for (name, value) in &explicit {
            config.apply(name, value)?;
        }
        config.explicit = explicit;
        Ok(config)
    }

    pub(crate) fn explicit(&self) -> &BTreeMap<String, String> {
        &self.explicit
    }

    /// Every known setting and its value in force.
    pub(crate) fn describe(&self, broker: &BrokerConfig) -> Vec<Setting> {
        let describe = |(name, config_type, default): &Known| {
            let explicit = self.explicit.get(*name);
            let default = || match *name {
                "max.message.bytes" => broker.message_bytes_max.to_string(),
                "segment.bytes" => broker.segment_bytes.to_string(),
                // This broker has no time bound unless one is asked for.
                "retention.ms" => "-1".to_owned(),
                "retention.bytes" => broker
                    .retention_bytes_per_partition
                    .map_or("-1".to_owned(), |bytes| bytes.to_string()),
                _ => (*default).to_owned(),
            };
            Setting {
                name,
                config_type: *config_type,
                source: explicit.map_or(ConfigSource::Default, |_| ConfigSource::Topic),
                value: explicit.cloned().unwrap_or_else(default),
            }
        };
        KNOWN.iter().map(describe).collect()
    }

    /// A setting's items, for IncrementalAlterConfigs' append and subtract. `None`: not a list.
    pub(crate) fn list_items(&self, name: &str) -> Option<Vec<String>> {
        let (_, config_type, default) = KNOWN.iter().find(|(known, ..)| *known == name)?;
        let value = self.explicit.get(name).map_or(*default, String::as_str);
        let items = value.split(',').filter(|item| !item.is_empty()).map(str::to_owned);
        (*config_type == ConfigType::List).then(|| items.collect())
    }

    fn apply(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        let Some((_, config_type, _)) = KNOWN.iter().find(|(known, ..)| *known == name) else {
            return Err(ConfigError::Unknown(name.to_owned()));
        };
        let invalid = |expected| ConfigError::Invalid {
            name: name.to_owned(),
            value: value.to_owned(),
            expected,
        };
        if value.len() > VALUE_BYTES_MAX {
            return Err(ConfigError::Invalid {
                name: name.to_owned(),
                value: format!("of {} bytes", value.len()),
                expected: "at most 32768 bytes",
            });
        }
        let number = value.trim().parse::<i64>();
        match config_type {
            ConfigType::Boolean if !matches!(value, "true" | "false") => return Err(invalid("true or false")),
            ConfigType::Int if !number.as_ref().is_ok_and(|number| i32::try_from(*number).is_ok()) => {
                return Err(invalid("a 32-bit integer"));
            }
            ConfigType::Long if number.is_err() => return Err(invalid("a 64-bit integer")),
            ConfigType::Double if value.trim().parse::<f64>().is_err() => return Err(invalid("a number")),
            _ => {}
        }
        let number = number.unwrap_or_default();
        match name {
            "cleanup.policy" => {
                let policies: Vec<&str> = value.split(',').map(str::trim).collect();
                if !policies.iter().all(|policy| matches!(*policy, "delete" | "compact")) {
                    return Err(invalid("delete, compact, or both"));
                }
                self.is_compacted = policies.contains(&"compact");
                self.is_deleted = policies.contains(&"delete");
            }
            "message.timestamp.type" => {
                self.is_log_append_time = match value {
                    "CreateTime" => false,
                    "LogAppendTime" => true,
                    _ => return Err(invalid("CreateTime or LogAppendTime")),
                };
            }
            "max.message.bytes" => {
                self.message_bytes_max = Some(usize::try_from(number).map_err(|_| invalid("at least 0"))?);
            }
            "retention.bytes" => self.retention_bytes = u64::try_from(number).ok(),
            "retention.ms" => self.retention_ms = Some(number).filter(|retention| *retention >= 0),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, value: &str) -> Result<TopicConfig, ConfigError> {
        TopicConfig::parse(BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn settings_that_matter_are_read_and_the_rest_is_kept() {
        assert!(parse("cleanup.policy", "compact").is_ok_and(|config| config.is_compacted && !config.is_deleted));
        assert!(parse("message.timestamp.type", "LogAppendTime").is_ok_and(|config| config.is_log_append_time));
        assert!(parse("retention.ms", "-1").is_ok_and(|config| config.retention_ms.is_none()));
        assert!(parse("segment.ms", "5").is_ok_and(|config| config.explicit()["segment.ms"] == "5"));
    }

    #[test]
    fn impossible_settings_are_refused_with_what_was_expected() {
        for (name, value) in [
            ("no.such.thing", "1"),
            ("cleanup.policy", "forget"),
            ("retention.ms", "soon"),
            ("max.message.bytes", "99999999999"),
            ("preallocate", "yes"),
        ] {
            assert!(parse(name, value).is_err(), "{name}={value}");
        }
    }
}

//! Reading `name = value` pairs into a struct by a table.
//!
//! Never here: which properties there are (each role has its own table).

use std::{fmt, str::FromStr, time::Duration};

/// One property: its Kafka name and how its text gets into the struct.
pub(super) struct Property<C> {
    pub(super) name: &'static str,
    pub(super) set: fn(&mut C, &str) -> Result<(), String>,
}

/// A table of properties: each name with the assignment that its text leads to, or with a check alone. What
/// reads the text gives the reason if it does not fit.
macro_rules! properties {
    (|$config:ident, $value:ident| $($name:literal => $set:expr,)*) => {
        [$(Property {
            name: $name,
            set: |$config, $value| {
                let _ = &$config; // A check has no use for it.
                $set;
                Ok(())
            },
        },)*]
    };
}

pub(super) use properties;

/// One mistake in the properties.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    /// Neither Kafka nor this client knows the name.
    #[error("unknown property `{name}`{}", Suggestion(.nearest))]
    Unknown {
        /// As written.
        name: String,
        /// The nearest name there is, if one is near.
        nearest: Option<&'static str>,
    },
    /// The value does not fit the property.
    #[error("`{name}` = `{value}`: {reason}")]
    Invalid {
        /// The property.
        name: String,
        /// As written.
        value: String,
        /// What would fit.
        reason: String,
    },
    /// Kafka has this property, this client does not.
    #[error("`{name}` is not supported: {reason}")]
    Unsupported {
        /// The property.
        name: String,
        /// Why, or what to use instead.
        reason: &'static str,
    },
    /// The same property twice.
    #[error("`{name}` is given twice")]
    Duplicate {
        /// The property.
        name: String,
    },
    /// A property without which nothing works.
    #[error("`{name}` is missing")]
    Missing {
        /// The property.
        name: &'static str,
    },
    /// Properties that cannot be meant, most often two that cannot both be.
    #[error("{0}")]
    Contradiction(String),
}

struct Suggestion<'a>(&'a Option<&'static str>);

impl fmt::Display for Suggestion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(nearest) => write!(f, ", did you mean `{nearest}`?"),
            None => Ok(()),
        }
    }
}

/// A role's properties: its table, and the tables of the other roles for better errors.
pub(super) struct Schema<C: 'static> {
    pub(super) tables: &'static [&'static [Property<C>]],
    /// Names that belong to another role, with the sentence that says so.
    pub(super) elsewhere: &'static [(&'static [&'static str], &'static str)],
}

impl<C: 'static> Schema<C> {
    /// Sets every property, and lists the names that were set.
    pub(super) fn read<'a>(
        &self,
        config: &mut C,
        properties: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Vec<&'a str>, Vec<PropertyError>> {
        let mut given = Vec::new();
        let mut mistakes = Vec::new();
        for (name, value) in properties {
            if given.contains(&name) {
                mistakes.push(PropertyError::Duplicate { name: name.into() });
                continue;
            }
            given.push(name);
            mistakes.extend(self.set(config, name, value.trim()).err());
        }
        complete(given, mistakes)
    }

    fn set(&self, config: &mut C, name: &str, value: &str) -> Result<(), PropertyError> {
        let property = self.properties().find(|property| property.name == name);
        let property = property.ok_or_else(|| self.refuse(name))?;
        (property.set)(config, value).map_err(|reason| PropertyError::Invalid {
            name: name.into(),
            value: value.into(),
            reason,
        })
    }

    fn refuse(&self, name: &str) -> PropertyError {
        for (names, reason) in self.elsewhere.iter().chain(UNSUPPORTED) {
            for pattern in *names {
                let matches = match pattern.strip_suffix('*') {
                    Some(prefix) => name.starts_with(prefix),
                    None => name == *pattern,
                };
                if matches {
                    return PropertyError::Unsupported {
                        name: name.into(),
                        reason,
                    };
                }
            }
        }
        let nearest = self
            .properties()
            .map(|known| (strsim::damerau_levenshtein(name, known.name), known.name))
            .min()
            .filter(|(distance, known)| *distance <= 2 + known.len() / 5)
            .map(|(_, known)| known);
        PropertyError::Unknown {
            name: name.into(),
            nearest,
        }
    }

    fn properties(&self) -> impl Iterator<Item = &'static Property<C>> {
        self.tables.iter().copied().flatten()
    }
}

/// What was read, or all that is wrong with it.
pub(super) fn complete<T>(read: T, mistakes: Vec<PropertyError>) -> Result<T, Vec<PropertyError>> {
    if mistakes.is_empty() { Ok(read) } else { Err(mistakes) }
}

/// Kafka's properties that no role of this client has.
const UNSUPPORTED: &[(&[&str], &str)] = &[
    (
        &["sasl.*"],
        "SASL comes in a later version; this one speaks PLAINTEXT only",
    ),
    (
        &["ssl.*"],
        "TLS comes in a later version; this one speaks PLAINTEXT only",
    ),
    (
        &["transaction.two.phase.commit.enable"],
        "transactions are ended by the producer that opened them",
    ),
    (
        &[
            "key.serializer",
            "value.serializer",
            "key.deserializer",
            "value.deserializer",
        ],
        "keys and values are bytes here; convert them before sending or after polling",
    ),
    (
        &[
            "interceptor.classes",
            "partitioner.class",
            "metric.reporters",
            "config.providers",
        ],
        "Java classes cannot be loaded",
    ),
    (
        &["metrics.*", "auto.include.jmx.reporter", "enable.metrics.push"],
        "use the client's `stats()`",
    ),
    (
        &["group.protocol", "group.remote.assignor"],
        "only the classic group protocol is there so far",
    ),
    (
        &["auto.commit.interval.ms"],
        "offsets are committed by the application; there is no auto-commit",
    ),
    (
        &["max.poll.records"],
        "whole batches are handed out; bound memory with `fetch.prefetch.bytes`",
    ),
    (&["exclude.internal.topics"], "topics are subscribed to by name"),
    (
        &["client.dns.lookup", "bootstrap.resolve.timeout.ms"],
        "all resolved addresses are tried in turn",
    ),
    (
        &["socket.connection.setup.timeout.max.ms"],
        "connection attempts have one timeout, `socket.connection.setup.timeout.ms`",
    ),
    (&["security.providers"], "Java classes cannot be loaded"),
    (
        &["metadata.recovery.*"],
        "the client always goes back to `bootstrap.servers` when no known broker answers",
    ),
    (&["metadata.max.idle.ms"], "topics are forgotten when the client closes"),
    (
        &["partitioner.availability.timeout.ms"],
        "partitions without a leader are left out at once",
    ),
    (
        &[
            "queue.buffering.*",
            "queued.*",
            "message.*",
            "topic.*",
            "statistics.*",
            "debug",
            "log_level",
        ],
        "that is a property of librdkafka, not of Kafka",
    ),
];

pub(super) fn millis(value: &str) -> Result<Duration, String> {
    let millis: u64 = parse(value, "a number of milliseconds, 0 or more")?;
    if millis > DURATION_MS_MAX {
        return Err(format!("more than {DURATION_MS_MAX} milliseconds"));
    }
    Ok(Duration::from_millis(millis))
}

/// Notes durations that Kafka's numbers could not tell, and to which no clock counts.
pub(super) fn check_durations(durations: &[(&str, Duration)], errors: &mut Vec<PropertyError>) {
    for (name, duration) in durations {
        if duration.as_millis() > u128::from(DURATION_MS_MAX) {
            let text = format!("`{name}` is more than {DURATION_MS_MAX} milliseconds");
            errors.push(PropertyError::Contradiction(text));
        }
    }
}

pub(super) fn millis_positive(value: &str) -> Result<Duration, String> {
    match millis(value)? {
        Duration::ZERO => Err("must be at least 1 millisecond".into()),
        duration => Ok(duration),
    }
}

/// A number of bytes from 1 to `i32::MAX`, the largest that the protocol can carry.
pub(super) fn bytes_positive(value: &str) -> Result<usize, String> {
    let bytes: usize = parse(value, "a number of bytes")?;
    if bytes == 0 || bytes > i32::MAX as usize {
        return Err(format!("must be from 1 to {} bytes", i32::MAX));
    }
    Ok(bytes)
}

/// A socket buffer size; -1 leaves the operating system's own.
pub(super) fn socket_buffer(value: &str) -> Result<Option<usize>, String> {
    if value == "-1" {
        return Ok(None);
    }
    bytes_positive(value).map(Some)
}

pub(super) fn boolean(value: &str) -> Result<bool, String> {
    parse(value, "`true` or `false`")
}

pub(super) fn parse<T: FromStr>(value: &str, wanted: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("expected {wanted}"))
}

pub(super) fn one_of<T: Copy>(value: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(value));
    found.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
        format!("expected one of {}", names.join(", "))
    })
}

/// Kafka's own limit: its millisecond properties are 32-bit integers.
const DURATION_MS_MAX: u64 = i32::MAX as u64;

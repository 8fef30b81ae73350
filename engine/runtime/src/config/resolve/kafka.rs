//! Kafka client options: TOML's nested tables become dotted names again, `[kafka]` is merged below each
//! source's and sink's own, and every option is read by the client's own parser.
//!
//! Never here: what an option does (see `engine_client`).

use std::num::NonZeroU32;
use std::time::Duration;

use engine_client::{ClientConfig, ConsumerConfig, ProducerConfig, PropertyError};

use super::super::diagnostic::{Diagnostic, quoted};
use super::super::document::{Table, Value};
use super::super::fields::Fields;
use super::super::keys;
use super::super::pipeline::{Bootstrap, Kafka, KafkaOptions, OwnTopicLayout, TopicLayout};
use super::super::source_text::Span;

/// Options that the engine itself decides, and why.
const MANAGED: &[(&str, &str)] = &[
    ("group.id", "the consumer group is the pipeline's `name`"),
    (
        "enable.auto.commit",
        "offsets are committed by checkpoints; see [checkpoint]",
    ),
    (
        "auto.commit.interval.ms",
        "offsets are committed by checkpoints; see `interval` in [checkpoint]",
    ),
    ("transactional.id", "it derives from the pipeline's `name`"),
    ("group.protocol", "the engine speaks the classic protocol"),
];
/// What stands for the brokers while options are checked one by one.
const ANY_BROKER: (&str, &str) = ("bootstrap.servers", "localhost:9092");

const SESSION: &str = "session.timeout.ms";
const HEARTBEAT: &str = "heartbeat.interval.ms";
/// As long as the default of `transaction.timeout.ms`.
const SESSION_DEFAULT: Duration = Duration::from_secs(10);

/// Who uses an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Consumer,
    Producer,
}

/// An option as written.
#[derive(Debug, Clone)]
struct WrittenOption {
    name: String,
    value: String,
    name_span: Span,
    value_span: Span,
}

/// The shared options.
pub(crate) struct SharedOptions {
    options: Vec<WrittenOption>,
    client_id: String,
}

impl Role {
    fn read(self, options: &[(&str, &str)]) -> Vec<PropertyError> {
        let options = options.iter().copied();
        match self {
            Role::Client => ClientConfig::from_properties(options).err(),
            Role::Consumer => ConsumerConfig::from_properties(options).err(),
            Role::Producer => ProducerConfig::from_properties(options).err(),
        }
        .unwrap_or_default()
    }

    /// Reads one option alone; contradictions with others are not its business.
    fn read_one(self, name: &str, value: &str) -> Option<PropertyError> {
        let options = if name == ANY_BROKER.0 {
            vec![(name, value)]
        } else {
            vec![ANY_BROKER, (name, value)]
        };
        self.read(&options)
            .into_iter()
            .find(|error| !matches!(error, PropertyError::Contradiction(_)))
    }
}

/// Resolves the `[kafka]` table.
pub(crate) fn resolve(root: &Fields<'_>, pipeline_name: &str) -> (Kafka, SharedOptions) {
    let mut shared = SharedOptions {
        options: Vec::new(),
        client_id: format!("engine-{pipeline_name}"),
    };
    let mut kafka = Kafka {
        bootstrap: Bootstrap::Servers(String::new()),
        options: KafkaOptions::default(),
        state_options: KafkaOptions::default(),
        create_topics: None,
        own_topics: OwnTopicLayout::default(),
    };
    let Some(fields) = root.fields("kafka") else {
        if root.node("kafka").is_none() {
            root.missing("kafka.bootstrap.servers", "\"host:port\" of brokers, or \"embedded\"");
        }
        return (kafka, shared);
    };
    let count = |key| {
        fields
            .integer(key, 1, 100_000)
            .and_then(|count| NonZeroU32::new(u32::try_from(count).ok()?))
    };
    kafka.own_topics = OwnTopicLayout {
        partitions: count("partitions"),
        replication_factor: count("replication_factor"),
    };
    if fields.boolean("create_topics") == Some(true) {
        match (kafka.own_topics.partitions, kafka.own_topics.replication_factor) {
            (Some(partitions), Some(replication_factor)) => {
                kafka.create_topics = Some(TopicLayout {
                    partitions,
                    replication_factor,
                });
            }
            _ if fields.node("partitions").is_some() && fields.node("replication_factor").is_some() => {}
            _ => fields.problems.error(
                &fields.span_of("create_topics"),
                "`create_topics` needs `partitions` and `replication_factor` beside it",
            ),
        }
    }
    for option in written_options(&fields, keys::KAFKA) {
        if option.name == ANY_BROKER.0 && option.value == "embedded" {
            kafka.bootstrap = Bootstrap::Embedded;
            shared.options.push(option);
            continue;
        }
        let errors: Vec<PropertyError> = [Role::Client, Role::Consumer, Role::Producer]
            .into_iter()
            .filter_map(|role| role.read_one(&option.name, &option.value))
            .collect();
        let foreign =
            |error: &PropertyError| matches!(error, PropertyError::Unknown { .. } | PropertyError::Unsupported { .. });
        // A role that knows the option has the last word; a role that does not, only if no other does.
        let verdict = match errors.iter().find(|error| !foreign(error)) {
            Some(error) => Some(error),
            None if errors.len() == 3 => errors
                .iter()
                .find(|error| matches!(error, PropertyError::Unknown { nearest: Some(_), .. }))
                .or(errors.first()),
            None => None,
        };
        match verdict {
            Some(error) => report(&fields, &option, error),
            None => {
                if option.name == ANY_BROKER.0 {
                    kafka.bootstrap = Bootstrap::Servers(option.value.clone());
                }
                shared.options.push(option);
            }
        }
    }
    let has_servers = fields.table.find(&["bootstrap", "servers"]).is_some() || fields.node(ANY_BROKER.0).is_some();
    if !has_servers {
        fields.missing("bootstrap.servers", "\"host:port\" of brokers, or \"embedded\"");
    }
    kafka.options = shared.of_role(Role::Client);
    kafka.state_options = shared.of_role(Role::Producer);
    (kafka, shared)
}

impl SharedOptions {
    /// Those of the shared options that a role knows.
    pub(crate) fn of_role(&self, role: Role) -> KafkaOptions {
        let mut options = KafkaOptions::default();
        options.set("client.id", &self.client_id);
        for option in &self.options {
            if option.name == ANY_BROKER.0 || role.read_one(&option.name, &option.value).is_none() {
                options.set(&option.name, &option.value);
            }
        }
        options
    }

    /// The shared options with a part's own `kafka` table on top.
    pub(crate) fn merged(&self, part: &Fields<'_>, role: Role) -> KafkaOptions {
        let mut options = self.of_role(role);
        let mut is_sound = true;
        let own = part
            .fields("kafka")
            .map(|fields| (written_options(&fields, &[]), fields));
        for option in own.iter().flat_map(|(written, _)| written) {
            if option.name == ANY_BROKER.0 {
                let message = "`bootstrap.servers` belongs in [kafka]: a pipeline commits its progress to one cluster";
                part.problems.error(&option.name_span, message);
            } else if let Some(error) = role.read_one(&option.name, &option.value) {
                report(part, option, &error);
                is_sound = false;
            } else {
                options.set(&option.name, &option.value);
            }
        }
        let together: Vec<(&str, &str)> = options
            .iter()
            .map(|(name, value)| {
                if name == ANY_BROKER.0 {
                    ANY_BROKER
                } else {
                    (name, value)
                }
            })
            .chain(options.value(ANY_BROKER.0).is_none().then_some(ANY_BROKER))
            .collect();
        for error in role.read(&together).into_iter().filter(|_| is_sound) {
            let span = own.as_ref().map_or(&part.span, |(_, fields)| &fields.span);
            part.problems
                .error(span, format!("Kafka options of `{}`: {error}", part.path));
        }
        options
    }
}

/// The group waits for a process that was killed as long as its session lasts, and so do its restart and its standby.
/// Kafka's default of 45 s would outlast the transaction that the process has left open; this one ends with it. Sessions are
/// longer only where the file asks for heartbeats that it would not leave time for.
pub(super) fn take_over_soon(options: &mut KafkaOptions) {
    let heartbeat = options.value(HEARTBEAT).and_then(|millis| millis.parse::<u128>().ok());
    let leaves_time = heartbeat.is_none_or(|millis| millis < SESSION_DEFAULT.as_millis());
    if options.value(SESSION).is_none() && leaves_time {
        options.set(SESSION, &SESSION_DEFAULT.as_millis().to_string());
    }
}

fn report(fields: &Fields<'_>, option: &WrittenOption, error: &PropertyError) {
    let name = quoted(&option.name);
    fields.problems.push(match error {
        PropertyError::Unknown { nearest, .. } => {
            let diagnostic = Diagnostic::error(&option.name_span, format!("unknown Kafka option {name}"));
            match nearest {
                Some(nearest) => diagnostic.note(format!("did you mean `{nearest}`?")),
                None => diagnostic.note("options have the names of Kafka's documentation, such as `linger.ms`"),
            }
        }
        PropertyError::Invalid { value, reason, .. } => Diagnostic::error(
            &option.value_span,
            format!("{name} cannot be {}: {reason}", quoted(value)),
        ),
        PropertyError::Unsupported { reason, .. } => {
            Diagnostic::error(&option.name_span, format!("{name} is not supported here: {reason}"))
        }
        other => Diagnostic::error(&option.name_span, other.to_string()),
    });
}

/// The options of a `kafka` table under their dotted names, without our own keys and the refused ones.
fn written_options(fields: &Fields<'_>, own_keys: &[&str]) -> Vec<WrittenOption> {
    let mut options = Vec::new();
    flatten(fields, fields.table, ("", None), own_keys, &mut options);
    options.retain(|option| match MANAGED.iter().find(|(name, _)| *name == option.name) {
        Some((name, reason)) => {
            fields.problems.error(
                &option.name_span,
                format!("`{name}` is the engine's own business: {reason}"),
            );
            false
        }
        None => true,
    });
    options
}

/// From the first part of a dotted name to its last, if they stand side by side.
fn name_span(first: Option<&Span>, last: &Span) -> Span {
    let Some(first) = first.filter(|first| first.source.is_flag() == last.source.is_flag()) else {
        return last.clone();
    };
    let whole = first.source.span(first.range.start..last.range.end);
    let is_one_name = first.range.start < last.range.end
        && whole
            .text()
            .chars()
            .all(|c| c.is_alphanumeric() || ". _-\"".contains(c));
    if is_one_name { whole } else { last.clone() }
}

fn flatten(
    fields: &Fields<'_>,
    table: &Table,
    (prefix, first): (&str, Option<&Span>),
    own_keys: &[&str],
    options: &mut Vec<WrittenOption>,
) {
    for entry in table
        .entries
        .iter()
        .filter(|entry| !prefix.is_empty() || !own_keys.contains(&entry.key.as_str()))
    {
        let name = format!("{prefix}{}", entry.key);
        let span = &entry.node.span;
        let value = match &entry.node.value {
            Value::Table(inner) => {
                let first = first.or(Some(&entry.key_span));
                flatten(fields, inner, (&format!("{name}."), first), own_keys, options);
                continue;
            }
            Value::Text(text) => text.text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Boolean(boolean) => boolean.to_string(),
            Value::Array(items) if items.iter().all(|item| matches!(item.value, Value::Text(_))) => {
                let texts = items.iter().filter_map(|item| match &item.value {
                    Value::Text(text) => Some(text.text.as_str()),
                    _ => None,
                });
                texts.collect::<Vec<_>>().join(",")
            }
            Value::Array(_) | Value::Datetime => {
                let message = format!(
                    "{} is a string, a number or a boolean, found {}",
                    quoted(&name),
                    entry.node.found()
                );
                fields.problems.error(span, message);
                continue;
            }
        };
        let option = WrittenOption {
            name,
            value,
            name_span: name_span(first, &entry.key_span),
            value_span: span.clone(),
        };
        match options.iter_mut().find(|other| other.name == option.name) {
            // `"linger.ms" = 5` and `linger.ms = 6` are two keys to TOML and one option to Kafka; a flag may override.
            Some(other) if option.name_span.source.is_flag() => *other = option,
            Some(_) => fields
                .problems
                .error(&option.name_span, format!("`{}` is given twice", option.name)),
            None => options.push(option),
        }
    }
}

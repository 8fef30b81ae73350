//! From what was written to what it means: every table is read, every mistake noted, and at the end there is
//! a pipeline or a list of mistakes.
//!
//! Never here: how a table's keys are typed (see `fields`), TOML.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::diagnostic::{Diagnostic, quoted};
use super::document::{Table, Value};
use super::fields::{Fields, Problems, Written};
use super::keys;
use super::pipeline::{Checkpoint, Guarantee, OnError, PIPELINE_NAME_BYTES_MAX, Pipeline, Server, Trigger};
use super::source_text::{SourceText, Span};

mod generator;
mod graph;
mod kafka;
mod own_topics;
mod s3;
mod sink;
mod source;
mod test;
mod transaction;
mod transform;

/// Kafka's limit on topic names.
const TOPIC_BYTES_MAX: usize = 249;
const TRIGGER_INTERVAL: Duration = Duration::from_millis(100);
const TRIGGER_RECORDS: NonZeroUsize = NonZeroUsize::new(500_000).unwrap();
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

/// Resolves a document. With an error among the diagnostics there is no pipeline.
pub(crate) fn resolve(document: &Table, source: &SourceText) -> (Option<Pipeline>, Vec<Diagnostic>) {
    let problems = Problems::default();
    let root = Fields {
        path: String::new(),
        table: document,
        span: source.span(0..0),
        problems: &problems,
    };
    let pipeline = resolve_root(&root);
    (pipeline, problems.into_vec())
}

fn resolve_root(root: &Fields<'_>) -> Option<Pipeline> {
    root.only(&[keys::ROOT]);
    let name = name(root);
    let (kafka, shared) = kafka::resolve(root, name.as_deref().unwrap_or("pipeline"));
    let trigger = trigger(root);
    let checkpoint = checkpoint(root);
    let server = root.fields("server").and_then(|fields| server(&fields));

    let mut is_whole = true;
    let mut part = |known: bool| is_whole &= known;
    refuse_duplicate_names(root);
    let is_exactly_once = checkpoint.guarantee == Guarantee::ExactlyOnce;
    let mut sources = Vec::new();
    for (name, fields) in named(root, "sources", "at least one source, such as [sources.events]") {
        let mut source = source::resolve(name, &fields, &shared);
        part(source.is_some());
        if let Some(source) = &mut source {
            kafka::take_over_soon(&mut source.kafka);
            if is_exactly_once {
                transaction::read_committed(&mut source.kafka);
            }
        }
        sources.extend(source);
    }
    let mut transforms = Vec::new();
    for (name, fields) in root.fields("transforms").iter().flat_map(Fields::named) {
        let transform = transform::resolve(name, &fields);
        part(transform.is_some());
        transforms.extend(transform);
    }
    let mut sinks = Vec::new();
    for (name, fields) in named(root, "sinks", "at least one sink, such as [sinks.results]") {
        let sink = sink::resolve(name, &fields, &shared);
        part(sink.is_some());
        sinks.extend(sink);
    }
    let dead_letter = sink::dead_letter(root, &shared);
    for (name, fields) in root.fields("sources").iter().flat_map(Fields::named) {
        let wants_it = sources
            .iter()
            .any(|source| source.name == name && source.on_error == OnError::DeadLetter);
        if wants_it && root.node("dead_letter").is_none() {
            let message = "`on_error = \"dead_letter\"` needs a [dead_letter] table with a `topic`";
            root.problems.error(&fields.span_of("on_error"), message);
        }
    }
    let generators: Vec<_> = root
        .fields("generators")
        .iter()
        .flat_map(Fields::named)
        .filter_map(|(name, fields)| generator::resolve(name, &fields, &shared))
        .collect();
    let transaction =
        is_exactly_once.then(|| transaction::resolve(root, &checkpoint, &shared, &sinks, dead_letter.as_ref()));
    own_topics::check(root, name.as_deref(), &sources, &sinks, dead_letter.as_ref());
    if !is_whole || sources.is_empty() || sinks.is_empty() {
        return None;
    }
    let resolved = graph::resolve(root, &sources, transforms, sinks)?;
    let mut pipeline = Pipeline {
        name: name?,
        kafka,
        trigger,
        checkpoint,
        transaction,
        sources,
        transforms: resolved.transforms,
        graph: resolved.spec,
        plan: resolved.plan,
        sinks: resolved.sinks,
        dead_letter,
        server,
        generators,
        tests: Vec::new(),
    };
    pipeline.tests = test::resolve(root, &pipeline);
    Some(pipeline)
}

/// A topic's name, checked.
fn topic(fields: &Fields<'_>, written: Written<'_>) -> String {
    let name = written.as_str();
    let mistake = if name == "." || name == ".." {
        Some("a topic cannot have this name".to_owned())
    } else if name.len() > TOPIC_BYTES_MAX {
        Some(format!(
            "a topic's name has at most {TOPIC_BYTES_MAX} characters, found {}",
            name.len()
        ))
    } else {
        illegal(name).map(|illegal| {
            format!("a topic's name cannot contain {illegal}; it is made of letters, digits, `.`, `_` and `-`")
        })
    };
    if let Some(mistake) = mistake {
        fields.problems.error(written.span, mistake);
    }
    name.to_owned()
}

fn name(root: &Fields<'_>) -> Option<String> {
    let written = root.required_text(
        "name",
        "what group.id, transactional.id and the state topic are named after",
    )?;
    let name = written.as_str();
    let mistake = if name.len() > PIPELINE_NAME_BYTES_MAX {
        Some(format!(
            "it has at most {PIPELINE_NAME_BYTES_MAX} characters, found {}",
            name.len()
        ))
    } else if name == "." || name == ".." {
        Some("it cannot be `.` or `..`".to_owned())
    } else {
        illegal(name).map(|illegal| format!("it cannot contain {illegal}"))
    };
    if let Some(mistake) = mistake {
        root.problems.push(
            Diagnostic::error(written.span, format!("this is not a pipeline's name: {mistake}")).note(
                "names are made of letters, digits, `.`, `_` and `-`: topics and the consumer group are named after it",
            ),
        );
    }
    Some(name.to_owned())
}

/// The first character that Kafka does not allow in a topic's name, as a message shows it.
fn illegal(name: &str) -> Option<String> {
    let character = name
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))?;
    Some(if character.is_control() {
        "a control character".to_owned()
    } else {
        format!("`{character}`")
    })
}

fn trigger(root: &Fields<'_>) -> Trigger {
    let mut trigger = Trigger {
        interval: TRIGGER_INTERVAL,
        records_max: TRIGGER_RECORDS,
    };
    if let Some(fields) = root.fields("trigger") {
        fields.only(&[keys::TRIGGER]);
        trigger.interval = fields.positive_duration("interval").unwrap_or(trigger.interval);
        let records = fields.integer("max_records", 1, 1_000_000_000);
        let records = records.and_then(|records| NonZeroUsize::new(usize::try_from(records).ok()?));
        trigger.records_max = records.unwrap_or(trigger.records_max);
    }
    trigger
}

fn checkpoint(root: &Fields<'_>) -> Checkpoint {
    let mut checkpoint = Checkpoint {
        interval: CHECKPOINT_INTERVAL,
        guarantee: Guarantee::ExactlyOnce,
    };
    if let Some(fields) = root.fields("checkpoint") {
        fields.only(&[keys::CHECKPOINT]);
        checkpoint.interval = fields.positive_duration("interval").unwrap_or(checkpoint.interval);
        let words = [Guarantee::ExactlyOnce, Guarantee::AtLeastOnce].map(|guarantee| (guarantee.name(), guarantee));
        checkpoint.guarantee = fields.choice("guarantee", &words).unwrap_or(checkpoint.guarantee);
    }
    checkpoint
}

fn server(fields: &Fields<'_>) -> Option<Server> {
    fields.only(&[keys::SERVER]);
    let written = fields.required_text("listen", "an address and a port, such as \"127.0.0.1:9600\"")?;
    match written.as_str().parse() {
        Ok(listen) => Some(Server { listen }),
        Err(_) => {
            let message = format!("{} is not an address and a port", quoted(written.as_str()));
            let note =
                "write an IP address and a port, such as \"127.0.0.1:9600\", or \"0.0.0.0:9600\" for every interface";
            fields
                .problems
                .push(Diagnostic::error(written.span, message).note(note));
            None
        }
    }
}

/// The tables of `[key.NAME]`, of which there must be one.
fn named<'a>(root: &Fields<'a>, key: &str, what: &str) -> Vec<(&'a str, Fields<'a>)> {
    let named = root.fields(key).map(|fields| fields.named()).unwrap_or_default();
    let is_empty = match root.node(key).map(|node| &node.value) {
        None => true,
        Some(Value::Table(table)) => table.entries.is_empty(),
        Some(_) => false,
    };
    if is_empty {
        root.missing(key, what);
    }
    named
}

/// Sources, transforms and sinks share one space of names, because inputs are names.
fn refuse_duplicate_names(root: &Fields<'_>) {
    let mut names: HashMap<&str, (&str, &Span)> = HashMap::new();
    for section in ["sources", "transforms", "sinks"] {
        let Some(Value::Table(table)) = root.node(section).map(|node| &node.value) else {
            continue;
        };
        for entry in &table.entries {
            if entry.key.is_empty() {
                root.problems.error(&entry.key_span, "a name cannot be empty");
            }
            if let Some((other, span)) = names.insert(&entry.key, (section, &entry.key_span)) {
                root.problems.push(
                    Diagnostic::error(
                        &entry.key_span,
                        format!("the name {} is already taken", quoted(&entry.key)),
                    )
                    .note(format!("it is also in `{other}` at {}", span.position()))
                    .note("sources, transforms and sinks share one space of names"),
                );
            }
        }
    }
}

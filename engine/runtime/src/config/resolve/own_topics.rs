//! Topics that a pipeline writes: none of them is where its state is, and who reads one of them again is told.

use super::super::diagnostic::{Diagnostic, quoted};
use super::super::fields::Fields;
use super::super::pipeline::{DeadLetter, SinkKind, Source, TopicSelection, state_topic_of};
use super::super::source_text::Span;
use super::sink::SinkDraft;

pub(super) fn check(
    root: &Fields<'_>,
    name: Option<&str>,
    sources: &[Source],
    sinks: &[SinkDraft],
    dead_letter: Option<&DeadLetter>,
) {
    let of_sinks = sinks.iter().filter_map(|sink| match &sink.kind {
        SinkKind::Kafka(kafka) => Some((vec!["sinks", sink.name.as_str(), "topic"], kafka.topic.as_str())),
        SinkKind::Parquet(_) => None,
    });
    let of_dead_letter = dead_letter.map(|dead_letter| (vec!["dead_letter", "topic"], dead_letter.topic.as_str()));
    let state_topic = name.map(state_topic_of);
    for (path, topic) in of_sinks.chain(of_dead_letter) {
        let span = span(root, &path);
        if state_topic.as_deref() == Some(topic) {
            let message = format!("{} is the topic that the pipeline keeps its state in", quoted(topic));
            root.problems
                .push(Diagnostic::error(&span, message).note("write to a topic of another name"));
            continue;
        }
        let reader = sources.iter().find(|source| match &source.topics {
            TopicSelection::Names(names) => names.iter().any(|name| name == topic),
            // A pattern never matches what the pipeline writes.
            TopicSelection::Pattern(_) => false,
        });
        if let Some(source) = reader {
            let message = format!(
                "source {} reads {}, so the pipeline reads again what it writes here, without an end",
                quoted(&source.name),
                quoted(topic)
            );
            root.problems.push(Diagnostic::warning(&span, message));
        }
    }
}

fn span(root: &Fields<'_>, path: &[&str]) -> Span {
    let entry = root.table.find(path);
    entry.map_or_else(|| root.span.clone(), |entry| entry.node.span.clone())
}

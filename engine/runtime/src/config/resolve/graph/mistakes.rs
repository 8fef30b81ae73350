//! What is wrong with a graph, or looks like a slip of the pen, with its place in the file.

use engine_stream::graph::{GraphError, GraphPart, GraphSpec, TransformKind};

use super::super::super::diagnostic::Diagnostic;
use super::super::super::document::{Entry, Value};
use super::super::super::fields::Fields;
use super::super::super::pipeline::{KafkaSink, OutputMode, SinkKind};
use super::super::super::source_text::Span;
use super::super::sink::SinkDraft;

/// Gives a mistake in the graph its caret.
pub(super) fn report(root: &Fields<'_>, error: &GraphError) {
    let (section, name) = match &error.part {
        GraphPart::Source(name) => ("sources", name),
        GraphPart::Transform(name) => ("transforms", name),
        GraphPart::Sink(name) => ("sinks", name),
    };
    let (option, inner) = error
        .option
        .split_once('.')
        .map_or((error.option.as_str(), None), |(a, b)| (a, Some(b)));
    let path: Vec<&str> = [section, name, option].into_iter().chain(inner).collect();
    let found = root.table.find(&path).or_else(|| root.table.find(&path[..2]));
    let span = found.map_or_else(|| root.span.clone(), |entry| place(entry, error, path.len()));
    let is_sql = option == "where" || inner.is_some() && option != "watermark";
    let message = error.message.trim_end_matches('.');
    let subject = if is_sql {
        format!("in `{}`: {message}", path[2..].join("."))
    } else {
        message.to_owned()
    };
    // The list of valid names is a line of its own.
    let (subject, list) = match subject
        .split_once("; the columns are ")
        .or_else(|| subject.split_once("; there are "))
    {
        Some((subject, list)) => (subject.to_owned(), Some(list.to_owned())),
        None => (subject, None),
    };
    let mut diagnostic = Diagnostic::error(&span, subject);
    if let Some(suggestion) = &error.suggestion {
        diagnostic = diagnostic.note(format!("did you mean `{suggestion}`?"));
    }
    if let Some(list) = list {
        diagnostic = diagnostic.note(format!("valid names: {list}"));
    }
    root.problems.push(diagnostic);
}

fn place(entry: &Entry, error: &GraphError, depth: usize) -> Span {
    match &entry.node.value {
        Value::Text(text) => match error.position {
            Some(at) if at < text.text.len() => {
                let end = at + word_length(&text.text[floor(&text.text, at)..]);
                entry.node.span.source.span(text.place(at)..text.place(end - 1) + 1)
            }
            _ => entry.node.span.clone(),
        },
        Value::Array(items) => {
            let named = |text: &str| error.message.contains(&format!("\"{text}\""));
            let by_name = || {
                items
                    .iter()
                    .find(|item| matches!(&item.value, Value::Text(text) if named(&text.text)))
            };
            error
                .index
                .and_then(|index| items.get(index))
                .or_else(by_name)
                .unwrap_or(&entry.node)
                .span
                .clone()
        }
        Value::Table(_) if depth > 2 => entry.key_span.clone(),
        _ => entry.node.span.clone(),
    }
}

fn floor(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Bytes of the word that a text begins with; at least one character.
fn word_length(text: &str) -> usize {
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    if end == 0 {
        text.chars().next().map_or(1, char::len_utf8)
    } else {
        end
    }
}

/// Rows that stand for former ones need a key, or nobody can tell which.
pub(super) fn warn_of_keyless_updates(root: &Fields<'_>, spec: &GraphSpec, drafts: &[SinkDraft]) {
    for draft in drafts {
        let SinkKind::Kafka(KafkaSink { key: None, .. }) = draft.kind else {
            continue;
        };
        let mut input = draft.input.as_ref();
        while let Some(transform) =
            input.and_then(|input| spec.transforms.iter().find(|transform| transform.name == *input))
        {
            input = Some(&transform.input);
            let TransformKind::Window(window) = &transform.kind else {
                continue;
            };
            if let (OutputMode::Update, Some(entry)) = (window.mode, root.table.find(&["sinks", &draft.name])) {
                let message = format!(
                    "the rows of `{}` come again whenever they change, but without a `key` nobody can tell which row stands for which",
                    transform.name
                );
                root.problems.push(Diagnostic::warning(&entry.key_span, message));
            }
            break;
        }
    }
}

/// Rows that nobody reads are probably a slip of the pen.
pub(super) fn warn_of_unread(root: &Fields<'_>, spec: &GraphSpec) {
    let is_read = |name: &String| {
        spec.transforms.iter().any(|transform| transform.input == *name)
            || spec.sinks.iter().any(|sink| sink.input.as_ref() == Some(name))
    };
    let sources = spec.sources.iter().map(|source| ("sources", "source", &source.name));
    let transforms = spec
        .transforms
        .iter()
        .map(|transform| ("transforms", "transform", &transform.name));
    for (section, what, name) in sources.chain(transforms).filter(|(_, _, name)| !is_read(name)) {
        if let Some(entry) = root.table.find(&[section, name]) {
            let message = format!("nobody reads the {what} `{name}`");
            root.problems.push(Diagnostic::warning(&entry.key_span, message));
        }
    }
}

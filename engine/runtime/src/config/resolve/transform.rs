//! `[transforms.NAME]`. SQL and inputs are checked by `graph`.

use std::time::Duration;

use engine_stream::graph::{DedupSpec, TransformKind, TransformSpec, WindowSpec};
use engine_stream::window::{OutputMode, WindowKind};

use super::super::fields::Fields;
use super::super::keys;

#[derive(Clone, Copy)]
enum Kind {
    Filter,
    Select,
    Dedup,
    Window,
}

/// The kinds of windows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Tumbling,
    Hopping,
    Session,
}

/// Resolves one transform; `None` after a mistake that leaves its columns unknown.
pub(crate) fn resolve(name: &str, fields: &Fields<'_>) -> Option<TransformSpec> {
    let kind = fields.required_choice(
        "type",
        &[
            ("filter", Kind::Filter),
            ("select", Kind::Select),
            ("dedup", Kind::Dedup),
            ("window", Kind::Window),
        ],
    )?;
    fields.only(&[match kind {
        Kind::Filter => keys::FILTER,
        Kind::Select => keys::SELECT,
        Kind::Dedup => keys::DEDUP,
        Kind::Window => keys::WINDOW,
    }]);
    let input = fields.required_text("input", "the name of a source or a transform");
    let kind = match kind {
        Kind::Filter => {
            let condition = fields.required_text("where", "an SQL condition in a string");
            TransformKind::Filter {
                condition: condition.map_or("true", |condition| condition.as_str()).to_owned(),
            }
        }
        Kind::Select => {
            if fields.node("columns").is_none() {
                fields.missing("columns", "a table of columns and their SQL expressions");
            }
            TransformKind::Select {
                columns: fields.expressions("columns")?,
            }
        }
        Kind::Dedup => TransformKind::Dedup(dedup(fields)?),
        Kind::Window => TransformKind::Window(window(fields)?),
    };
    Some(TransformSpec {
        name: name.to_owned(),
        input: input?.as_str().to_owned(),
        kind,
    })
}

fn dedup(fields: &Fields<'_>) -> Option<DedupSpec> {
    for (key, what) in [
        ("keys", "an array of the columns that tell rows apart"),
        ("horizon", "a duration such as \"1h\""),
    ] {
        if fields.node(key).is_none() {
            fields.missing(key, what);
        }
    }
    // A mistake in the horizon does not keep the keys from being checked.
    let horizon = fields.positive_duration("horizon").unwrap_or(Duration::from_secs(1));
    let keys_max = fields
        .integer("keys_max", 1, 1_000_000_000)
        .and_then(|keys| usize::try_from(keys).ok());
    let keys = fields.texts("keys", "an array of columns")?;
    Some(DedupSpec {
        keys: keys.iter().map(|column| column.as_str().to_owned()).collect(),
        horizon,
        keys_max: keys_max.unwrap_or(DedupSpec::KEYS_MAX),
    })
}

/// A mistake in the lengths does not keep the rest from being checked: others stand in for them.
fn window_kind(fields: &Fields<'_>) -> WindowKind {
    const STAND_IN: Duration = Duration::from_secs(1);
    let kind = fields.required_choice(
        "kind",
        &[
            ("tumbling", Shape::Tumbling),
            ("hopping", Shape::Hopping),
            ("session", Shape::Session),
        ],
    );
    let refuse = |key: &str, message: &str| {
        if fields.node(key).is_some() {
            fields.problems.error(&fields.span_of(key), message);
        }
    };
    if kind == Some(Shape::Session) {
        for key in ["size", "slide"] {
            refuse(
                key,
                &format!("a session window has no `{key}`: its `gap` says when it ends"),
            );
        }
        if fields.node("gap").is_none() {
            fields.missing(
                "gap",
                "a duration such as \"30s\", the silence of a group that ends its session",
            );
        }
        let gap = fields.positive_duration("gap").unwrap_or(STAND_IN);
        return WindowKind::Session { gap };
    }
    if kind.is_some() {
        refuse(
            "gap",
            "only a session window has a `gap`; windows that a silence ends are `kind = \"session\"`",
        );
    }
    if fields.node("size").is_none() {
        fields.missing("size", "a duration such as \"10s\"");
    }
    let size = fields.positive_duration("size");
    if kind != Some(Shape::Hopping) {
        if kind == Some(Shape::Tumbling) {
            refuse(
                "slide",
                "a tumbling window has no `slide`; windows that overlap are `kind = \"hopping\"`",
            );
        }
        return WindowKind::Tumbling {
            size: size.unwrap_or(STAND_IN),
        };
    }
    if fields.node("slide").is_none() {
        fields.missing(
            "slide",
            "a duration such as \"2s\", from the start of one window to the next",
        );
    }
    match (size, fields.positive_duration("slide")) {
        (Some(size), Some(slide)) => WindowKind::Hopping { size, slide },
        (size, _) => WindowKind::Tumbling {
            size: size.unwrap_or(STAND_IN),
        },
    }
}

fn window(fields: &Fields<'_>) -> Option<WindowSpec> {
    let kind = window_kind(fields);
    let group_by = fields.texts("group_by", "an array of columns").unwrap_or_default();
    if fields.node("aggregates").is_none() {
        fields.missing(
            "aggregates",
            "a table of columns and their SQL aggregates, such as `events = \"count(*)\"`",
        );
    }
    let late_output = fields
        .text("late_output", "the name of a sink")
        .map(|sink| sink.as_str().to_owned());
    let groups_max = fields
        .integer("groups_max", 1, 1_000_000_000)
        .and_then(|groups| usize::try_from(groups).ok());
    let mode = fields.choice(
        "mode",
        &[("append", OutputMode::Append), ("update", OutputMode::Update)],
    );
    Some(WindowSpec {
        kind,
        group_by: group_by.iter().map(|column| column.as_str().to_owned()).collect(),
        allowed_lateness: fields.duration("allowed_lateness").unwrap_or_default(),
        late_output,
        groups_max: groups_max.unwrap_or(WindowSpec::GROUPS_MAX),
        mode: mode.unwrap_or_default(),
        aggregates: fields.expressions("aggregates")?,
    })
}

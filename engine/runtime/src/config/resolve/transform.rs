//! `[transforms.NAME]`. SQL and inputs are checked by `graph`.

use std::time::Duration;

use engine_stream::graph::{TransformKind, TransformSpec, WindowSpec};

use super::super::fields::Fields;
use super::super::keys;

#[derive(Clone, Copy)]
enum Kind {
    Filter,
    Select,
    Window,
}

/// Resolves one transform; `None` after a mistake that leaves its columns unknown.
pub(crate) fn resolve(name: &str, fields: &Fields<'_>) -> Option<TransformSpec> {
    let kind = fields.required_choice(
        "type",
        &[
            ("filter", Kind::Filter),
            ("select", Kind::Select),
            ("window", Kind::Window),
        ],
    )?;
    fields.only(&[match kind {
        Kind::Filter => keys::FILTER,
        Kind::Select => keys::SELECT,
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
        Kind::Window => TransformKind::Window(window(fields)?),
    };
    Some(TransformSpec {
        name: name.to_owned(),
        input: input?.as_str().to_owned(),
        kind,
    })
}

fn window(fields: &Fields<'_>) -> Option<WindowSpec> {
    fields.required_choice("kind", &[("tumbling", ())]);
    if fields.node("size").is_none() {
        fields.missing("size", "a duration such as \"10s\"");
    }
    // A mistake in the size does not keep the rest from being checked.
    let size = fields.positive_duration("size").unwrap_or(Duration::from_secs(1));
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
    Some(WindowSpec {
        size,
        group_by: group_by.iter().map(|column| column.as_str().to_owned()).collect(),
        allowed_lateness: fields.duration("allowed_lateness").unwrap_or_default(),
        late_output,
        groups_max: groups_max.unwrap_or(WindowSpec::GROUPS_MAX),
        aggregates: fields.expressions("aggregates")?,
    })
}

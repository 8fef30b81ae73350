//! What a plan says.

use super::{ad_campaigns, filter, sink, source, spec, window};
use crate::graph::{NodeKind, plan};
use crate::schema::type_name;

#[test]
fn only_the_columns_that_are_needed_are_decoded_and_carried() {
    let plan = plan(&ad_campaigns()).unwrap();
    let source = &plan.sources[0];
    let names: Vec<&str> = source
        .projection
        .fields
        .iter()
        .map(|field| field.name.as_str())
        .collect();
    assert_eq!(names, ["event_type", "campaign_id", "produce_time", "event_time"]);
    assert!(source.projection.meta.is_empty());
    assert!(
        source.projection.fields[3].required,
        "a record without event time is malformed"
    );
    let views = source.nodes.iter().find(|node| node.name == "views").unwrap();
    assert_eq!(views.needed.fields().len(), 3, "event_type ends at the filter");
    assert_eq!(views.columns.fields().len(), 5);
    assert_eq!(source.event_time_column(), Some(3));
}

#[test]
fn a_plan_says_what_every_node_offers() {
    let plan = plan(&ad_campaigns()).unwrap();
    let node = plan.sources[0].nodes.last().unwrap();
    assert_eq!(
        (node.name.as_str(), node.input.as_deref(), node.kind),
        ("per_campaign", Some("views"), NodeKind::Window)
    );
    assert_eq!(node.sinks, ["results", "lake"]);
    let columns: Vec<String> = node
        .columns
        .fields()
        .iter()
        .map(|field| format!("{} {}", field.name(), type_name(field.data_type())))
        .collect();
    assert_eq!(
        columns,
        [
            "window_start timestamp(us)",
            "window_end timestamp(us)",
            "campaign_id int64",
            "events int64",
            "max_produce_time timestamp(ms)"
        ]
    );
}

#[test]
fn two_sources_have_a_plan_each() {
    let mut spec = ad_campaigns();
    spec.sources.push(source("more"));
    spec.sinks.push(sink("copy", Some("more")));
    let plan = plan(&spec).unwrap();
    assert_eq!(
        plan.sources[1]
            .sinks
            .iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>(),
        ["copy"]
    );
    assert_eq!(plan.sources[1].projection.fields.len(), 5);
    assert!(plan.sources[1].windows.is_empty());
}

/// What is never null is asked whether it is; and what a branch that is never taken reads.
#[test]
fn a_column_that_is_simplified_away_is_there_for_the_text_that_names_it() {
    for condition in [
        "_headers is not null",
        "_topic is null or event_type = 'view'",
        "case when true then event_type else _topic end = 'view'",
    ] {
        let spec = spec(
            vec![filter("some", "events", condition)],
            vec![sink("out", Some("some"))],
        );
        plan(&spec).unwrap_or_else(|errors| panic!("{condition}: {errors:?}"));
    }
    let counts = [("all", "count(*) filter (where _offset is not null)")];
    let spec = spec(
        vec![window("counts", "events", &[], &counts, None)],
        vec![sink("out", Some("counts"))],
    );
    plan(&spec).unwrap_or_else(|errors| panic!("{errors:?}"));
}

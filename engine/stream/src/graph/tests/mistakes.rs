//! What is wrong with a graph, and where.

use super::{ad_campaigns, filter, select, sink, spec, window};
use crate::graph::{GraphSpec, plan};

fn mistakes(spec: &GraphSpec) -> Vec<(String, String)> {
    let errors = plan(spec).err().unwrap_or_default();
    errors
        .into_iter()
        .map(|error| (format!("{} {}", error.part, error.option), error.message))
        .collect()
}

#[test]
fn every_mistake_is_reported_at_once_with_its_place() {
    let transforms = vec![
        filter("a", "evnts", "true"),
        filter("b", "events", "event_typ = 'view'"),
        select("c", "events", &[("x", "campaign_id +"), ("y", "now()")]),
        window(
            "d",
            "b",
            &["campaign", "campaign_id"],
            &[("n", "conut(*)"), ("campaign_id", "count(*)")],
            Some("nowhere"),
        ),
        window("e", "b", &[], &[("n", "count(*)")], None),
        window("f", "e", &[], &[("n", "count(*)")], None),
        select("g", "events", &[("z", "campaign_id")]),
        window("h", "g", &[], &[("n", "count(*)")], None),
        filter("i", "j", "true"),
        filter("j", "i", "true"),
        filter("k", "out", "campaign_id"),
        filter("l", "events", "campaign_id"),
    ];
    let mut out = sink("out", Some("e"));
    out.uses.push(("key".into(), "campaign".into()));
    let found = mistakes(&spec(transforms, vec![out, sink("lonely", None)]));
    let expected = [
        ("transforms.a input", "there is no source or transform \"evnts\""),
        (
            "transforms.k input",
            "\"out\" is a sink, and nothing comes out of a sink",
        ),
        ("transforms.i input", "this goes in a circle: i reads j reads i"),
        ("transforms.b where", "there is no column \"event_typ\""),
        ("transforms.c columns.x", "Expected: an expression, found: EOF"),
        ("transforms.c columns.y", "now() gives another result each time"),
        (
            "transforms.l where",
            "a condition is true or false, but `campaign_id` is int64",
        ),
        ("transforms.d group_by", "there is no column \"campaign\""),
        (
            "transforms.d aggregates.campaign_id",
            "the window already has a column \"campaign_id\"",
        ),
        ("transforms.d aggregates.n", "there is no function \"conut\""),
        ("transforms.h input", "a window needs the event time \"event_time\""),
        ("transforms.f input", "a window cannot read another window's rows yet"),
        ("transforms.d late_output", "there is no sink \"nowhere\""),
        ("sinks.out key", "there is no column \"campaign\""),
        ("sinks.lonely input", "a sink needs an input"),
    ];
    for (place, message) in expected {
        assert!(
            found.iter().any(|(at, what)| at == place && what.starts_with(message)),
            "{place}: {message}\n{found:#?}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

/// Pitfall 10 of the stream engine: chained stateful operators under one global watermark drop rows.
#[test]
fn a_window_behind_a_window_is_refused_also_with_a_filter_and_a_select_between() {
    let transforms = vec![
        window("first", "events", &["ad_id"], &[("n", "count(*)")], None),
        filter("many", "first", "n > 1"),
        select("slim", "many", &[("event_time", "window_start"), ("n", "n")]),
        window("second", "slim", &[], &[("n", "sum(n)")], None),
    ];
    let found = mistakes(&spec(transforms, vec![sink("out", Some("second"))]));
    let refused = "a window cannot read another window's rows yet; filter and select can";
    assert_eq!(found, [("transforms.second input".to_owned(), refused.to_owned())]);
}

#[test]
fn a_mistake_carries_its_position_and_the_nearest_name() {
    let errors = plan(&spec(vec![filter("b", "event", "seen and event_typ = 'view'")], vec![])).unwrap_err();
    assert_eq!(errors[0].suggestion.as_deref(), Some("events"));
    let errors = plan(&spec(
        vec![filter("b", "events", "campaign_id = 1 and event_typ = 'view'")],
        vec![],
    ))
    .unwrap_err();
    assert_eq!(
        (errors[0].position, errors[0].suggestion.as_deref()),
        (Some(20), Some("event_type"))
    );
    let transforms = vec![window(
        "w",
        "events",
        &["ad_id", "compaign_id"],
        &[("n", "count(*)")],
        None,
    )];
    let errors = plan(&spec(transforms, vec![])).unwrap_err();
    assert_eq!(
        (errors[0].index, errors[0].suggestion.as_deref()),
        (Some(1), Some("campaign_id"))
    );
}

#[test]
fn event_time_must_be_a_timestamp_of_the_source() {
    for (column, message) in [
        ("campaign_id", "event time is a timestamp, but \"campaign_id\" is int64"),
        ("evnt_time", "there is no column \"evnt_time\""),
    ] {
        let mut spec = ad_campaigns();
        spec.sources[0].watermark.as_mut().unwrap().column = column.into();
        let found = mistakes(&spec);
        assert_eq!(found[0].0, "sources.events watermark.column");
        assert!(found[0].1.starts_with(message), "{found:?}");
    }
    let mut spec = ad_campaigns();
    spec.sources[0].watermark = None;
    assert!(mistakes(&spec)[0].1.contains("add [sources.events.watermark]"));
    let mut spec = ad_campaigns();
    spec.sources[0].watermark.as_mut().unwrap().column = "_timestamp".into();
    let plan = plan(&spec).unwrap();
    assert_eq!(plan.sources[0].projection.meta, [crate::schema::MetaColumn::Timestamp]);
}

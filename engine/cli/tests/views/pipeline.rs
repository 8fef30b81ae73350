//! A pipeline that counts views: what tests have in common that let its surroundings fail.
//!
//! Included by the tests with `#[path]`, because a folder under `tests/` is no crate of its own.

/// Views per window and campaign, to a topic and to the lake at `LAKE`. It follows the lines of the source itself.
pub(crate) const COUNTING: &str = r#"
[sources.events.schema]
campaign = "int64"
time = "timestamp(ms)"
[sources.events.watermark]
column = "time"
delay = "0s"
[transforms.per_campaign]
type = "window"
input = "events"
kind = "tumbling"
size = "10s"
group_by = ["campaign"]
[transforms.per_campaign.aggregates]
views = "count(*)"
[sinks.results]
type = "kafka"
input = "per_campaign"
topic = "results"
key = "campaign"
[sinks.lake]
type = "parquet"
input = "per_campaign"
path = "LAKE"
"#;

//! Windows in update mode, whose rows come before they close.

use std::collections::BTreeMap;

use serde_json::json;

use crate::scene::{BASE_MS, Pipeline, broker, head, integer, keyed};

const UPDATES: &str = r#"
[transforms.counts]
type = "window"
input = "events"
kind = "hopping"
size = "10s"
slide = "5s"
group_by = ["campaign"]
mode = "update"
aggregates = { views = "count(*)" }
[transforms.keyed]
type = "select"
input = "counts"
columns = { id = "concat(cast(campaign as varchar), '@', cast(window_start as varchar))", start = "window_start", campaign = "campaign", views = "views" }
[sinks.results]
type = "kafka"
input = "keyed"
topic = "results"
key = "id"
"#;

#[test]
fn updates_come_before_windows_close_and_count_what_all_partitions_have() {
    let (broker, folder) = (broker(2), tempfile::tempdir().unwrap());
    let run = Pipeline::write(folder.path(), &head(&broker), UPDATES);
    let in_partitions = |events: &[(i64, i64, i64)]| {
        let record = |(partition, campaign, after): &(i64, i64, i64)| {
            let value = json!({"campaign": campaign, "time": BASE_MS + after}).to_string();
            format!("{}\n", json!({"partition": partition, "value": value}))
        };
        let lines: String = events.iter().map(record).collect();
        broker
            .engine_with_input(&["produce", "events", "--json"], lines.as_bytes())
            .success();
    };
    // What a reader who keeps the last row of each key has, and how often each came.
    let table = || {
        let mut table = BTreeMap::new();
        for (key, row) in keyed(&broker, "results") {
            let (start, campaign) = (integer(&row, "start") - BASE_MS, integer(&row, "campaign"));
            assert_eq!(
                key.as_str().unwrap().split('@').next(),
                Some(campaign.to_string().as_str())
            );
            let (views, times) = table.entry((start, campaign)).or_insert((0, 0));
            (*views, *times) = (integer(&row, "views"), *times + 1);
        }
        table
    };
    let views = |table: &BTreeMap<(i64, i64), (i64, i32)>| -> Vec<(i64, i64, i64)> {
        table
            .iter()
            .map(|((start, campaign), (views, _))| (*start, *campaign, *views))
            .collect()
    };
    in_partitions(&[(0, 1, 5_000), (1, 1, 5_000), (1, 2, 5_000)]);
    run.until_end(&[]);
    let first = table();
    assert_eq!(
        views(&first),
        [(0, 1, 2), (0, 2, 1), (5_000, 1, 2), (5_000, 2, 1)],
        "no window has closed"
    );
    assert_eq!(first[&(0, 2)].1, 1);
    // One partition has news of one group; what the other and the run before know of it counts too.
    in_partitions(&[(0, 1, 9_999)]);
    run.until_end(&[]);
    let second = table();
    assert_eq!(views(&second), [(0, 1, 3), (0, 2, 1), (5_000, 1, 3), (5_000, 2, 1)]);
    assert_eq!(second[&(0, 2)].1, 1, "a group that did not change does not come again");
    run.until_end(&[]);
    assert_eq!(table(), second, "nothing changed");
    in_partitions(&[(0, 3, 15_000), (1, 3, 15_000)]);
    run.until_end(&[]);
    let third = table();
    let open = [(10_000, 3, 2), (15_000, 3, 2)];
    assert_eq!(views(&third), [&views(&second)[..], &open].concat());
    assert_eq!(third[&(0, 2)].1, 2, "the last row of a window that closed");
    run.until_end(&["--drain"]);
    assert_eq!(views(&table()), views(&third));
    assert_eq!(table()[&(15_000, 3)].1, third[&(15_000, 3)].1 + 1);
}

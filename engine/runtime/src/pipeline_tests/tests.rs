//! Pipelines that are right and wrong about themselves.

use std::path::Path;

use super::*;
use crate::config::{Surroundings, parse};

mod record_keys;

const PIPELINE: &str = r#"
name = "clicks"
[kafka]
bootstrap.servers = "embedded"
[sources.events]
type = "kafka"
topics = ["events"]
format = "json"
on_error = "dead_letter"
[sources.events.schema]
user = "string"
kind = "string"
price = "float64"
at = "timestamp(ms)"
[sources.events.watermark]
column = "at"
delay = "2s"
max_future_skew = "1m"
[transforms.clicks]
type = "filter"
input = "events"
where = "kind = 'click'"
[transforms.per_user]
type = "window"
input = "clicks"
kind = "tumbling"
size = "10s"
group_by = ["user"]
late_output = "late"
[transforms.per_user.aggregates]
clicks = "count(*)"
spent = "sum(price)"
[sinks.results]
type = "kafka"
input = "per_user"
topic = "results"
format = "json"
timestamps = "rfc3339"
[sinks.late]
type = "kafka"
topic = "late"
format = "json"
[dead_letter]
topic = "dead"
"#;

fn pipeline(tests: &str) -> Pipeline {
    let text = format!("{PIPELINE}\n{tests}");
    let surroundings = Surroundings {
        overrides: &[],
        variable: &|_| None,
    };
    match parse("clicks.toml", text.as_bytes(), &surroundings) {
        Ok(loaded) => loaded.pipeline,
        Err(mistakes) => panic!("{mistakes}"),
    }
}

fn report(tests: &str) -> TestReport {
    let pipeline = pipeline(tests);
    let tests = read(&pipeline, Path::new(".")).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    run(&pipeline, &tests, None)
}

/// Runs the tests, which have to pass.
fn passes(tests: &str) {
    let report = report(tests);
    assert_eq!(report.failed(), 0, "{report}");
    assert!(!report.tests.is_empty());
}

#[test]
fn what_comes_out_of_streams_and_sinks_is_compared_by_the_columns_that_are_named() {
    passes(
        r#"
        [[tests]]
        name = "counts clicks"
        input.events = [
            { user = "a", kind = "click", price = 0.1, at = 1_000 },
            { user = "a", kind = "view", at = 1_500 },
            { user = "a", kind = "click", price = 0.2, at = 2_000 },
            '{"user": "b", "kind": "click", "price": null, "at": "1970-01-01T00:00:11Z"}',
        ]
        expect.clicks = [{ user = "a", at = 1_000 }, { user = "a", at = 2_000 }, { user = "b", at = 11_000 }]
        expect.per_user = [
            { user = "a", clicks = 2, spent = 0.3, window_end = 10_000 },
            '{"user": "b", "clicks": 1, "spent": null, "window_end": 20000}',
        ]
        expect.results = [
            { user = "a", window_start = "1970-01-01T00:00:00Z" },
            { user = "b", window_start = "1970-01-01T00:00:10Z" },
        ]
        "#,
    );
}

#[test]
fn rows_behind_the_watermark_are_late_and_those_before_it_in_the_file_are_not() {
    passes(
        r#"
        [[tests]]
        name = "late by one row"
        input.events = [
            { user = "a", kind = "click", at = 11_999 },
            { user = "a", kind = "click", at = 9_999 },
            { user = "a", kind = "click", at = 12_000 },
            { user = "b", kind = "click", at = 9_999 },
        ]
        expect.late = [{ user = "b", at = 9_999 }]
        expect.per_user = [{ window_end = 10_000, clicks = 1 }, { window_end = 20_000, clicks = 2 }]
        "#,
    );
}

#[test]
fn the_slowest_partition_holds_the_watermark_back_from_its_first_row_on() {
    passes(
        r#"
        [[tests]]
        name = "two partitions"
        input.events = [
            { _partition = 1, user = "a", kind = "click", at = 1_000 },
            { _partition = 0, user = "a", kind = "click", at = 60_000 },
            { _partition = 0, user = "a", kind = "click", at = 2_000 },
        ]
        expect.late = []
        expect.per_user = [{ window_end = 10_000, clicks = 2 }, { window_end = 70_000, clicks = 1 }]
        "#,
    );
}

#[test]
fn a_partition_that_is_silent_for_the_idle_timeout_by_the_records_clock_holds_nothing_back() {
    let test = |name: &str, last: u64, expected: &str| {
        format!(
            r#"
            [[tests]]
            name = "{name}"
            input.events = [
                {{ _partition = 1, _timestamp = 0, user = "a", kind = "click", at = 1_000 }},
                {{ _partition = 0, _timestamp = 1_000, user = "a", kind = "click", at = 60_000 }},
                {{ _partition = 1, _timestamp = {last}, user = "b", kind = "click", at = 2_000 }},
            ]
            {expected}
            "#
        )
    };
    let together = "expect.late = []\nexpect.per_user = [{ user = 'a', window_end = 10_000 }, { user = 'b', window_end = 10_000 }, { user = 'a', window_end = 70_000 }]";
    let late = "expect.late = [{ user = 'b' }]\nexpect.per_user = [{ user = 'a', window_end = 10_000 }, { user = 'a', window_end = 70_000 }]";
    passes(&format!(
        "{}{}{}",
        test("not yet", 29_999, together),
        test("idle", 30_000, late),
        test("a clock beyond all clocks", i64::MAX as u64, late),
    ));
}

#[test]
fn windows_that_are_open_at_the_end_stay_so_without_a_drain() {
    passes(
        r#"
        [[tests]]
        name = "still open"
        drain = false
        input.events = [
            { user = "a", kind = "click", at = 1_000 },
            { user = "a", kind = "click", at = 12_000 },
        ]
        expect.per_user = [{ window_end = 10_000, clicks = 1 }]
        "#,
    );
}

#[test]
fn the_clock_is_the_records_timestamp() {
    passes(
        r#"
        [[tests]]
        name = "a wrong clock"
        input.events = [
            { _timestamp = 1_000, user = "a", kind = "click", at = 1_000 },
            { _timestamp = 1_000, user = "a", kind = "click", at = 3_600_000 },
            { _timestamp = 2_000, user = "a", kind = "click", at = 2_000 },
        ]
        expect.late = []
        "#,
    );
}

/// Pitfall 24 of the stream engine: a null payload is a malformed record and no panic.
#[test]
fn dead_letters_can_be_expected() {
    passes(
        r#"
        [[tests]]
        name = "malformed"
        ordered = true
        input.events = [
            'not json',
            { _partition = 3, _key = "k", user = 5, at = 1 },
            '{"_value": null}',
            { user = "a", kind = "click", at = 1_000 },
        ]
        expect.dead_letter = [
            { partition = 0, offset = 0, value = "not json" },
            { partition = 3, offset = 0, value = '{"at":1,"user":5}' },
            '{"partition": 0, "offset": 1, "value": null}',
        ]
        expect.per_user = [{ clicks = 1 }]
        "#,
    );
}

#[test]
fn a_difference_names_both_sides() {
    let report = report(
        r#"
        [[tests]]
        name = "wrong about it"
        input.events = [{ user = "a", kind = "click", price = 1.5, at = 1_000 }]
        expect.per_user = [{ user = "a", clicks = 2 }]
        expect.late = [{ user = "z" }]
        [[tests]]
        name = "right about it"
        input.events = []
        expect.per_user = []
        "#,
    );
    assert_eq!(
        report.to_string(),
        r#"running 2 tests of pipeline clicks
test wrong about it ... FAILED
test right about it ... ok

wrong about it (clicks.toml:47:9)
  per_user: 1 missing (-), 1 unexpected (+), 0 as expected
    - clicks.toml:50:28  {"clicks":2,"user":"a"}
    +                    {"clicks":1,"user":"a"}
  late: 1 missing (-), 0 unexpected (+), 0 as expected
    - clicks.toml:51:24  {"user":"z"}

test result: FAILED. 1 passed; 1 failed; 0 filtered out"#
    );
}

#[test]
fn a_pipeline_that_stops_fails_the_test_with_its_reason() {
    let text = PIPELINE.replace("on_error = \"dead_letter\"", "on_error = \"fail\"");
    let text = format!("{text}\n[[tests]]\nname = \"stops\"\ninput.events = ['{{}}', 'not json']\nexpect.late = []\n");
    let surroundings = Surroundings {
        overrides: &[],
        variable: &|_| None,
    };
    let pipeline = parse("clicks.toml", text.as_bytes(), &surroundings).unwrap().pipeline;
    let tests = read(&pipeline, Path::new(".")).unwrap();
    let report = run(&pipeline, &tests, None);
    let error = report.tests[0].error.as_deref().unwrap();
    assert!(
        error.contains("clicks.toml:") && error.contains("on_error = \"fail\""),
        "{error}"
    );
}

#[test]
fn a_filter_is_a_part_of_the_name() {
    let pipeline = pipeline(
        "[[tests]]\nname = 'one'\ninput.events = []\nexpect.late = []\n\
         [[tests]]\nname = 'another'\ninput.events = []\nexpect.late = []\n",
    );
    let tests = read(&pipeline, Path::new(".")).unwrap();
    for (filter, ran) in [(None, 2), (Some("one"), 1), (Some("o"), 2), (Some("none"), 0)] {
        let report = run(&pipeline, &tests, filter);
        assert_eq!((report.tests.len(), report.filtered_out), (ran, 2 - ran), "{filter:?}");
    }
}

#[test]
fn files_are_beside_the_pipeline_file_and_their_mistakes_have_carets() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let pipeline = pipeline(
        r#"
        [[tests]]
        name = "files"
        input.events = "in.jsonl"
        expect.per_user = "out.jsonl"
        expect.late = "nothing.jsonl"
        "#,
    );
    let told = read(&pipeline, folder.path()).unwrap_err().to_string();
    assert_eq!(told.matches("there is no such file").count(), 3, "{told}");

    write("in.jsonl", "{\"_partition\": 0.5}\n");
    write("out.jsonl", "\n  {\"cliks\": 1}\n{\"clicks\": 1}\r\n{\"user\": \"a\"}");
    write("nothing.jsonl", "");
    let told = read(&pipeline, folder.path()).unwrap_err().to_string();
    assert_eq!(
        told,
        r#"in.jsonl:1:1: error: `_partition` of a test's row is a partition's number, 0 or more
    1 | {"_partition": 0.5}
      | ^^^^^^^^^^^^^^^^^^^

out.jsonl:2:3: error: there is no column `cliks` here
    2 |   {"cliks": 1}
      |   ^^^^^^^^^^^^
      = did you mean `clicks`?
      = valid columns: window_start, window_end, user, clicks, spent

out.jsonl:4:1: error: this row names other columns than the first one
    4 | {"user": "a"}
      | ^^^^^^^^^^^^^
      = here: user
      = at out.jsonl:3:1: clicks
      = write null where a column is null"#
    );

    write("in.jsonl", "{\"user\": \"a\", \"kind\": \"click\", \"at\": 1000}\n");
    write("out.jsonl", "{\"clicks\": 1, \"user\": \"a\"}\n");
    let report = run(&pipeline, &read(&pipeline, folder.path()).unwrap(), None);
    assert_eq!(report.failed(), 0, "{report}");
}

#[test]
fn repeats_within_the_horizon_do_not_come_out_of_a_dedup() {
    passes(
        r#"
        [transforms.once]
        type = "dedup"
        input = "events"
        keys = ["user"]
        horizon = "10s"
        [sinks.once_each]
        type = "kafka"
        input = "once"
        topic = "once"
        format = "json"
        [[tests]]
        name = "once each"
        input.events = [
            { user = "a", at = 1_000 },
            { user = "a", at = 2_000 },
            { user = "b", at = 2_000 },
            { user = "b", at = 60_000 },
        ]
        expect.once_each = [{ user = "a", at = 1_000 }, { user = "b", at = 2_000 }, { user = "b", at = 60_000 }]
        "#,
    );
}

#[test]
fn a_session_is_one_whichever_partitions_its_rows_are_in() {
    passes(
        r#"
        [transforms.visits]
        type = "window"
        input = "events"
        kind = "session"
        gap = "10s"
        group_by = ["user"]
        [transforms.visits.aggregates]
        pages = "count(*)"
        [sinks.visits_out]
        type = "kafka"
        input = "visits"
        topic = "visits"
        format = "json"
        [[tests]]
        name = "one visit"
        input.events = [
            { _partition = 0, user = "a", at = 1_000 },
            { _partition = 1, user = "a", at = 9_000 },
            { _partition = 0, user = "b", at = 15_000 },
            { _partition = 1, user = "b", at = 14_500 },
            { _partition = 1, user = "b", at = 40_000 },
        ]
        expect.visits = [
            { user = "a", window_start = 1_000, window_end = 19_000, pages = 2 },
            { user = "b", window_start = 14_500, window_end = 25_000, pages = 2 },
            { user = "b", window_start = 40_000, window_end = 50_000, pages = 1 },
        ]
        "#,
    );
}

//! Keys of the records that Kafka sinks write.

use super::*;

#[test]
fn the_keys_of_a_kafka_sinks_records_can_be_expected() {
    passes(
        r#"
        [sinks.by_user]
        type = "kafka"
        input = "per_user"
        topic = "by-user"
        key = "user"
        [sinks.by_window]
        type = "kafka"
        input = "per_user"
        topic = "by-window"
        key = "window_start"
        [transforms.as_it_came]
        type = "select"
        input = "events"
        columns = { _key = "_key", at = "at" }
        [sinks.copies]
        type = "kafka"
        input = "as_it_came"
        topic = "copies"
        key = "_key"
        [[tests]]
        name = "keys"
        input.events = [
            { user = "a", kind = "click", at = 1_000, _key = "k" },
            { kind = "click", at = 1_000 },
        ]
        expect.by_user = ['{"_key": "a", "user": "a"}', '{"_key": null, "user": null}']
        expect.by_window = [{ _key = "1970-01-01T00:00:00Z", clicks = 1 }, { _key = "1970-01-01T00:00:00Z", clicks = 1 }]
        expect.results = ['{"_key": null}', '{"_key": null}']
        expect.copies = ['{"_key": "k", "at": 1000}', '{"_key": null, "at": 1000}']
        "#,
    );
}

#[test]
fn another_key_than_the_expected_one_is_a_difference_and_streams_and_files_have_none() {
    let report = report(
        r#"
        [sinks.by_user]
        type = "kafka"
        input = "per_user"
        topic = "by-user"
        key = "user"
        [[tests]]
        name = "keys"
        input.events = [{ user = "a", kind = "click", at = 1_000 }]
        expect.by_user = [{ _key = "b" }]
        "#,
    );
    let told = report.to_string();
    assert!(
        told.contains(r#"{"_key":"b"}"#) && told.contains(r#"+                    {"_key":"a"}"#),
        "{told}"
    );

    let text =
        format!("{PIPELINE}\n[[tests]]\nname = 'no record'\ninput.events = []\nexpect.per_user = [{{ _key = 'a' }}]\n");
    let surroundings = Surroundings {
        overrides: &[],
        variable: &|_| None,
    };
    let told = parse("clicks.toml", text.as_bytes(), &surroundings)
        .unwrap_err()
        .to_string();
    assert!(told.contains("there is no column `_key` here"), "{told}");
}

//! What a user is told when the store is not there or says no.

use std::error::Error;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use engine_lake::{LakeStore, recover};

use crate::lossy_proxy::{Fate, LossyProxy};
use crate::table::{Table, numbered, open_writer, options, writer_id};

/// The error with its causes, as the command line prints it.
fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[test]
fn a_dead_endpoint_ends_in_an_error_that_names_it_and_how_long_it_was_asked() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let store = Table::store_at(&address, "some-bucket", Duration::from_secs(1));
    let started = Instant::now();
    let error = told(&recover(&store, &writer_id(), None).unwrap_err());
    assert!(started.elapsed() < Duration::from_secs(60), "retries are bounded");
    for part in [
        &format!("http://{address}/some-bucket/"),
        "s3://some-bucket/lake/events",
        "gave up after",
        "attempts in",
    ] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
    assert!(!error.contains("hush"), "{error}");
}

#[test]
fn a_missing_bucket_is_named_at_the_first_look() {
    let Some(table) = Table::new() else { return };
    let store = Table::store_at(&table.server.address, "nobody-made-this", Duration::from_secs(30));
    let error = told(&recover(&store, &writer_id(), None).unwrap_err());
    assert!(
        error.contains("404 NoSuchBucket") && error.contains("nobody-made-this"),
        "{error}"
    );
}

#[test]
fn a_store_that_is_away_for_a_moment_is_waited_for() {
    let Some(table) = Table::new() else { return };
    let proxy = LossyProxy::start(&table.server.address, |number, _| {
        if number % 3 == 2 { Fate::Through } else { Fate::Unsent }
    });
    let store = Table::store_at(&proxy.address, &table.bucket, Duration::from_secs(60));
    let mut writer = open_writer(&store, Default::default()).unwrap();
    writer.write(&numbered(0..10)).unwrap();
    let staged = writer.stage(1).unwrap();
    writer.publish(&staged).unwrap();
    assert_eq!(table.values(), (0..10).collect::<Vec<_>>());
}

#[test]
fn mistakes_in_a_location_are_found_without_asking_anybody() {
    let fine = options("127.0.0.1:1", Duration::from_secs(1));
    LakeStore::check("s3://bucket/prefix", &fine).unwrap();
    for (location, part) in [
        ("s3:///prefix", "no bucket"),
        ("s3a://bucket/prefix", "nor s3://BUCKET/PREFIX"),
        ("s3://bucket/p?region=x", "options are keys of their own"),
    ] {
        let error = told(&LakeStore::check(location, &fine).unwrap_err());
        assert!(error.contains(part), "{error}");
    }
    let half = engine_lake::S3Options {
        secret_access_key: None,
        ..fine
    };
    let error = told(&LakeStore::check("s3://bucket", &half).unwrap_err());
    assert!(error.contains("given together"), "{error}");
}

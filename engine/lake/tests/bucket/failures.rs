//! What a user is told when the store is not there or says no.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use engine_lake::{Compression, LakeConfig, LakeStore, recover};

use crate::lossy_proxy::{Fate, LossyProxy};
use crate::steps::scattered;
use crate::table::{ANYBODY, Table, numbered, open_writer, options, store_in, writer_id};

/// The error with its causes, as the command line prints it.
pub(crate) fn told(error: &dyn Error) -> String {
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
    let store = store_in("some-bucket", &options(ANYBODY, &address, Duration::from_secs(1)));
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
    let store = store_in(
        "nobody-made-this",
        &options(table.server.keys(), &table.server.address, Duration::from_secs(30)),
    );
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
    let store = table.store_at(&proxy.address, Duration::from_secs(60));
    let mut writer = open_writer(&store, Default::default()).unwrap();
    writer.write(&numbered(0..10)).unwrap();
    let staged = writer.stage(1).unwrap();
    writer.publish(&staged).unwrap();
    assert_eq!(table.values(), (0..10).collect::<Vec<_>>());
}

/// Answers each request with what `said` makes of its method, as soon as it has read its head, and closes: what is sent
/// after that is reset.
fn answering(said: fn(&[u8]) -> (&'static str, &'static str)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|read| read > 0) {
                head.push(byte[0]);
            }
            let (status, said) = said(head.split(|byte| *byte == b' ').next().unwrap_or_default());
            let length = said.len();
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            let _ = client.write_all((head + said).as_bytes());
        }
    });
    address
}

/// An empty bucket that refuses every put unread.
fn refusing_unread() -> String {
    answering(|method| match method {
        b"PUT" => ("403 Forbidden", "<Error><Code>AccessDenied</Code></Error>"),
        b"GET" => ("200 OK", "<ListBucketResult></ListBucketResult>"),
        _ => ("404 Not Found", ""),
    })
}

#[test]
fn a_list_that_never_ends_is_given_up() {
    let address = answering(|_| {
        (
            "200 OK",
            "<ListBucketResult><NextContinuationToken>again</NextContinuationToken></ListBucketResult>",
        )
    });
    let store = store_in("some-bucket", &options(ANYBODY, &address, Duration::from_secs(2)));
    let error = told(&recover(&store, &writer_id(), None).unwrap_err());
    assert!(error.contains("goes on where it began"), "{error}");
}

/// What is missing from it could be a version of the manifest, or a file to delete.
#[test]
fn a_list_that_is_cut_off_without_a_way_on_is_no_list() {
    let address = answering(|method| match method {
        b"GET" => (
            "200 OK",
            "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        ),
        _ => ("404 Not Found", ""),
    });
    let store = store_in("some-bucket", &options(ANYBODY, &address, Duration::from_secs(2)));
    let error = told(&recover(&store, &writer_id(), None).unwrap_err());
    assert!(error.contains("cut off"), "{error}");
}

#[test]
fn a_store_that_refuses_a_large_file_unread_is_understood() {
    let store = store_in(
        "some-bucket",
        &options(ANYBODY, &refusing_unread(), Duration::from_secs(2)),
    );
    let config = LakeConfig {
        compression: Compression::None,
        dictionary: false,
        ..LakeConfig::default()
    };
    let mut writer = open_writer(&store, config).unwrap();
    writer.write(&scattered(250_000)).unwrap();
    let error = told(&writer.stage(1).unwrap_err());
    assert!(
        error.contains("403 AccessDenied") && error.contains("after 1 attempts"),
        "{error}"
    );
}

#[test]
fn mistakes_in_a_location_are_found_without_asking_anybody() {
    let fine = options(ANYBODY, "127.0.0.1:1", Duration::from_secs(1));
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

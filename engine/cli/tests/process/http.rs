//! Asks a run's HTTP server, as a scraper would: one request a connection.
#![allow(dead_code)] // Not every test file needs every part.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::process::Started;

/// Nothing that is waited for may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The server's address, from the banner of a run.
#[track_caller]
pub(crate) fn server_of(run: &mut Started) -> String {
    let banner = run.said("  server    http://");
    let (_, address) = banner.rsplit_once("  server    http://").expect("it was said");
    address.split('/').next().unwrap_or_default().to_owned()
}

/// Status and body of a GET; `None` while nobody listens.
pub(crate) fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut socket = TcpStream::connect(address).ok()?;
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let body = answer.split_once("\r\n\r\n")?.1.to_owned();
    Some((status, body))
}

/// Every sample of `/metrics`.
#[track_caller]
pub(crate) fn scrape(address: &str) -> BTreeMap<String, f64> {
    let (status, body) = get(address, "/metrics").expect("the server answers");
    assert_eq!(status, 200);
    let samples = body.lines().filter(|line| !line.starts_with('#'));
    samples
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        })
        .collect()
}

/// Scrapes until a series has at least this value.
#[track_caller]
pub(crate) fn scrape_until(address: &str, series: &str, least: f64) -> BTreeMap<String, f64> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let samples = scrape(address);
        if samples.get(series).is_some_and(|value| *value >= least) {
            return samples;
        }
        assert!(Instant::now() < deadline, "{series} is below {least}: {samples:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

//! Asks a run's HTTP server, as a scraper would: one request a connection.
#![allow(dead_code)] // Not every test file needs every part.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::Child,
    sync::mpsc,
    time::{Duration, Instant},
};

/// Nothing that is waited for may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// The server's address, from the banner of a run whose standard error is read to its end from now on.
#[track_caller]
pub(crate) fn server_of(run: &mut Child) -> String {
    let mut stderr = BufReader::new(run.stderr.take().expect("piped"));
    let (sender, said) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        while stderr.read_line(&mut line).is_ok_and(|read| read > 0) {
            if let Some(rest) = line.strip_prefix("  server    http://") {
                let _ = sender.send(rest.split('/').next().unwrap_or_default().to_owned());
            }
            line.clear();
        }
    });
    said.recv_timeout(PATIENCE).expect("a banner with the server's address")
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

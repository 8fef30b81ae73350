//! Between client and server: counts requests, and from one of them on lets nothing through.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Decides about a request by its number, counted from 0, and its first line.
type Judge = dyn FnMut(usize, &str) -> Fate + Send;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Asked and answered.
    Through,
    /// The server never hears of it.
    Unsent,
    /// The server does it, and nobody hears of that.
    Unanswered,
}

pub(crate) struct LossyProxy {
    pub(crate) address: String,
    seen: Arc<AtomicUsize>,
}

impl LossyProxy {
    pub(crate) fn start(server: &str, judge: impl FnMut(usize, &str) -> Fate + Send + 'static) -> LossyProxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (server, seen) = (server.to_owned(), Arc::new(AtomicUsize::new(0)));
        let (judge, counted): (Arc<Mutex<Box<Judge>>>, _) = (Arc::new(Mutex::new(Box::new(judge))), Arc::clone(&seen));
        // Both threads end with the test process: nothing waits for them.
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (server, judge, counted) = (server.clone(), Arc::clone(&judge), Arc::clone(&counted));
                std::thread::spawn(move || relay(client, &server, &judge, &counted));
            }
        });
        LossyProxy { address, seen }
    }

    pub(crate) fn requests_seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

/// One request, as HTTP/1.0 to the server, so that both answers and connections end together.
fn relay(mut client: TcpStream, server: &str, judge: &Mutex<Box<Judge>>, seen: &AtomicUsize) -> Option<()> {
    let mut request = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let head = loop {
        if let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
        match client.read(&mut buffer).ok()? {
            0 => return None,
            read => request.extend_from_slice(&buffer[..read]),
        }
    };
    let head_text = String::from_utf8(request[..head].to_vec()).unwrap();
    let length = head_text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().unwrap())
    });
    while request.len() < head + length.unwrap_or(0) {
        let read = client.read(&mut buffer).ok().filter(|read| *read > 0)?;
        request.extend_from_slice(&buffer[..read]);
    }
    let line = head_text.lines().next().unwrap().to_owned();
    let fate = judge.lock().unwrap()(seen.fetch_add(1, Ordering::SeqCst), &line);
    if fate == Fate::Unsent {
        return None;
    }
    let mut upstream = TcpStream::connect(server).ok()?;
    upstream
        .write_all(line.replace("HTTP/1.1", "HTTP/1.0").as_bytes())
        .ok()?;
    upstream.write_all(&request[line.len()..]).ok()?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).ok()?;
    if fate == Fate::Through {
        client.write_all(&answer).ok()?;
        client.shutdown(Shutdown::Write).ok()?;
    }
    Some(())
}

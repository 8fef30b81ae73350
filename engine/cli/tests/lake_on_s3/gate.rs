//! Between the engine and its S3 server: a port that lets everything through, is closed, or answers by itself.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// The server gets it.
    Open,
    /// Nobody listens.
    Closed,
    /// An answer with this status and this code of S3's.
    Answers(u16, &'static str),
}

/// Ends with the test process: nothing waits for its threads.
pub(crate) struct GatedServer {
    pub(crate) address: SocketAddr,
    gate: Arc<Mutex<Gate>>,
}

impl GatedServer {
    pub(crate) fn start(server: &str) -> GatedServer {
        let listener = bind("127.0.0.1:0".parse().unwrap());
        let address = listener.local_addr().unwrap();
        let gate = Arc::new(Mutex::new(Gate::Open));
        let (server, is_set) = (server.to_owned(), Arc::clone(&gate));
        std::thread::spawn(move || serve(listener, address, &server, &is_set));
        GatedServer { address, gate }
    }

    /// For every request from now on, also on connections that are there.
    pub(crate) fn set(&self, gate: Gate) {
        *self.gate.lock().unwrap() = gate;
    }
}

fn bind(address: SocketAddr) -> TcpListener {
    let listener = TcpListener::bind(address).expect("the port is ours");
    listener.set_nonblocking(true).unwrap();
    listener
}

fn serve(listener: TcpListener, address: SocketAddr, server: &str, gate: &Mutex<Gate>) {
    let (mut listener, mut known, mut clients) = (Some(listener), Gate::Open, Vec::<TcpStream>::new());
    loop {
        let now = *gate.lock().unwrap();
        if now != known {
            known = now;
            for client in clients.drain(..) {
                let _ = client.shutdown(Shutdown::Both);
            }
        }
        if now == Gate::Closed {
            listener = None;
        }
        let accepted = match &mut listener {
            None if now == Gate::Closed => Err(io::ErrorKind::WouldBlock.into()),
            listener => listener.get_or_insert_with(|| bind(address)).accept(),
        };
        let Ok((client, _)) = accepted else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        client.set_nonblocking(false).unwrap();
        clients.push(client.try_clone().unwrap());
        let server = server.to_owned();
        std::thread::spawn(move || match now {
            Gate::Answers(status, code) => answer(client, status, code),
            _ => relay(client, &server),
        });
    }
}

fn relay(client: TcpStream, server: &str) -> Option<()> {
    let server = TcpStream::connect(server).ok()?;
    let (mut up_from, mut up_to) = (client.try_clone().ok()?, server.try_clone().ok()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut up_from, &mut up_to);
        let _ = up_to.shutdown(Shutdown::Both);
    });
    let (mut from, mut to) = (server, client);
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
    Some(())
}

/// Answers one request, once it has been read whole: a body that nobody reads would look like a lost connection.
fn answer(mut client: TcpStream, status: u16, code: &str) -> Option<()> {
    let (mut request, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    let whole = loop {
        if let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = std::str::from_utf8(&request[..end]).ok()?.to_ascii_lowercase();
            let body = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            break end + 4 + body.map_or(0, |length| length.trim().parse().unwrap());
        }
        let read = client.read(&mut buffer).ok().filter(|read| *read > 0)?;
        request.extend_from_slice(&buffer[..read]);
    };
    while request.len() < whole {
        let read = client.read(&mut buffer).ok().filter(|read| *read > 0)?;
        request.extend_from_slice(&buffer[..read]);
    }
    let body = match request.starts_with(b"HEAD ") {
        true => String::new(),
        false => {
            format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>so said the gate</Message></Error>")
        }
    };
    let head = format!(
        "HTTP/1.1 {status} {code}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    client.write_all((head + &body).as_bytes()).ok()?;
    client.shutdown(Shutdown::Write).ok()
}

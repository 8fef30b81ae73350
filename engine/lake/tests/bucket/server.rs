//! moto, an S3 server from PyPI that shares no code with us, on a port of its own.
//!
//! `scripts/s3-server install` fetches it; `ENGINE_MOTO_SERVER` names another. Without it these tests say that they were
//! skipped; with `ENGINE_REQUIRE_S3=1` they fail.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

const ANYBODY: &str = "Authorization: AWS4-HMAC-SHA256 Credential=reader/20260102/us-east-1/s3/aws4_request, \
    SignedHeaders=host, Signature=0\r\n";

/// A running server; it ends when the last test lets go of it.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: String,
}

/// The server that all tests of this process share, or `None` if there is no moto here.
pub(crate) fn server() -> Option<Arc<Server>> {
    static RUNNING: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut running = RUNNING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(server) = running.upgrade() {
        return Some(server);
    }
    let Some(program) = program() else {
        assert!(
            std::env::var_os("ENGINE_REQUIRE_S3").is_none(),
            "ENGINE_REQUIRE_S3 is set, but there is no moto_server"
        );
        // Not through the harness, which would capture it.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: no S3 server (scripts/s3-server install), so no test of it"
        );
        return None;
    };
    let server = Arc::new(Server::start(&program));
    *running = Arc::downgrade(&server);
    Some(server)
}

fn program() -> Option<PathBuf> {
    let named = std::env::var_os("ENGINE_MOTO_SERVER").map(PathBuf::from);
    let usual = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/s3-venv/bin/moto_server");
    named.or(Some(usual)).filter(|program| program.is_file())
}

impl Server {
    fn start(program: &Path) -> Server {
        let mut process = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once("Running on http://")?.1.trim().to_owned()))
            .expect("moto says where it runs");
        // Whoever does not read its log stops it in the end.
        std::thread::spawn(move || lines.for_each(drop));
        Server { process, address }
    }

    /// Makes a bucket of its own for one test.
    pub(crate) fn bucket(&self) -> String {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let bucket = format!("bucket-{}", MADE.fetch_add(1, Ordering::Relaxed));
        assert_eq!(self.ask("PUT", &format!("/{bucket}")).0, 200);
        bucket
    }

    /// Asks without any of our client's code: HTTP/1.0, so that the answer ends with the connection. moto wants a
    /// signature and does not check it.
    pub(crate) fn ask(&self, method: &str, path: &str) -> (u16, Vec<u8>) {
        self.ask_with(method, path, "")
    }

    /// The same with further headers, each with its line's end.
    pub(crate) fn ask_with(&self, method: &str, path: &str, headers: &str) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Length: 0\r\n{ANYBODY}",
            self.address
        );
        write!(stream, "{head}{headers}\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
        let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
        (status, answer.split_off(head))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

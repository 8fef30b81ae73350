//! An S3 server that shares no code with us: moto from PyPI, on a port of its own.
//!
//! `scripts/s3-server install` fetches it; `ENGINE_MOTO_SERVER` names another moto, `ENGINE_S3_SERVER=HOST:PORT` a server
//! that runs already, with keys in `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`. Without any of them these tests say
//! that they were skipped; with `ENGINE_REQUIRE_S3=1` they fail.

#[path = "signer.rs"]
mod signer;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// A running server; one that we started ends when the last test lets go of it.
pub(crate) struct Server {
    process: Option<Child>,
    pub(crate) address: String,
    /// Whose certificates it shows, if it speaks TLS.
    ca: Option<PathBuf>,
    /// Id and secret, which moto does not check.
    keys: (String, String),
}

/// The server that all tests of this process share, or `None` if there is no moto here.
pub(crate) fn server() -> Option<Arc<Server>> {
    static RUNNING: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut running = RUNNING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(server) = running.upgrade() {
        return Some(server);
    }
    if let Ok(address) = std::env::var("ENGINE_S3_SERVER") {
        let server = Arc::new(Server::running_at(&address));
        *running = Arc::downgrade(&server);
        return Some(server);
    }
    let server = Arc::new(Server::start(&program()?, None));
    *running = Arc::downgrade(&server);
    Some(server)
}

/// A moto of its own that speaks TLS only, with this certificate and key and an authority that signed them.
#[allow(dead_code)] // Only one of the tests that include this file needs it.
pub(crate) fn encrypted(certificate: &Path, key: &Path, ca: &Path) -> Option<Arc<Server>> {
    Some(Arc::new(Server::start(&program()?, Some((certificate, key, ca)))))
}

/// moto, or `None`, said loudly.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("ENGINE_MOTO_SERVER").map(PathBuf::from);
    let usual = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/s3-venv/bin/moto_server");
    let program = named.or(Some(usual)).filter(|program| program.is_file());
    if program.is_none() {
        assert!(
            std::env::var_os("ENGINE_REQUIRE_S3").is_none(),
            "ENGINE_REQUIRE_S3 is set, but there is no moto_server"
        );
        // Not through the harness, which would capture it.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: no S3 server (scripts/s3-server install), so no test of it"
        );
    }
    program
}

impl Server {
    fn running_at(address: &str) -> Server {
        let variable = |name| std::env::var(name).unwrap_or_else(|_| panic!("ENGINE_S3_SERVER needs {name}"));
        Server {
            process: None,
            address: address.to_owned(),
            ca: None,
            keys: (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")),
        }
    }

    fn start(program: &Path, tls: Option<(&Path, &Path, &Path)>) -> Server {
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", "0"]);
        if let Some((certificate, key, _)) = tls {
            command.arg("-s").arg("-c").arg(certificate).arg("-k").arg(key);
        }
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once("Running on http")?.1.trim().to_owned()))
            .expect("moto says where it runs");
        let address = address.split_once("://").expect("a URL").1.to_owned();
        // Whoever does not read its log stops it in the end.
        std::thread::spawn(move || lines.for_each(drop));
        Server {
            process: Some(process),
            address,
            ca: tls.map(|(_, _, ca)| ca.to_owned()),
            keys: ("somebody".to_owned(), "hush-hush".to_owned()),
        }
    }

    /// Id and secret of somebody who may do everything.
    pub(crate) fn keys(&self) -> (&str, &str) {
        (&self.keys.0, &self.keys.1)
    }

    /// Makes a bucket of its own for one test.
    pub(crate) fn bucket(&self) -> String {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let bucket = format!("bucket-{}-{number}", now.as_millis());
        assert_eq!(self.ask("PUT", &format!("/{bucket}")).0, 200);
        bucket
    }

    /// Asks without any of our client's code: HTTP/1.0, so that the answer ends with the connection.
    pub(crate) fn ask(&self, method: &str, path: &str) -> (u16, Vec<u8>) {
        self.ask_with(method, path, "")
    }

    /// The same with further headers, each with its line's end.
    pub(crate) fn ask_with(&self, method: &str, path: &str, headers: &str) -> (u16, Vec<u8>) {
        let signed = signer::signed(self.keys(), &self.address, method, path, headers);
        let answer = self.talk(&format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Length: 0\r\n{signed}{headers}\r\n",
            self.address
        ));
        let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
        let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
        (status, answer[head..].to_vec())
    }

    fn talk(&self, request: &str) -> Vec<u8> {
        let mut answer = Vec::new();
        let Some(ca) = &self.ca else {
            let mut stream = TcpStream::connect(&self.address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            stream.read_to_end(&mut answer).unwrap();
            return answer;
        };
        let mut tunnel = Command::new("openssl")
            .args([
                "s_client",
                "-quiet",
                "-verify_return_error",
                "-connect",
                &self.address,
                "-CAfile",
            ])
            .arg(ca)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl runs");
        tunnel
            .stdin
            .as_mut()
            .expect("piped")
            .write_all(request.as_bytes())
            .unwrap();
        tunnel.stdout.take().expect("piped").read_to_end(&mut answer).unwrap();
        tunnel.wait().unwrap();
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

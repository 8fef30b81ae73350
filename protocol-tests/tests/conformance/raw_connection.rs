//! One connection that sends any request in any version, for what the client does not offer.
//!
//! Never here: what a broker can do (see `broker_facts`), retries.

use bytes::Bytes;
use engine_wire::messages::{ApiKey, Request};
use engine_wire::request::encode_request;
use engine_wire::response::{decode_body, decode_response_header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Answers of the suite are small; one beyond this is a fault.
const FRAME_BYTES_MAX: usize = 16 << 20;

/// Everything it does fails the behaviour if the broker does not answer.
pub(crate) struct RawConnection {
    stream: TcpStream,
    correlation_id: i32,
    client_id: String,
}

impl RawConnection {
    /// To the first of these servers, separated by commas, that takes connections.
    pub(crate) async fn open(servers: &str) -> Self {
        for server in servers.split(',') {
            if let Ok(stream) = TcpStream::connect(server.trim()).await {
                stream.set_nodelay(true).expect("a socket option");
                return Self {
                    stream,
                    correlation_id: 0,
                    client_id: "conformance".into(),
                };
            }
        }
        panic!("none of {servers} takes a connection");
    }

    /// Under this `client.id` from now on.
    pub(crate) fn named(mut self, client_id: &str) -> Self {
        self.client_id = client_id.into();
        self
    }

    /// One request, one answer.
    pub(crate) async fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.correlation_id += 1;
        let frame = encode_request(version, self.correlation_id, Some(&self.client_id), request).expect("encodes");
        let body = self.exchange(R::KEY, version, &frame).await;
        decode_body(version, body).expect("a whole response")
    }

    /// Sends a frame that is encoded already, under the correlation id [`next_correlation_id`](Self::next_correlation_id)
    /// gave, and gives the answer's body.
    pub(crate) async fn exchange(&mut self, api_key: i16, version: i16, frame: &[u8]) -> Bytes {
        self.stream.write_all(frame).await.expect("the broker reads");
        let size = self.stream.read_i32().await.expect("the broker answers");
        let size = usize::try_from(size).expect("a size is not negative");
        assert!(size <= FRAME_BYTES_MAX, "an answer of {size} bytes");
        let mut answer = vec![0; size];
        self.stream.read_exact(&mut answer).await.expect("the whole answer");
        let api_key = ApiKey::try_from(api_key).expect("a known key");
        let (correlation_id, body) =
            decode_response_header(api_key, version, Bytes::from(answer)).expect("a response header");
        assert_eq!(correlation_id, self.correlation_id, "answers come in order");
        body
    }

    pub(crate) fn next_correlation_id(&mut self) -> i32 {
        self.correlation_id += 1;
        self.correlation_id
    }
}

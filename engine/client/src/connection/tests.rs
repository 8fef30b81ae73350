//! A connection against a scripted peer on a real socket.

use std::{sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use engine_wire::{
    messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse, api_versions_response::ApiVersion},
    request::decode_request,
    response::encode_response,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{Connection, DialOptions, DisconnectReason, RequestError, dial};

fn options() -> DialOptions {
    DialOptions {
        client_id: "test".into(),
        setup_timeout: Duration::from_secs(5),
        idle_max: Duration::from_secs(60),
        frame_bytes_max: 1 << 20,
        send_buffer_bytes: None,
        receive_buffer_bytes: None,
    }
}

async fn listen() -> (TcpListener, Arc<str>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string().into();
    (listener, address)
}

/// The next request: its version and correlation id.
async fn read_request(stream: &mut TcpStream) -> (i16, i32) {
    let size = stream.read_u32().await.unwrap() as usize;
    let mut frame = vec![0; size];
    stream.read_exact(&mut frame).await.unwrap();
    let (header, _) = decode_request(Bytes::from(frame)).unwrap();
    (header.api_version, header.correlation_id)
}

/// An ApiVersions answer that lists ApiVersions alone.
fn versions(version: i16, correlation_id: i32, error_code: i16) -> Bytes {
    let api = ApiVersion::default()
        .with_api_key(ApiKey::ApiVersions as i16)
        .with_max_version(2);
    let body = ApiVersionsResponse::default()
        .with_error_code(error_code)
        .with_api_keys(vec![api]);
    encode_response(ApiKey::ApiVersions, version, correlation_id, &body).unwrap()
}

async fn greet(stream: &mut TcpStream) {
    let (version, correlation_id) = read_request(stream).await;
    stream.write_all(&versions(version, correlation_id, 0)).await.unwrap();
}

async fn connect() -> (Connection, TcpStream) {
    let (listener, address) = listen().await;
    let options = options();
    let accepted = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        greet(&mut stream).await;
        stream
    };
    let (connection, stream) = tokio::join!(dial(&address, &options, false), accepted);
    (connection.unwrap(), stream)
}

fn ask(
    connection: &Connection,
    timeout: Duration,
) -> impl Future<Output = Result<super::RawResponse, RequestError>> + use<> {
    connection.submit(2, &ApiVersionsRequest::default(), timeout).unwrap()
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn an_old_broker_answers_in_version_0_and_is_asked_again() {
    let (listener, address) = listen().await;
    let peer = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (version, correlation_id) = read_request(&mut stream).await;
        assert_eq!(version, 3);
        stream.write_all(&versions(0, correlation_id, 35)).await.unwrap();
        let (version, correlation_id) = read_request(&mut stream).await;
        assert_eq!(version, 2, "the newest that the broker listed");
        stream.write_all(&versions(2, correlation_id, 0)).await.unwrap();
        stream
    };
    let options = options();
    let (connection, _stream) = tokio::join!(dial(&address, &options, false), peer);
    assert_eq!(connection.unwrap().version(ApiKey::ApiVersions, None).unwrap(), 2);
}

#[tokio::test]
async fn a_peer_that_closes_on_the_greeting_is_told_apart() {
    let (listener, address) = listen().await;
    let peer = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
    };
    let options = options();
    let (failed, ()) = tokio::join!(dial(&address, &options, false), peer);
    assert!(failed.unwrap_err().reset_by_greeting);
}

#[tokio::test]
async fn requests_are_pipelined_and_answers_come_back_in_order() {
    let (connection, mut stream) = connect().await;
    let (first, second) = (ask(&connection, SECOND), ask(&connection, SECOND));
    let (_, one) = read_request(&mut stream).await;
    let (_, two) = read_request(&mut stream).await;
    stream.write_all(&versions(2, one, 0)).await.unwrap();
    stream.write_all(&versions(2, two, 7)).await.unwrap();
    let first: ApiVersionsResponse = first.await.unwrap().decode(ApiKey::ApiVersions).unwrap();
    let second: ApiVersionsResponse = second.await.unwrap().decode(ApiKey::ApiVersions).unwrap();
    assert_eq!((first.error_code, second.error_code), (0, 7));
}

#[tokio::test]
async fn a_silent_broker_fails_everything_in_flight() {
    let (connection, _stream) = connect().await;
    let slow = ask(&connection, 60 * SECOND);
    let quick = ask(&connection, Duration::from_millis(50));
    assert!(matches!(quick.await, Err(RequestError::TimedOut { .. })));
    assert!(slow.await.is_err());
    assert!(connection.is_closed());
}

#[tokio::test]
async fn a_broker_that_answers_what_was_not_asked_is_left() {
    let (connection, mut stream) = connect().await;
    let answer = ask(&connection, SECOND);
    let (_, correlation_id) = read_request(&mut stream).await;
    stream.write_all(&versions(2, correlation_id + 1, 0)).await.unwrap();
    let failed = answer.await.unwrap_err();
    assert!(
        matches!(
            &failed,
            RequestError::Disconnected {
                reason: DisconnectReason::Protocol(_),
                ..
            }
        ),
        "{failed}"
    );
}

#[tokio::test]
async fn a_frame_beyond_the_limit_closes_the_connection() {
    let (connection, mut stream) = connect().await;
    let answer = ask(&connection, SECOND);
    let mut frame = BytesMut::new();
    frame.put_i32(i32::MAX);
    stream.write_all(&frame).await.unwrap();
    let failed = answer.await.unwrap_err();
    assert!(
        matches!(
            &failed,
            RequestError::Disconnected {
                reason: DisconnectReason::Frame(_),
                ..
            }
        ),
        "{failed}"
    );
}

#[tokio::test]
async fn a_broker_that_closes_fails_what_is_in_flight_and_later_requests() {
    let (connection, stream) = connect().await;
    let answer = ask(&connection, SECOND);
    drop(stream);
    assert!(answer.await.unwrap_err().is_retriable());
    assert!(connection.submit(2, &ApiVersionsRequest::default(), SECOND).is_err());
}

#[tokio::test]
async fn dropping_the_handle_closes_the_socket() {
    let (connection, mut stream) = connect().await;
    drop(connection);
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn an_unused_connection_closes_itself() {
    let (listener, address) = listen().await;
    let options = DialOptions {
        idle_max: Duration::from_millis(50),
        ..options()
    };
    let peer = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        greet(&mut stream).await;
        stream.read(&mut [0; 1]).await.unwrap()
    };
    let (connection, read) = tokio::join!(
        async {
            let connection = dial(&address, &options, false).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
            connection
        },
        peer
    );
    assert_eq!(read, 0);
    assert!(connection.is_closed());
}

#[tokio::test]
async fn a_peer_that_stopped_reading_does_not_keep_the_connection_alive() {
    const FRAME_BYTES: usize = 64 << 20; // More than two sockets buffer.
    let (connection, mut stream) = connect().await;
    let id = connection.next_correlation_id();
    let frame = vec![Bytes::from(vec![0; FRAME_BYTES])];
    let answer = connection.submit_segments(ApiKey::Produce, 9, id, frame, Duration::from_millis(100), true);
    assert!(matches!(answer.unwrap().await, Err(RequestError::TimedOut { .. })));
    let mut read = 0;
    let mut buffer = vec![0; 1 << 20];
    let end = async {
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            read += count;
        }
    };
    tokio::time::timeout(5 * SECOND, end).await.expect("the end");
    assert!(read < FRAME_BYTES, "nobody waited for the peer to read on");
}

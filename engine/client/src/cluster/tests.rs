//! A cluster of one scripted broker on a real socket.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use engine_wire::{
    error_code::ErrorCode,
    messages::{
        ApiVersionsResponse, BrokerId, MetadataResponse, api_versions_response::ApiVersion,
        metadata_response::MetadataResponseBroker,
    },
    request::decode_request,
    response::encode_response,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

/// Answers Metadata number `broken`, counted from 0 over all connections, with bytes that mean nothing.
async fn serve(listener: TcpListener, broken: Option<usize>, asked: Arc<AtomicUsize>) {
    let port = listener.local_addr().unwrap().port();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let asked = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok(size) = stream.read_u32().await {
                let mut frame = vec![0; size as usize];
                stream.read_exact(&mut frame).await.unwrap();
                answer(&mut stream, frame.into(), port, broken, &asked).await;
            }
        });
    }
}

async fn answer(stream: &mut TcpStream, frame: Bytes, port: u16, broken: Option<usize>, asked: &AtomicUsize) {
    let (header, _) = decode_request(frame).unwrap();
    let (version, correlation_id) = (header.api_version, header.correlation_id);
    let response = if header.api_key == ApiKey::ApiVersions as i16 {
        let api = |key, max| ApiVersion::default().with_api_key(key as i16).with_max_version(max);
        let apis = vec![api(ApiKey::ApiVersions, 2), api(ApiKey::Metadata, 4)];
        let body = ApiVersionsResponse::default().with_api_keys(apis);
        match version {
            ..=2 => encode_response(ApiKey::ApiVersions, version, correlation_id, &body).unwrap(),
            _ => {
                let unsupported = body.with_error_code(ErrorCode::UNSUPPORTED_VERSION.code());
                encode_response(ApiKey::ApiVersions, 0, correlation_id, &unsupported).unwrap()
            }
        }
    } else if Some(asked.fetch_add(1, Ordering::SeqCst)) == broken {
        let mut garbage = BytesMut::new();
        garbage.put_u32(8);
        garbage.put_i32(correlation_id);
        garbage.put_i32(-2);
        garbage.freeze()
    } else {
        // Each answer names another broker, at the same address.
        let node_id = i32::try_from(asked.load(Ordering::SeqCst)).unwrap();
        let broker = MetadataResponseBroker::default()
            .with_node_id(BrokerId(node_id))
            .with_host("127.0.0.1".into())
            .with_port(port.into());
        let body = MetadataResponse::default().with_brokers(vec![broker]);
        encode_response(ApiKey::Metadata, version, correlation_id, &body).unwrap()
    };
    stream.write_all(&response).await.unwrap();
}

#[tokio::test]
async fn an_error_that_an_earlier_refresh_met_is_not_told_to_those_who_ask_later() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = ClientConfig::new(listener.local_addr().unwrap().to_string());
    let server = tokio::spawn(serve(listener, Some(1), Arc::default()));
    let cluster = Cluster::connect(&config).await.unwrap();
    let deadline = now() + Duration::from_secs(20);

    let met = cluster.wait_refreshed(cluster.refresh_metadata(), deadline).await;
    assert!(matches!(met, Err(RequestError::Decode { .. })), "{met:?}");
    let later = cluster.wait_refreshed(cluster.refresh_metadata(), deadline).await;
    assert!(later.is_ok(), "{later:?}");
    cluster.close();
    server.abort();
}

/// Pitfall 10: a hundred callers see the same broker die, and ask until they know its successor.
#[tokio::test]
async fn a_burst_of_demands_is_a_handful_of_requests() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = ClientConfig::new(listener.local_addr().unwrap().to_string());
    let asked = Arc::new(AtomicUsize::new(0));
    let server = tokio::spawn(serve(listener, None, Arc::clone(&asked)));
    let cluster = Cluster::connect(&config).await.unwrap();
    let started = now();
    let deadline = started + Duration::from_secs(20);
    let callers = (0..100).map(|_| async {
        for _ in 0..5 {
            let refreshed = cluster.wait_refreshed(cluster.refresh_metadata(), deadline).await;
            refreshed.unwrap();
        }
    });
    futures::future::join_all(callers).await;
    let requests = asked.load(Ordering::SeqCst);
    // One for the connection, one for each round, and one more where a round meets a request under way.
    assert!((6..=12).contains(&requests), "{requests} requests for 500 demands");
    let distance = now().saturating_duration_since(started) / u32::try_from(requests).unwrap();
    assert!(
        distance >= config.retry_backoff / 2,
        "{distance:?} between two requests"
    );
    cluster.close();
    server.abort();
}

#[tokio::test]
async fn brokers_that_are_replaced_again_and_again_leave_nothing_behind() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = ClientConfig::new(listener.local_addr().unwrap().to_string());
    config.retry_backoff = Duration::from_millis(1);
    let server = tokio::spawn(serve(listener, None, Arc::default()));
    let cluster = Cluster::connect(&config).await.unwrap();
    let deadline = now() + Duration::from_secs(20);
    let mut seen = Vec::new();
    for _ in 0..20 {
        cluster
            .wait_refreshed(cluster.refresh_metadata(), deadline)
            .await
            .unwrap();
        let node_id = cluster.metadata().brokers().next().unwrap().node_id;
        seen.push(node_id);
        let target = NodeTarget::Broker(node_id);
        cluster.connection(target, Lane::Control).await.unwrap();
        for slot in lock(&cluster.inner.slots).values() {
            slot.close(); // As the broker does that is replaced.
        }
    }
    seen.dedup();
    assert_eq!(seen.len(), 20);
    let places = lock(&cluster.inner.slots).len();
    assert!(places <= 4, "{places} places for connections to one broker at a time");
    cluster.close();
    server.abort();
}

//! Bytes that are no requests: an answer or a closed connection, and the broker lives on.

use engine_broker::BrokerConfig;
use engine_wire::messages::{ApiVersionsRequest, MetadataRequest};

use crate::client::{RawClient, batch, start, start_with};

/// A small generator, so that the bytes are the same in every run.
fn noise(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
}

#[tokio::test]
async fn frames_that_lie_about_their_size_close_the_connection() {
    let broker = start_with(BrokerConfig {
        frame_bytes_max: 1 << 20,
        ..BrokerConfig::default()
    })
    .await;
    for prefix in [-1i32, i32::MIN, i32::MAX, (1 << 20) + 1] {
        let mut client = RawClient::connect(&broker).await;
        client.write(&prefix.to_be_bytes()).await;
        assert!(client.frame().await.is_none(), "{prefix}");
    }
    let mut client = RawClient::connect(&broker).await;
    client.write(b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(client.frame().await.is_none());
}

#[tokio::test]
async fn noise_behind_every_request_header_is_survived() {
    let broker = start().await;
    for seed in 1..=20u64 {
        for api_key in 0..70i16 {
            let mut client = RawClient::connect(&broker).await;
            let mut bytes = noise(seed * 1_000 + u64::from(api_key.unsigned_abs()));
            let version = i16::from(bytes.next().unwrap_or_default() % 14);
            let mut frame = [
                &api_key.to_be_bytes()[..],
                &version.to_be_bytes(),
                &[0, 0, 0, 1],
                &[0xff, 0xff],
            ]
            .concat();
            // Short runs of small numbers get further into a message than noise does.
            let length = 10 + usize::from(bytes.next().unwrap_or_default());
            frame.extend(
                bytes
                    .take(length)
                    .map(|byte| if seed % 2 == 0 { byte % 4 } else { byte }),
            );
            client.write(&(frame.len() as i32).to_be_bytes()).await;
            client.write(&frame).await;
            // Joining and fetching may take their time; whatever else happens, happens at once.
            let answered = tokio::time::timeout(std::time::Duration::from_millis(50), client.frame()).await;
            drop(answered);
        }
    }
    let mut client = RawClient::connect(&broker).await;
    client.create("after").await;
    assert_eq!(client.produce("after", 0, batch(&["alive"])).await.base_offset, 0);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let connection_idle_max = std::time::Duration::from_millis(50);
    let broker = start_with(BrokerConfig {
        connection_idle_max,
        ..BrokerConfig::default()
    })
    .await;
    let mut client = RawClient::connect(&broker).await;
    client.ask(1, &MetadataRequest::default()).await;
    assert!(client.frame().await.is_none());
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_a_closed_one_makes_room() {
    let broker = start_with(BrokerConfig {
        connections_max: 2,
        ..BrokerConfig::default()
    })
    .await;
    let mut first = RawClient::connect(&broker).await;
    let mut second = RawClient::connect(&broker).await;
    first.ask(1, &MetadataRequest::default()).await;
    second.ask(1, &MetadataRequest::default()).await;
    let mut third = RawClient::connect(&broker).await;
    assert!(third.frame().await.is_none());
    drop(first);
    for _ in 0..100 {
        let mut next = RawClient::connect(&broker).await;
        next.send(0, &ApiVersionsRequest::default()).await;
        if next.answer::<ApiVersionsRequest>(0).await.is_some() {
            return;
        }
    }
    panic!("a closed connection made no room");
}

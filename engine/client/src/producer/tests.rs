//! A producer beside one scripted broker that knows the topic and nothing else, and gives producer ids to nobody.

use std::time::Duration;

use bytes::Bytes;
use engine_wire::{
    error_code::ErrorCode,
    messages::{
        ApiKey, ApiVersionsResponse, BrokerId, InitProducerIdResponse, MetadataResponse, TopicName,
        api_versions_response::ApiVersion,
        metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
    },
    request::decode_request,
    response::encode_response,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

const TOPIC: &str = "orders";

/// Gives the address of a broker that refuses producer ids, or does not answer who asks for one.
async fn broker(refuses_ids: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, port, refuses_ids));
        }
    });
    format!("127.0.0.1:{port}")
}

async fn serve(mut stream: TcpStream, port: u16, refuses_ids: bool) {
    while let Ok(size) = stream.read_u32().await {
        let mut frame = vec![0; size as usize];
        stream.read_exact(&mut frame).await.unwrap();
        let (header, _) = decode_request(Bytes::from(frame)).unwrap();
        let (version, correlation_id) = (header.api_version, header.correlation_id);
        let response = if header.api_key == ApiKey::ApiVersions as i16 {
            let api = |key, max| ApiVersion::default().with_api_key(key as i16).with_max_version(max);
            let apis = vec![
                api(ApiKey::ApiVersions, 3),
                api(ApiKey::Metadata, 4),
                api(ApiKey::InitProducerId, 4),
                api(ApiKey::Produce, 8),
            ];
            let body = ApiVersionsResponse::default().with_api_keys(apis);
            encode_response(ApiKey::ApiVersions, version, correlation_id, &body).unwrap()
        } else if header.api_key == ApiKey::Metadata as i16 {
            let broker = MetadataResponseBroker::default()
                .with_node_id(BrokerId(1))
                .with_host("127.0.0.1".into())
                .with_port(port.into());
            let partition = MetadataResponsePartition::default().with_leader_id(BrokerId(1));
            let topic = MetadataResponseTopic::default()
                .with_name(Some(TopicName(TOPIC.into())))
                .with_partitions(vec![partition]);
            let body = MetadataResponse::default()
                .with_brokers(vec![broker])
                .with_topics(vec![topic]);
            encode_response(ApiKey::Metadata, version, correlation_id, &body).unwrap()
        } else if header.api_key == ApiKey::InitProducerId as i16 && refuses_ids {
            let code = ErrorCode::CLUSTER_AUTHORIZATION_FAILED.code();
            let body = InitProducerIdResponse::default().with_error_code(code);
            encode_response(ApiKey::InitProducerId, version, correlation_id, &body).unwrap()
        } else {
            continue; // Everything else is never answered.
        };
        if stream.write_all(&response).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_topic_that_came_before_the_sender_ran_is_known_to_try_send() {
    let config = ProducerConfig::new(broker(false).await);
    let cluster = Cluster::connect(&config.client).await.unwrap();
    let deadline = now() + Duration::from_secs(20);
    let ticket = cluster.track_topics([TOPIC]);
    cluster.wait_refreshed(ticket, deadline).await.unwrap();

    let producer = Producer::on(cluster, config);
    let record = ProduceRecord {
        topic: TOPIC,
        value: Some(b"one"),
        ..ProduceRecord::default()
    };
    while let Err(error) = producer.try_send(record) {
        assert!(matches!(error, TrySendError::Full { .. }), "{error}");
        assert!(now() < deadline, "nobody told the machine of the topic");
        producer.ready().await;
    }
}

#[tokio::test]
async fn a_producer_that_was_refused_an_id_says_so_whatever_is_sent_later() {
    let producer = Producer::connect(ProducerConfig::new(broker(true).await))
        .await
        .unwrap();
    let record = |topic| ProduceRecord {
        topic,
        value: Some(b"one"),
        ..ProduceRecord::default()
    };
    let first = producer.send(record(TOPIC)).await.map_err(|error| error.to_string());
    if let Ok(receipt) = first {
        let told = receipt.delivered().await.unwrap_err().to_string();
        assert!(told.contains("CLUSTER_AUTHORIZATION_FAILED"), "{told}");
    }
    // Known or not, and also if nobody waits.
    for topic in [TOPIC, "others"] {
        let sent = producer.send(record(topic)).await.unwrap_err().to_string();
        let tried = producer.try_send(record(topic)).unwrap_err().to_string();
        for told in [sent, tried] {
            assert!(
                told.contains("gave up") && told.contains("CLUSTER_AUTHORIZATION_FAILED"),
                "{topic}: {told}"
            );
        }
    }
}

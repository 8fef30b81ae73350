//! Codecs: what is produced with one is stored with it and read back.

use engine_client::{Codec, ProduceRecord};
use engine_wire::error_code::ErrorCode;

use crate::behaviour::{Shown, behaviours, cannot};
use crate::scene::Scene;

behaviours! { "Codecs":
    uncompressed_records_are_read_back,
    gzip_records_are_read_back,
    snappy_records_are_read_back,
    lz4_records_are_read_back,
    zstd_records_are_read_back,
    batches_that_the_broker_compresses_anew_with_gzip_are_read,
    batches_that_the_broker_compresses_anew_with_snappy_are_read,
    batches_that_the_broker_compresses_anew_with_lz4_are_read,
    batches_that_the_broker_compresses_anew_with_zstd_are_read,
}

async fn uncompressed_records_are_read_back(scene: Scene) -> Shown {
    read_back(&scene, Codec::None).await
}

async fn gzip_records_are_read_back(scene: Scene) -> Shown {
    read_back(&scene, Codec::Gzip).await
}

async fn snappy_records_are_read_back(scene: Scene) -> Shown {
    read_back(&scene, Codec::Snappy).await
}

async fn lz4_records_are_read_back(scene: Scene) -> Shown {
    read_back(&scene, Codec::Lz4).await
}

async fn zstd_records_are_read_back(scene: Scene) -> Shown {
    read_back(&scene, Codec::Zstd).await
}

async fn batches_that_the_broker_compresses_anew_with_gzip_are_read(scene: Scene) -> Shown {
    compressed_anew(&scene, Codec::Gzip, "gzip").await
}

async fn batches_that_the_broker_compresses_anew_with_snappy_are_read(scene: Scene) -> Shown {
    compressed_anew(&scene, Codec::Snappy, "snappy").await
}

async fn batches_that_the_broker_compresses_anew_with_lz4_are_read(scene: Scene) -> Shown {
    compressed_anew(&scene, Codec::Lz4, "lz4").await
}

async fn batches_that_the_broker_compresses_anew_with_zstd_are_read(scene: Scene) -> Shown {
    compressed_anew(&scene, Codec::Zstd, "zstd").await
}

async fn read_back(scene: &Scene, codec: Codec) -> Shown {
    let topic = scene.topic(1).await;
    let written = write(scene, &topic, codec).await;
    let headers = scene.batch_headers(&topic).await;
    assert!(headers.iter().all(|header| header.codec() == Ok(codec)), "{headers:?}");
    assert_eq!(values(scene, &topic).await, written);
    Ok(())
}

/// `compression.type` of a topic makes brokers write it themselves, with libraries that are not ours.
async fn compressed_anew(scene: &Scene, codec: Codec, name: &str) -> Shown {
    let topic = match scene.topic_with(1, &[("compression.type", name)]).await {
        Ok(topic) => topic,
        Err(refusal) => {
            assert_eq!(refusal.code, ErrorCode::INVALID_CONFIG, "{refusal}");
            return cannot(format!("refuses topics with compression.type = {name}: {refusal}"));
        }
    };
    // What the broker has to decompress first must not be what it makes of it.
    let sent = if codec == Codec::Lz4 { Codec::Gzip } else { Codec::Lz4 };
    let written = write(scene, &topic, sent).await;
    let headers = scene.batch_headers(&topic).await;
    assert_eq!(values(scene, &topic).await, written);
    if headers.iter().all(|header| header.codec() == Ok(sent)) {
        return cannot("keeps batches as they came, whatever the topic's compression.type says");
    }
    assert!(headers.iter().all(|header| header.codec() == Ok(codec)), "{headers:?}");
    Ok(())
}

/// Values of many sizes, some of which compress and some of which do not, over several batches.
async fn write(scene: &Scene, topic: &str, codec: Codec) -> Vec<Vec<u8>> {
    let producer = scene
        .producer(|config| {
            config.compression = codec;
            config.batch_bytes_max = 64 * 1024;
        })
        .await;
    let mut noise = 0x9e37_79b9_u32;
    let mut written = Vec::new();
    for size in [0, 1, 10, 100, 1_000, 10_000, 40_000] {
        for is_noise in [false, true] {
            let value: Vec<u8> = (0..size)
                .map(|place| {
                    noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    if is_noise {
                        (noise >> 24) as u8
                    } else {
                        b'a' + (place % 7) as u8
                    }
                })
                .collect();
            let record = ProduceRecord {
                topic,
                partition: Some(0),
                value: Some(&value),
                ..ProduceRecord::default()
            };
            producer.send(record).await.expect("is accepted");
            written.push(value);
        }
    }
    producer.flush().await.expect("is delivered");
    written
}

async fn values(scene: &Scene, topic: &str) -> Vec<Vec<u8>> {
    let read = scene.read_topic(topic, 1).await;
    let values = read.into_iter().map(|read| read.record.value.expect("has a value"));
    values.collect()
}

//! Logs that Apache Kafka has compacted: offsets with holes, batches without records, a tail that is gone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use engine_client::admin::NewTopic;
use engine_client::{Event, ProduceRecord, StartAt};
use engine_wire::compression::{DecodeLimits, Decompressor};

use crate::cluster::Cluster;
use crate::scene::Scene;

const KEYS: u32 = 3;

/// The offset of a record with a key of its own: compaction leaves it where it is.
const UNIQUE: u32 = 32;

/// Pitfall 1: what compaction took is stepped over, up to the end of the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_4_4_0_compacted_is_read_to_its_end() {
    let eager = [
        "--set",
        "log.cleaner.backoff.ms=100",
        "--set",
        "log.initial.task.delay.ms=100",
    ];
    let Some(cluster) = Cluster::start_for_long("compaction", "4.4.0", 1, &eager) else {
        return;
    };
    let scene = Scene {
        broker: None,
        bootstrap: cluster.bootstrap_servers.clone(),
        topic: "compacted".into(),
    };
    create(&scene).await;
    let producer = scene.producer().await;
    let mut sent = 0;
    // Values of the same few keys, in batches of six, until the cleaner has been there. Each pause ends a segment.
    let deadline = Instant::now() + Duration::from_secs(60);
    let (survivors, end) = loop {
        for _ in 0..6 {
            let key = if sent == UNIQUE { UNIQUE } else { sent % KEYS };
            let (key, value) = (key.to_string(), sent.to_string());
            let record = ProduceRecord {
                topic: &scene.topic,
                key: Some(key.as_bytes()),
                // The last word on each key of the first half is a tombstone.
                value: Some(value.as_bytes()).filter(|_| sent >= 30),
                ..ProduceRecord::default()
            };
            producer.send(record).await.expect("is accepted");
            sent += 1;
        }
        producer.flush().await.expect("is delivered");
        tokio::time::sleep(Duration::from_millis(300)).await;
        if sent >= 60 {
            let (survivors, end) = read(&scene).await;
            if survivors.len() * 2 < sent as usize {
                break (survivors, end);
            }
        }
        assert!(Instant::now() < deadline, "nothing was compacted in {sent} records");
    };
    assert_eq!(end, i64::from(sent), "to the end, whatever is left");
    let offsets: Vec<i64> = survivors.iter().map(|(offset, _)| *offset).collect();
    assert!(
        offsets.is_sorted() && offsets.windows(2).any(|pair| pair[1] > pair[0] + 1),
        "holes: {offsets:?}"
    );
    for (offset, value) in survivors {
        let expected = (offset >= 30).then(|| offset.to_string());
        assert_eq!(value, expected, "each record has its own offset");
    }
}

async fn create(scene: &Scene) {
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "100"),
    ];
    let configs = configs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let topic = NewTopic {
        name: scene.topic.clone(),
        partitions: Some(1),
        replication_factor: Some(1),
        configs: BTreeMap::from(configs),
    };
    let created = scene.admin().await.create_topics(&[topic]).await.expect("answers");
    assert_eq!(created, [(scene.topic.clone(), Ok(()))]);
}

/// Offsets and values that are left, and where reading came to an end.
async fn read(scene: &Scene) -> (Vec<(i64, Option<String>)>, i64) {
    let mut config = scene.config();
    config.group_id = None;
    let mut consumer = scene.reader(config).await.consumer;
    let tp = scene.tp(0);
    let (_, end) = consumer.end_offsets(std::slice::from_ref(&tp)).await.expect("answers")[0];
    consumer.assign([tp.clone()]);
    consumer.start([(tp.clone(), StartAt::Earliest)]).expect("assigned");
    let mut decompressor = Decompressor::new(DecodeLimits::default());
    let mut survivors = Vec::new();
    while consumer.position(&tp).is_none_or(|position| position.offset < end) {
        let event = tokio::time::timeout(Duration::from_secs(20), consumer.poll()).await;
        let Event::Fetched(fetched) = event.expect("reading goes on").expect("no error") else {
            continue;
        };
        for batch in &fetched.batches {
            for record in batch.records(&mut decompressor).expect("decodes") {
                let record = record.expect("decodes");
                let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                survivors.push((record.offset, record.value.map(text)));
            }
        }
    }
    let position = consumer.position(&tp).expect("was read").offset;
    consumer.close().await;
    (survivors, position)
}

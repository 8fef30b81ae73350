//! What is given up: records whose time is over, producers that close, and futures that are dropped.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use engine_broker::{Broker, BrokerConfig, Fault, FaultAction};
use engine_client::{
    ConsumerConfig, DeliveryError, ProduceRecord, Producer, ProducerConfig, Receipt, StartAt, TopicRecord,
};
use engine_wire::error_code::ErrorCode;

use crate::scene::{Scene, numbers, run};
use crate::transactional_producer::{committed_offset, outsider, read_committed, stable_offset, transactional_config};

const PRODUCE: i16 = 0;

#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_time_is_over_says_whether_it_may_have_been_written() {
    for (action, may_be_written) in [
        (FaultAction::Silence, true),
        (FaultAction::ApplyThenDisconnect, true),
        (FaultAction::Disconnect, true),
        (FaultAction::Error(ErrorCode::REQUEST_TIMED_OUT), true),
        (FaultAction::Error(ErrorCode::NOT_ENOUGH_REPLICAS), false),
    ] {
        let scene = Scene::embedded(1).await;
        let producer = Producer::connect(hasty(&scene)).await.expect("connects");
        send(&producer, &scene, 0)
            .await
            .delivered()
            .await
            .expect("is delivered");
        always(&scene, action);
        let receipt = send(&producer, &scene, 1).await;
        let given_up = receipt.delivered().await.expect_err("in vain");
        assert!(matches!(given_up, DeliveryError::Expired { .. }), "{given_up}");
        assert_eq!(given_up.may_be_written(), may_be_written, "{action:?}: {given_up}");
        let says = match may_be_written {
            true => "; the records may have been written",
            false => "; the records were not written",
        };
        assert!(given_up.to_string().ends_with(says), "{action:?}: {given_up}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_in_time_tells_every_record_that_was_not_delivered() {
    let scene = Scene::embedded(2).await;
    let config = ProducerConfig {
        in_flight_max: 1,
        ..hasty(&scene)
    };
    let producer = Producer::connect(config).await.expect("connects");
    for number in 0..2 {
        send(&producer, &scene, number)
            .await
            .delivered()
            .await
            .expect("is delivered");
    }
    always(&scene, FaultAction::Silence);
    // One on its way; the others wait for its end.
    let mut receipts = vec![send(&producer, &scene, 2).await];
    while producer.stats().requests < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for number in 3..20 {
        receipts.push(send(&producer, &scene, number).await);
    }
    let started = Instant::now();
    let closed = producer.close(Duration::from_millis(100)).await;
    // A request may take half a minute.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(matches!(closed, Err(DeliveryError::Aborted { .. })), "{closed:?}");
    let mut told = Vec::new();
    for receipt in receipts {
        let given_up = receipt.delivered().await.expect_err("was not delivered");
        assert!(matches!(given_up, DeliveryError::Aborted { .. }), "{given_up}");
        told.push(given_up.may_be_written());
    }
    assert!(told[0], "it was on its way");
    assert!(told[1..].iter().all(|may_be_written| !may_be_written), "{told:?}");
    let again = producer.close(Duration::from_millis(100)).await;
    again.expect("closing a closed producer is no failure");
}

/// Every future of a producer is dropped at each of the points at which it waits.
#[tokio::test(flavor = "multi_thread")]
async fn futures_that_are_dropped_at_any_point_lose_nothing_and_write_nothing_twice() {
    for polls in 1..=6 {
        let scene = Scene::embedded(1).await;
        for skip in 0..10 {
            scene.broker.as_ref().expect("is the embedded one").inject(Fault {
                skip,
                ..Fault::once(PRODUCE, FaultAction::Delay(Duration::from_millis(5)))
            });
        }
        let config = ProducerConfig {
            buffer_bytes_max: 1_000,
            batch_bytes_max: 200,
            ..ProducerConfig::new(&scene.bootstrap)
        };
        let producer = Producer::connect(config).await.expect("connects");
        // The first ones wait for metadata, most of the others for room.
        let mut receipts = Vec::new();
        for number in 0..100 {
            receipts.push(insist(polls, async || send(&producer, &scene, number).await).await);
            insist(polls, async || producer.partitions_for(&scene.topic).await)
                .await
                .expect("is known");
            poll(polls, producer.ready()).await;
            poll(polls, producer.flush()).await;
        }
        // What an iterator has given stays given, up to one record that waited for room.
        let texts: Vec<String> = (100..200).map(|number| number.to_string()).collect();
        let mut appended = 0;
        let mut rest = texts.iter().map(|text| TopicRecord {
            partition: Some(0),
            value: Some(text.as_bytes()),
            ..TopicRecord::default()
        });
        let all = poll(
            polls,
            producer.append_all(&scene.topic, rest.by_ref().inspect(|_| appended += 1)),
        )
        .await;
        if let Some(all) = all {
            assert_eq!(all.expect("are accepted"), 100);
        }
        for receipt in &receipts {
            insist(polls, async || receipt.delivered().await)
                .await
                .expect("is delivered");
        }
        insist(polls, async || producer.flush().await)
            .await
            .expect("all is delivered");
        if poll(polls, producer.close(Duration::from_secs(30))).await.is_none() {
            producer.close(Duration::from_secs(30)).await.expect("closes");
        }
        let seen = read(&scene).await;
        assert!(
            (100 + appended - 1..=100 + appended).contains(&seen.len()),
            "{polls} polls: {appended}, {}",
            seen.len()
        );
        assert_eq!(seen, numbers(0..seen.len() as u32), "{polls} polls");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_whose_futures_are_dropped_at_any_point_end_as_they_were_asked_to() {
    for (polls, transaction_version) in (1..=4).flat_map(|polls| [(polls, 1), (polls, 2)]) {
        let broker = Broker::start(BrokerConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            transaction_version,
            ..BrokerConfig::default()
        });
        let broker = broker.await.expect("starts");
        let bootstrap = broker.address().to_string();
        let scene = Scene::on(Some(broker), bootstrap, 1).await;
        let producer = Producer::connect(transactional_config(&scene)).await.expect("connects");
        insist(polls, async || producer.init_transactions().await)
            .await
            .expect("initializes");
        let mut committed = Vec::new();
        for round in 0..12 {
            producer.begin_transaction().expect("none is open");
            let values = 10 * round..10 * round + 5;
            for number in values.clone() {
                insist(polls, async || send(&producer, &scene, number).await).await;
            }
            let offsets = [(scene.tp(0), committed_offset(i64::from(round)))];
            let group = outsider(&scene);
            insist(polls, async || {
                producer.send_offsets_to_transaction(&offsets, &group).await
            })
            .await
            .expect("are taken");
            if round % 3 == 1 {
                let aborted = insist(polls, async || producer.abort_transaction().await).await;
                aborted.expect("aborts");
            } else {
                let done = insist(polls, async || producer.commit_transaction().await).await;
                done.expect("commits");
                committed.extend(values);
            }
        }
        assert_eq!(
            stable_offset(&scene).await,
            Some(11),
            "{polls} polls, version {transaction_version}"
        );
        assert_eq!(read_committed(&scene, committed.len()).await, committed);
        producer.close(Duration::from_secs(10)).await.expect("closes");
    }
}

/// Polls a future so many times, and drops it if that did not finish it.
async fn poll<F: Future>(times: u32, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..times {
        if let Poll::Ready(output) = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
            return Some(output);
        }
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    None
}

/// Makes the future anew until one of them finishes in so many polls.
async fn insist<T>(polls: u32, mut make: impl AsyncFnMut() -> T) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        assert!(Instant::now() < deadline, "not in {polls} polls");
        if let Some(output) = poll(polls, make()).await {
            return output;
        }
    }
}

async fn send(producer: &Producer, scene: &Scene, number: u32) -> Receipt {
    let value = number.to_string();
    let record = ProduceRecord {
        topic: &scene.topic,
        partition: Some(0),
        value: Some(value.as_bytes()),
        ..ProduceRecord::default()
    };
    producer.send(record).await.expect("is accepted")
}

fn always(scene: &Scene, action: FaultAction) {
    scene.broker.as_ref().expect("is the embedded one").inject(Fault {
        times: 10_000,
        ..Fault::once(PRODUCE, action)
    });
}

/// Gives up after half a second.
fn hasty(scene: &Scene) -> ProducerConfig {
    let mut config = ProducerConfig {
        delivery_timeout: Duration::from_millis(500),
        linger: Duration::ZERO,
        ..ProducerConfig::new(&scene.bootstrap)
    };
    config.client.request_timeout = Duration::from_millis(200);
    config.client.retry_backoff = Duration::from_millis(20);
    config
}

/// All of the topic's one partition, in the order of the log.
async fn read(scene: &Scene) -> Vec<u32> {
    let config = ConsumerConfig {
        group_id: None,
        ..scene.config()
    };
    let mut member = scene.reader(config).await;
    member.consumer.assign([scene.tp(0)]);
    let ends = member.consumer.end_offsets(&[scene.tp(0)]).await.expect("answers");
    member
        .consumer
        .start([(scene.tp(0), StartAt::Earliest)])
        .expect("assigned");
    run(&mut [&mut member], "all of the partition", |members| {
        members[0].seen.len() as i64 >= ends[0].1
    })
    .await;
    member.consumer.close().await;
    member.seen
}

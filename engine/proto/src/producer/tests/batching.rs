//! When a batch is full, due, flushed, or refused for want of memory; and where records go.

use std::time::Duration;

use engine_wire::record_batch::{BatchBuilder, Header};

use super::bench::{Bench, MS, metadata, options, seal_all};
use crate::partitioner::partition_for_key;
use crate::producer::ProducerOptions;
use crate::producer::append::{AppendError, TopicRecord};
use crate::producer::outcome::RequestOutcome;

#[test]
fn a_batch_waits_for_linger_and_not_longer() {
    let mut bench = Bench::new(options(), 1);
    bench.append(0, 1).unwrap();
    assert!(bench.request().is_none());
    assert_eq!(bench.machine.poll_deadline(bench.now), Some(bench.now + 5 * MS));
    bench.now += 5 * MS;
    let plan = bench.request().unwrap();
    bench.deliver(&plan);
    assert_eq!(bench.logs[0].values, [1]);
    assert!(bench.machine.is_idle());
    assert_eq!(bench.machine.poll_deadline(bench.now), None);
}

#[test]
fn a_full_batch_goes_at_once() {
    let mut bench = Bench::new(options(), 1);
    let first = bench.append(0, 1).unwrap();
    let mut value = 2;
    while bench.append(0, value).unwrap() == first {
        value += 1;
    }
    assert!(bench.request().is_some(), "full after {value} records");
    assert!(bench.request().is_none(), "the next one lingers");
}

#[test]
fn a_batch_that_could_not_be_sent_anyway_goes_on_filling() {
    let mut bench = Bench::new(
        ProducerOptions {
            in_flight_max: 1,
            ..options()
        },
        1,
    );
    let plan = bench.in_flight(0, 1);
    let token = bench.append(0, 2).unwrap();
    bench.now += 50 * MS;
    assert!(bench.request().is_none());
    assert_eq!(
        bench.append(0, 3).unwrap(),
        token,
        "still the same batch, long after linger"
    );
    bench.deliver(&plan);
    let plan = bench.request().unwrap();
    bench.deliver(&plan);
    assert_eq!(bench.logs[0].values, [1, 2, 3]);
}

#[test]
fn a_full_buffer_refuses_until_a_batch_is_resolved() {
    let mut bench = Bench::new(options(), 1);
    let mut value = 0;
    while bench.append(0, value).is_ok() {
        value += 1;
    }
    assert!(matches!(bench.append(0, value), Err(AppendError::BufferFull { .. })));
    assert!(bench.machine.stats().buffered_bytes <= options().buffer_bytes_max);
    let plan = bench.request().expect("what lingers goes now");
    bench.deliver(&plan);
    bench.settle();
    assert_eq!(bench.machine.stats().buffered_bytes, 0);
    bench.append(0, value).unwrap();
}

#[test]
fn a_record_that_fills_a_request_exactly_is_taken_and_one_byte_more_is_not() {
    for headers in [&[][..], &[Header { key: b"k", value: None }]] {
        let key = Some(&b"key"[..]);
        let mut bench = Bench::new(options(), 1);
        let overhead = BatchBuilder::lone_batch_bytes(key, Some(&[0; 300]), headers.iter().copied()) - 300;
        for (extra, is_taken) in [(0, true), (1, false)] {
            let mut value = vec![0; options().request_bytes_max - overhead + extra];
            value[7] = 9;
            let record = TopicRecord {
                partition: Some(0),
                key,
                value: Some(&value),
                headers,
                ..TopicRecord::default()
            };
            let now = bench.now;
            // Behind another record, whose batch it does not fit.
            bench.append(0, 1).unwrap();
            let taken = bench.machine.append(0, &record, || (now, 0, 1)).map(|_| ());
            assert_eq!(taken.is_ok(), is_taken, "{taken:?}");
        }
        bench.settle();
        assert_eq!(bench.logs[0].values, [1, 9, 1]);
    }
}

#[test]
fn a_record_that_no_request_could_carry_is_refused_and_nothing_is_appended() {
    let mut bench = Bench::new(options(), 1);
    let value = vec![0; options().request_bytes_max];
    let record = TopicRecord {
        value: Some(&value),
        ..TopicRecord::default()
    };
    let now = bench.now;
    let refused = bench
        .machine
        .append(0, &record, || (now, 0, 1))
        .map(|_| ())
        .unwrap_err();
    assert!(
        matches!(refused, AppendError::RecordTooLarge { bytes_max: 700, .. }),
        "{refused}"
    );
    assert!(bench.machine.is_idle());
    let wrong = bench.append(9, 1).unwrap_err();
    assert_eq!(wrong.to_string(), "orders has partitions 0 to 0, not 9");
}

#[test]
fn a_batch_at_the_bound_of_the_memory_does_not_grow_with_each_record() {
    let options = ProducerOptions {
        batch_bytes_max: 90_000,
        buffer_bytes_max: 100_000,
        request_bytes_max: 100_000,
        ..options()
    };
    let mut bench = Bench::new(options, 2);
    let now = bench.now;
    let mut append = |partition| {
        let record = TopicRecord {
            partition: Some(partition),
            value: Some(&[7; 100]),
            ..TopicRecord::default()
        };
        bench.machine.append(0, &record, || (now, 0, 0))?;
        Ok::<_, AppendError>(bench.machine.stats().buffered_bytes)
    };
    while append(1).unwrap() < 30_000 {}
    let mut charges = vec![0];
    while let Ok(charged) = append(0) {
        if charges.last() != Some(&charged) {
            charges.push(charged);
        }
    }
    assert!(*charges.last().unwrap() > 99_000, "nearly all is used");
    assert!(charges.len() < 20, "grown {} times", charges.len());
}

#[test]
fn a_flush_covers_what_was_appended_before_it_and_nothing_later() {
    let mut bench = Bench::new(options(), 2);
    bench.append(0, 1).unwrap();
    let mark = bench.machine.flush();
    assert!(!bench.machine.is_flushed(mark));
    bench.append(1, 2).unwrap();
    let plan = bench.request().unwrap();
    assert_eq!(plan.batches.len(), 1, "the later batch lingers");
    bench.deliver(&plan);
    assert!(bench.machine.is_flushed(mark));
}

#[test]
fn records_without_key_stick_to_a_partition_for_up_to_two_batches() {
    let mut bench = Bench::new(options(), 4);
    let mut runs: Vec<(i32, u32)> = Vec::new();
    for value in 0_u64..60 {
        let (now, bytes) = (bench.now, value.to_be_bytes());
        let record = TopicRecord {
            value: Some(&bytes),
            ..TopicRecord::default()
        };
        let partition = bench.machine.append(0, &record, || (now, 0, 0)).unwrap().partition;
        match runs.last_mut() {
            Some((last, count)) if *last == partition => *count += 1,
            _ => runs.push((partition, 1)),
        }
    }
    assert!(runs.len() > 1, "{runs:?}");
    assert!(runs[..runs.len() - 1].iter().all(|(_, count)| *count >= 5), "{runs:?}");
}

#[test]
fn small_batches_that_go_early_do_not_move_the_choice() {
    let mut bench = Bench::new(options(), 4);
    let mut partitions = Vec::new();
    for value in 0_u64..20 {
        let (now, bytes) = (bench.now, value.to_be_bytes());
        let record = TopicRecord {
            value: Some(&bytes),
            ..TopicRecord::default()
        };
        partitions.push(bench.machine.append(0, &record, || (now, 0, 0)).unwrap().partition);
        bench.settle(); // Each goes in a batch of its own, of some 80 bytes; `batch.size` is 200.
    }
    for three in partitions.chunks(3) {
        assert!(three.iter().all(|partition| *partition == three[0]), "{partitions:?}");
    }
    assert!(partitions.iter().any(|partition| *partition != partitions[0]));
}

#[test]
fn a_trickle_of_records_without_key_reaches_every_partition_also_while_a_broker_takes_nothing() {
    for is_connected in [true, false] {
        let mut bench = Bench::new(options(), 4);
        let mut counts = [0; 4];
        for value in 0_u64..80 {
            let (now, bytes) = (bench.now, value.to_be_bytes());
            let record = TopicRecord {
                value: Some(&bytes[..1]),
                ..TopicRecord::default()
            };
            let partition = bench.machine.append(0, &record, || (now, 0, 0)).unwrap().partition;
            counts[partition as usize] += 1;
            let lingered = bench.machine.poll_deadline(bench.now).expect("the batch lingers");
            assert!(lingered <= bench.now + 5 * MS);
            bench.now += 5 * MS;
            bench.machine.handle_timeout(bench.now);
            seal_all(&mut bench.machine);
            while let Some(plan) = bench.machine.poll_request(bench.now, |_| is_connected) {
                bench
                    .machine
                    .handle_outcome(bench.now, plan.request_id, RequestOutcome::Written, Duration::ZERO);
            }
        }
        assert!(counts.iter().all(|count| *count >= 5), "{is_connected}: {counts:?}");
    }
}

#[test]
fn a_broker_that_takes_nothing_gets_no_records_without_key_until_it_does() {
    let mut bench = Bench::new(
        ProducerOptions {
            availability_timeout: 100 * MS,
            ..options()
        },
        2,
    );
    bench.machine.handle_metadata(&metadata(&[0, 1], 1));
    bench.append(1, 1).unwrap();
    bench.machine.flush();
    let unreachable = |bench: &mut Bench| {
        bench.machine.handle_timeout(bench.now);
        seal_all(&mut bench.machine);
        assert!(bench.machine.poll_request(bench.now, |_| false).is_none());
    };
    let chosen = |bench: &mut Bench| {
        let mut chosen = [0; 2];
        for _ in 0..100 {
            let now = bench.now;
            let record = TopicRecord {
                value: Some(&[0; 300]), // A batch and a choice of its own.
                ..TopicRecord::default()
            };
            let partition = bench.machine.append(0, &record, || (now, 0, 0)).unwrap().partition;
            chosen[partition as usize] += 1;
            let others = bench.machine.poll_request(bench.now, |node_id| node_id == 0);
            assert!(others.is_none(), "nothing is sealed");
            bench.machine.drop_batches(&"tested".into(), true);
            bench.append(1, 1).unwrap();
            bench.machine.flush();
            seal_all(&mut bench.machine);
        }
        chosen
    };
    unreachable(&mut bench);
    assert!(chosen(&mut bench)[1] > 0, "not for long enough");
    bench.now += 101 * MS;
    unreachable(&mut bench);
    assert_eq!(chosen(&mut bench), [100, 0]);
    let plan = bench.request().expect("it can be reached again");
    bench.deliver(&plan);
    assert!(chosen(&mut bench)[1] > 0);
}

#[test]
fn keys_go_where_the_java_client_puts_them() {
    let mut bench = Bench::new(options(), 4);
    for key in ["21", "foobar", "a-little-bit-long-string"] {
        let now = bench.now;
        let record = TopicRecord {
            key: Some(key.as_bytes()),
            ..TopicRecord::default()
        };
        let partition = bench.machine.append(0, &record, || (now, 0, 0)).unwrap().partition;
        assert_eq!(partition, partition_for_key(key.as_bytes(), 4));
    }
}

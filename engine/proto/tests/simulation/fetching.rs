//! The fetcher under fire: what it read must be what the logs say.

use engine_proto::TopicPartition;
use engine_proto::fetch::fetcher::FetchConfig;
use engine_proto::fetch::position::OffsetReset;
use fastrand::Rng;

use crate::cluster::{Cluster, Heard, Trouble};
use crate::fetch_client::{FetchClient, config};
use crate::log_writer::LogWriter;
use crate::network::{MS, Weather};
use crate::reader::Reader;
use crate::seeds::for_each_seed;

const PARTITIONS: usize = 4;

/// Every record that may be read is read once and in order, and no other: through leaders that move, nodes that restart,
/// sessions that are evicted, followers that lag, seeks, pauses, compaction, retention and aborted transactions.
///
/// Pitfall 1: batches and tails that compaction emptied or removed still advance the position.
/// Pitfall 4: the aborted transactions come in any order, compressed, and some without records.
/// Pitfall 5: markers advance the position.
/// Pitfall 14: a node that lags behind answers with old leaders and epochs.
#[test]
fn fetching_reads_every_record_once_and_in_order_and_nothing_that_was_aborted() {
    let mut total = Seen::default();
    let is_whole = for_each_seed("fetching_reads", 100, |seed| {
        let mut rng = Rng::with_seed(seed);
        let trouble = Trouble {
            compaction: rng.bool(),
            ..trouble(&mut rng)
        };
        let versions = [4, 6, 7, 10, 11, 12, 13, 17];
        total.add(fetch(seed, trouble, versions[rng.usize(0..8)], rng));
    });
    let Seen {
        records,
        unchanged,
        lost_sessions,
        from_followers,
        aborted,
        ..
    } = total;
    let enough = [unchanged, lost_sessions, from_followers, aborted]
        .iter()
        .all(|count| *count > 50);
    assert!(!is_whole || enough && records > 5_000, "{total:?}");
}

/// Where an unclean election costs records, the fetcher notices before it reads on, and what it read in the end is what the
/// last leader has.
///
/// Pitfall 15: what arrives while the position is being validated is not read twice.
#[test]
fn fetching_notices_every_log_that_was_cut_below_its_position() {
    let mut total = Seen::default();
    let is_whole = for_each_seed("fetching_notices", 100, |seed| {
        let mut rng = Rng::with_seed(seed);
        let trouble = Trouble {
            unclean: true,
            ..trouble(&mut rng)
        };
        let versions = [9, 11, 12, 13, 17];
        total.add(fetch(seed, trouble, versions[rng.usize(0..5)], rng));
    });
    assert!(!is_whole || total.truncations > 30, "{total:?}");
}

fn trouble(rng: &mut Rng) -> Trouble {
    Trouble {
        refused: [0.0, 0.05, 0.2][rng.usize(0..3)],
        leader_moves: rng.bool(),
        restarts: rng.bool(),
        throttles: rng.bool(),
        evicts_sessions: rng.bool(),
        ..Trouble::default()
    }
}

/// What the runs have met.
#[derive(Debug, Default)]
struct Seen {
    records: u64,
    truncations: u64,
    unchanged: u64,
    lost_sessions: u64,
    from_followers: u64,
    aborted: u64,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.records += other.records;
        self.truncations += other.truncations;
        self.unchanged += other.unchanged;
        self.lost_sessions += other.lost_sessions;
        self.from_followers += other.from_followers;
        self.aborted += other.aborted;
    }
}

fn fetch(seed: u64, trouble: Trouble, version: i16, mut rng: Rng) -> Seen {
    let mut cluster = Cluster::new(seed, Weather::of(&mut rng), trouble, &[("a", 2), ("b", 2)]);
    let resets = rng.bool();
    let config = FetchConfig {
        read_committed: rng.bool(),
        offset_reset: if resets {
            OffsetReset::Earliest
        } else {
            OffsetReset::None
        },
        rack_id: rng.bool().then(|| "rack".into()),
        ..config()
    };
    let retention = !trouble.unclean && rng.bool();
    let seeks = !trouble.unclean && rng.bool();
    let read_committed = config.read_committed;
    let mut client = FetchClient::new(0, config, version, seed);
    let mut writer = LogWriter::default();
    let tps = (0..PARTITIONS).map(|n| TopicPartition::new(["a", "b"][n / 2], n as i32 % 2));
    let mut readers: Vec<Reader> = tps.map(|tp| Reader::new(tp, read_committed, resets)).collect();
    client.fetcher.assign(readers.iter().map(|reader| reader.tp.clone()));
    for reader in &mut readers {
        reader.seek(&mut client.fetcher, 0);
    }
    for step in 0.. {
        assert!(step < 100_000, "the fetcher makes no progress");
        let is_calm = step >= 600;
        let reader = rng.usize(0..PARTITIONS);
        match rng.u32(0..40) {
            _ if is_calm => {}
            0..=11 => writer.write(&mut cluster, &mut rng),
            12 if seeks => {
                let partition = cluster.partition(&readers[reader].tp);
                let offset = rng.i64(partition.log_start..=partition.high_watermark);
                readers[reader].seek(&mut client.fetcher, offset);
            }
            13 => drop(client.fetcher.pause(&readers[reader].tp)),
            14 | 15 => drop(client.fetcher.resume(&readers[reader].tp)),
            16 if retention => {
                let place = cluster.place(&readers[reader].tp);
                let partition = &mut cluster.partitions[place];
                let offset = rng.i64(partition.log_start..=partition.last_stable_offset());
                partition.delete_below(offset);
            }
            _ => {}
        }
        if step == 600 {
            cluster.calm_down();
            writer.end_all(&mut cluster);
            for reader in &readers {
                client.fetcher.resume(&reader.tp);
            }
        }
        if is_calm && is_settled(&cluster) && readers.iter().all(|reader| reader.is_done(&cluster)) {
            break;
        }
        client.drive(&mut cluster);
        let limit = cluster.now() + 5 * MS;
        let deadline = client
            .deadline(cluster.now())
            .map_or(limit, |deadline| deadline.min(limit));
        match cluster.next(Some(deadline)) {
            Some(Heard::Answer { id, answer, .. }) => client.handle_answer(&cluster, id, answer),
            Some(Heard::Lost { id, .. }) => client.handle_lost(&cluster, id),
            None => {}
        }
        if is_calm {
            for reader in &mut readers {
                reader.handle_silent_reset(&cluster, &client.fetcher);
            }
        }
        if is_calm || rng.u32(0..3) == 0 {
            poll(&cluster, &mut client, &mut readers);
        }
    }
    for reader in &readers {
        reader.check(&cluster);
    }
    let stats = client.fetcher.stats();
    Seen {
        records: readers.iter().map(|reader| reader.seen.len() as u64).sum(),
        truncations: readers.iter().map(|reader| u64::from(reader.truncations)).sum(),
        unchanged: stats.unchanged,
        lost_sessions: stats.lost_sessions,
        from_followers: stats.from_followers,
        aborted: stats.aborted_batches,
    }
}

/// Whether all replicas have all there is.
fn is_settled(cluster: &Cluster) -> bool {
    let mut partitions = cluster.partitions.iter();
    partitions.all(|partition| partition.leader.is_some() && partition.high_watermark == partition.log().end_offset())
}

fn poll(cluster: &Cluster, client: &mut FetchClient, readers: &mut [Reader]) {
    let Some(result) = client.fetcher.poll_fetched() else {
        return;
    };
    match result {
        Ok(fetched) => {
            let reader = readers.iter_mut().find(|reader| reader.tp == fetched.tp);
            reader.expect("assigned").handle_fetched(cluster, &fetched);
        }
        Err(error) => {
            use engine_proto::fetch::position::FetchError::{LogTruncated, OffsetOutOfRange};
            let (OffsetOutOfRange { tp, .. } | LogTruncated { tp, .. }) = &error else {
                panic!("{error}");
            };
            let reader = readers.iter_mut().find(|reader| reader.tp == *tp);
            reader
                .expect("assigned")
                .handle_error(cluster, &mut client.fetcher, &error);
        }
    }
}

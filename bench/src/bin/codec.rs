//! The record batch codec: ours beside `kafka-protocol`'s, in nanoseconds of CPU per record.
//!
//! Each measurement is a batch of 1,000 records, repeated for a while; the two codecs take turns,
//! and the median of the rounds is printed. CRC and (where there is one) the codec are included on
//! both ways, for both. Figures of one machine mean little: look at the ratio.
//!
//! `cargo run --release -p engine-bench --bin codec [-- --rounds 9]`

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use clap::Parser;
use engine_wire::compression::{Codec, Compressor, Decompressor};
use engine_wire::record_batch::{BatchBuilder, ProducerStamp, RawBatch, split_batches};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::records::{
    Compression as TheirCompression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

const RECORDS: usize = 1_000;

#[derive(Parser)]
struct Arguments {
    /// How often each codec has its turn.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// How long one turn lasts, in milliseconds.
    #[arg(long, default_value_t = 60)]
    turn_ms: u64,
}

fn main() {
    let arguments = Arguments::parse();
    println!("| value | codec | way | ours ns/record | kafka-protocol ns/record | ratio |");
    println!("|---|---|---|---|---|---|");
    for value_bytes in [100, 257, 1_000] {
        let values: Vec<Bytes> = (0..RECORDS).map(|i| payload(i, value_bytes)).collect();
        for codec in [Codec::None, Codec::Lz4, Codec::Snappy, Codec::Gzip] {
            let mut ours = Ours::new(codec);
            let batch = ours.encode(&values);
            let mut theirs = Theirs::new(&values);
            // Its lz4 needs C, so the pure comparison is without compression.
            let their_batch = (codec == Codec::None).then(|| theirs.encode());
            let mut figures: [Vec<f64>; 4] = Default::default();
            for _ in 0..arguments.rounds {
                let turn = Duration::from_millis(arguments.turn_ms);
                figures[0].push(measure(turn, || ours.encode_and_recycle(&values)));
                figures[1].push(measure(turn, || ours.decode(&batch)));
                if let Some(their_batch) = &their_batch {
                    figures[2].push(measure(turn, || theirs.encode().len()));
                    figures[3].push(measure(turn, || decode_theirs(their_batch)));
                }
            }
            let [our_encode, our_decode, their_encode, their_decode] = figures.map(median);
            report(value_bytes, codec, "encode", our_encode, their_encode);
            report(value_bytes, codec, "decode", our_decode, their_decode);
        }
    }
}

fn payload(index: usize, size: usize) -> Bytes {
    let mut text = format!(
        "{{\"user_id\":\"{:016x}\",\"event\":\"view\",\"time\":{}}}",
        index * 7_919,
        1_700_000 + index
    );
    let mut state = index as u32 + 1;
    while text.len() < size {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push_str(["view", "click", "ad-17", "campaign", "0f3a", "\",\""][(state >> 24) as usize % 6]);
    }
    text.truncate(size);
    Bytes::from(text)
}

/// Nanoseconds of this thread's CPU per record, over about `turn`.
fn measure(turn: Duration, mut batch: impl FnMut() -> usize) -> f64 {
    let (start, start_cpu) = (Instant::now(), cpu_time());
    let mut batches = 0u32;
    while start.elapsed() < turn {
        for _ in 0..4 {
            black_box(batch());
            batches += 1;
        }
    }
    let spent = match (start_cpu, cpu_time()) {
        (Some(start), Some(end)) if end > start => end - start,
        _ => start.elapsed(),
    };
    spent.as_secs_f64() * 1e9 / (f64::from(batches) * RECORDS as f64)
}

/// What this thread has run so far; `None` where the kernel does not say, and wall time is taken.
fn cpu_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

fn report(value_bytes: usize, codec: Codec, way: &str, ours: Option<f64>, theirs: Option<f64>) {
    let ours = ours.expect("ours is always measured");
    let (theirs, ratio) = match theirs {
        Some(theirs) => (format!("{theirs:.1}"), format!("{:.1}", theirs / ours)),
        None => ("–".to_owned(), "–".to_owned()),
    };
    println!("| {value_bytes} B | {codec} | {way} | {ours:.1} | {theirs} | {ratio} |");
}

struct Ours {
    codec: Codec,
    builder: BatchBuilder,
    compressor: Compressor,
    decompressor: Decompressor,
    spare: Vec<u8>,
}

impl Ours {
    fn new(codec: Codec) -> Self {
        Self {
            codec,
            builder: BatchBuilder::default(),
            compressor: Compressor::new(),
            decompressor: Decompressor::default(),
            spare: Vec::new(),
        }
    }

    fn append_all(&mut self, values: &[Bytes]) {
        for (timestamp, value) in (1_700_000_000_000i64..).zip(values) {
            self.builder
                .append(timestamp, None, Some(value), [])
                .expect("a batch of a few hundred KB");
        }
    }

    fn encode(&mut self, values: &[Bytes]) -> Bytes {
        self.append_all(values);
        let mut sealed = self
            .builder
            .seal(self.codec.into(), &mut self.compressor, Vec::new())
            .expect("a writable codec");
        sealed.stamp(ProducerStamp::NONE)
    }

    fn encode_and_recycle(&mut self, values: &[Bytes]) -> usize {
        self.append_all(values);
        let spare = std::mem::take(&mut self.spare);
        let mut sealed = self
            .builder
            .seal(self.codec.into(), &mut self.compressor, spare)
            .expect("a writable codec");
        let size = sealed.stamp(ProducerStamp::NONE).len();
        self.spare = sealed.into_buffer().unwrap_or_default();
        size
    }

    fn decode(&mut self, batch: &Bytes) -> usize {
        let mut sum = 0;
        for batch in split_batches(batch.clone()) {
            let batch: RawBatch = batch.expect("our own batch");
            batch.verify_crc().expect("our own batch");
            for record in batch.records(&mut self.decompressor).expect("our own batch") {
                let record = record.expect("our own batch");
                sum += record.value.map_or(0, <[u8]>::len) + record.timestamp as usize % 2;
            }
        }
        sum
    }
}

struct Theirs {
    records: Vec<Record>,
}

impl Theirs {
    fn new(values: &[Bytes]) -> Self {
        let record = |(offset, value): (i64, &Bytes)| Record {
            transactional: false,
            control: false,
            partition_leader_epoch: -1,
            producer_id: -1,
            producer_epoch: -1,
            delete_horizon: false,
            timestamp_type: TimestampType::Creation,
            offset,
            // With -1 for all it would make one batch per record.
            sequence: offset as i32,
            timestamp: 1_700_000_000_000 + offset,
            key: None,
            value: Some(value.clone()),
            headers: IndexMap::new(),
        };
        Self {
            records: (0i64..).zip(values).map(record).collect(),
        }
    }

    fn encode(&mut self) -> Bytes {
        let mut buffer = BytesMut::with_capacity(1 << 20);
        let options = RecordEncodeOptions {
            version: 2,
            compression: TheirCompression::None,
        };
        RecordBatchEncoder::encode(&mut buffer, self.records.iter(), &options).expect("a batch of a few hundred KB");
        buffer.freeze()
    }
}

fn decode_theirs(batch: &Bytes) -> usize {
    let set = RecordBatchDecoder::decode(&mut batch.clone()).expect("their own batch");
    set.records
        .iter()
        .map(|record| record.value.as_ref().map_or(0, Bytes::len) + record.timestamp as usize % 2)
        .sum()
}

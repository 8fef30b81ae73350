//! JSON decoding: our projecting scanner beside sonic-rs and serde_json, on ad events.
//!
//! Run with `cargo run --release -p engine-bench --bin json`. One thread; every decoder reads the same records in
//! turns, best of several rounds. Quote the ratios: the machine is shared.

use std::hint::black_box;
use std::time::{Duration, Instant};

use engine_stream::json::JsonDecoder;
use engine_stream::schema::{Field, FieldType};
use serde::Deserialize;

const RECORDS: usize = 100_000;
const ROUNDS: usize = 15;

#[derive(Deserialize)]
struct AdEvent<'a> {
    event_type: &'a str,
    campaign_id: i64,
    event_time_ns: i64,
    produce_time: i64,
}

fn main() {
    let records: Vec<Vec<u8>> = (0..RECORDS).map(ad_event).collect();
    let bytes: usize = records.iter().map(Vec::len).sum();
    println!(
        "{RECORDS} ad events of {} bytes; 4 of 10 fields wanted",
        bytes / RECORDS
    );
    let field =
        |name: &str, field_type: &str| Field::new(name, field_type.parse::<FieldType>().expect("a type's name"));
    let mut decoder = JsonDecoder::new(&[
        field("event_type", "string"),
        field("campaign_id", "int64"),
        field("produce_time", "timestamp(ms)"),
        Field {
            from: Some("event_time_ns".into()),
            ..field("event_time", "timestamp(ns)")
        },
    ]);
    let mut arrow = || {
        for record in &records {
            decoder.push(record).expect("an ad event");
        }
        black_box(decoder.finish());
    };
    let mut sonic_typed = || {
        for record in &records {
            black_box(touch(
                &sonic_rs::from_slice::<AdEvent<'_>>(record).expect("an ad event"),
            ));
        }
    };
    let mut sonic_lazy = || {
        for record in &records {
            for field in sonic_rs::to_object_iter(record.as_slice()) {
                black_box(field.expect("an ad event"));
            }
        }
    };
    let mut serde_typed = || {
        for record in &records {
            black_box(touch(
                &serde_json::from_slice::<AdEvent<'_>>(record).expect("an ad event"),
            ));
        }
    };
    let candidates: [(&str, &mut dyn FnMut()); 4] = [
        ("engine, into Arrow columns", &mut arrow),
        ("sonic-rs, into a struct", &mut sonic_typed),
        ("sonic-rs, lazy object iterator", &mut sonic_lazy),
        ("serde_json, into a struct", &mut serde_typed),
    ];
    let mut best = [Duration::MAX; 4];
    let mut candidates = candidates;
    for _ in 0..ROUNDS {
        for ((_, run), best) in candidates.iter_mut().zip(&mut best) {
            let start = Instant::now();
            run();
            *best = start.elapsed().min(*best);
        }
    }
    for ((name, _), best) in candidates.iter().zip(best) {
        let nanoseconds = best.as_nanos() as f64 / RECORDS as f64;
        let gigabytes = bytes as f64 / best.as_nanos() as f64;
        println!(
            "{name:<32} {nanoseconds:>7.1} ns/event {:>6.2} M events/s {gigabytes:>6.2} GB/s",
            1e3 / nanoseconds
        );
    }
}

fn touch(event: &AdEvent<'_>) -> i64 {
    event.event_type.len() as i64 + event.campaign_id + event.event_time_ns + event.produce_time
}

fn ad_event(number: usize) -> Vec<u8> {
    let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let uuid = |salt: usize| {
        let bits = id.wrapping_mul(salt * 2 + 1) as u64;
        format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            bits >> 32,
            bits >> 16 & 0xffff,
            bits & 0xfff,
            bits >> 20 & 0xfff,
            bits >> 12 & 0xffff_ffff_ffff
        )
    };
    let event_time = 1_700_000_000_000_000_000 + number as u64 * 25_000;
    format!(
        "{{\"user_id\":\"{}\",\"page_id\":\"{}\",\"ad_id\":\"{}\",\"ad_type\":\"{}\",\"event_type\":\"{}\",\"event_time_ns\":{event_time},\"window_id\":{},\"ip_address\":\"{}.{}.{}.{}\",\"campaign_id\":{},\"produce_time\":{}}}",
        uuid(1), uuid(2), uuid(3), ["image", "video", "carousel", "text"][id >> 7 & 3], ["view", "click", "purchase"][id % 3],
        event_time / 10_000_000_000, id >> 8 & 255, id >> 16 & 255, id >> 24 & 255, id >> 32 & 255, id % 10, event_time / 1_000_000,
    )
    .into_bytes()
}

//! One run of a client, ours or a peer's: what it is asked for, what it sends and what it reports.
//!
//! The peers' programs are made from this very file, so that every client sends the same bytes, reads the same
//! clocks and adds up the same checksum. That is why it knows no client.
//! Never here: anything of a Kafka client.

use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// What a produce program is asked for.
#[derive(Debug, Args)]
pub struct ProduceRun {
    /// Brokers to start from.
    #[arg(long)]
    pub bootstrap: String,
    /// The topic; must exist or be created by the broker.
    #[arg(long)]
    pub topic: String,
    /// How many records.
    #[arg(long, default_value_t = 5_000_000)]
    pub records: u64,
    /// Bytes of each value.
    #[arg(long, default_value_t = 290)]
    pub value_bytes: usize,
    /// Further properties of the client, `name=value`.
    #[arg(short = 'X', long = "property")]
    pub properties: Vec<String>,
    /// Print the result as one line of JSON.
    #[arg(long)]
    pub json: bool,
}

/// What a consume program is asked for.
#[derive(Debug, Args)]
pub struct ConsumeRun {
    /// Brokers to start from.
    #[arg(long)]
    pub bootstrap: String,
    /// The topic.
    #[arg(long)]
    pub topic: String,
    /// Further properties of the client, `name=value`.
    #[arg(short = 'X', long = "property")]
    pub properties: Vec<String>,
    /// Print the result as one line of JSON.
    #[arg(long)]
    pub json: bool,
}

/// What a run cost, and what it moved.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunResult {
    /// The client and its version.
    pub client: String,
    /// Records moved.
    pub records: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
    /// [`Checksum::total`] of their values.
    pub checksum: u64,
    /// Wall time from the first record to the last, the final flush included; without connecting.
    pub seconds: f64,
    /// User and system time of the whole process, all threads, in that time.
    pub cpu_seconds: f64,
    /// User and system time of the process from its start to its end.
    pub process_cpu_seconds: f64,
    /// Most memory that was resident.
    pub peak_resident_bytes: u64,
}

impl RunResult {
    /// CPU seconds per million records, start-up excluded.
    #[must_use]
    pub fn cpu_per_million(&self) -> f64 {
        self.cpu_seconds / (self.records as f64 / 1e6)
    }

    /// Records per second.
    #[must_use]
    pub fn records_per_second(&self) -> f64 {
        self.records as f64 / self.seconds
    }

    /// Prints the result, as JSON or in words.
    pub fn print(&self, is_json: bool) -> Result<()> {
        if is_json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        println!(
            "{}: {} records, {:.1} MB of values in {:.2} s: {:.2} M/s, {:.3} CPU-s per M records ({:.2} s in all), \
             peak {:.1} MB, checksum {:016x}",
            self.client,
            self.records,
            self.value_bytes as f64 / 1e6,
            self.seconds,
            self.records_per_second() / 1e6,
            self.cpu_per_million(),
            self.process_cpu_seconds,
            self.peak_resident_bytes as f64 / 1e6,
            self.checksum,
        );
        Ok(())
    }
}

/// Runs from the moment before the first record.
#[derive(Debug)]
pub struct Stopwatch {
    started: Instant,
    cpu_before: f64,
}

impl Stopwatch {
    /// Starts it; the client is connected.
    #[must_use]
    pub fn start() -> Stopwatch {
        Stopwatch {
            cpu_before: process_cpu_seconds(),
            started: Instant::now(),
        }
    }

    /// The result, once the last record is through.
    pub fn stop(self, client: String, values: Checksum) -> Result<RunResult> {
        let seconds = self.started.elapsed().as_secs_f64();
        let process_cpu_seconds = process_cpu_seconds();
        Ok(RunResult {
            client,
            records: values.records,
            value_bytes: values.value_bytes,
            checksum: values.total,
            seconds,
            cpu_seconds: process_cpu_seconds - self.cpu_before,
            process_cpu_seconds,
            peak_resident_bytes: peak_resident_bytes()?,
        })
    }
}

/// Adds up every byte of every value; the order of the values does not matter, that of a value's words does.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Checksum {
    /// Values added.
    pub records: u64,
    /// Their bytes.
    pub value_bytes: u64,
    /// The sum.
    pub total: u64,
}

impl Checksum {
    /// Reads all of a value.
    #[inline]
    pub fn add(&mut self, value: &[u8]) {
        self.add_sum(value.len(), value_sum(value));
    }

    /// Adds a value whose [`value_sum`] is known already.
    #[inline]
    pub fn add_sum(&mut self, value_bytes: usize, sum: u64) {
        self.records += 1;
        self.value_bytes += value_bytes as u64;
        self.total = self.total.wrapping_add(sum);
    }
}

/// The sums of a value's 8-byte words at even and at odd places, mixed with its length.
#[inline]
#[must_use]
pub fn value_sum(value: &[u8]) -> u64 {
    let (words, rest) = value.as_chunks::<8>();
    let (pairs, single) = words.as_chunks::<2>();
    let (mut even, mut odd) = (0u64, value.len() as u64);
    for [first, second] in pairs {
        even = even.wrapping_add(u64::from_le_bytes(*first));
        odd = odd.wrapping_add(u64::from_le_bytes(*second));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    match single {
        [word] => {
            even = even.wrapping_add(u64::from_le_bytes(*word));
            odd = odd.wrapping_add(u64::from_le_bytes(last));
        }
        _ => even = even.wrapping_add(u64::from_le_bytes(last)),
    }
    even.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ odd.wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
}

/// JSON ad events of `value_bytes` each in a ring that is longer than any codec looks back; the same in every process.
/// Short ones have fewer fields; below 89 bytes they are a little longer than asked for.
#[must_use]
pub fn ad_events(value_bytes: usize) -> Vec<Vec<u8>> {
    let mut random = XorShift(0x9e37_79b9_7f4a_7c15);
    let pages: Vec<String> = (0..1000).map(|_| random.uuid()).collect();
    let ads: Vec<String> = (0..1000).map(|_| random.uuid()).collect();
    (0..EVENTS)
        .map(|_| {
            let event_time = 1_700_000_000_000 + random.below(10_000_000);
            let mut event = format!(r#"{{"event_time":"{event_time}","user_id":"{}""#, random.uuid());
            if value_bytes >= FULL_EVENT_BYTES {
                let event_type = ["view", "click", "purchase"][random.below(3)];
                let ad_type = ["banner", "modal", "sponsored-search", "mail", "mobile"][random.below(5)];
                let (page, ad) = (&pages[random.below(1000)], &ads[random.below(1000)]);
                let [a, b, c] = [(); 3].map(|()| random.below(256));
                event += &format!(
                    r#","event_type":"{event_type}","page_id":"{page}","ad_id":"{ad}","ad_type":"{ad_type}","ip_address":"10.{a}.{b}.{c}""#
                );
            }
            // What is left is text, which a codec takes for what it is: neither noise nor blanks.
            let room = value_bytes.saturating_sub(event.len() + r#","note":""}"#.len());
            let mut note = String::new();
            while note.len() < room {
                note += WORDS[random.below(WORDS.len())];
                note.push(' ');
            }
            event += &format!(r#","note":"{}"}}"#, &note[..room]);
            event.into_bytes()
        })
        .collect()
}

struct XorShift(u64);

impl XorShift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn uuid(&mut self) -> String {
        let (high, low) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }
}

/// Splits `name=value`.
pub fn split_property(property: &str) -> Result<(&str, &str)> {
    property
        .split_once('=')
        .with_context(|| format!("{property} is not name=value"))
}

/// User and system time of this process so far, ended threads included.
fn process_cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn peak_resident_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("peak memory needs /proc (Linux)")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = peak.and_then(|peak| peak.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    Ok(kilobytes.context("no VmHWM in /proc/self/status")? * 1024)
}

const EVENTS: usize = 8192;
/// Every field, the longest of its values, and an empty note.
const FULL_EVENT_BYTES: usize = 275;

const WORDS: [&str; 32] = [
    "about", "after", "again", "autumn", "before", "bicycle", "bright", "carry", "city", "corner", "delivery", "every",
    "family", "garden", "holiday", "instead", "journey", "kitchen", "letter", "market", "never", "offer", "people",
    "quiet", "river", "season", "thousand", "under", "visit", "window", "yellow", "zebra",
];

#[cfg(test)]
mod tests {
    use super::{Checksum, ad_events, value_sum};

    #[test]
    fn an_event_is_as_long_as_asked_for_and_json() {
        for value_bytes in [100, 257, 290, 1024] {
            for event in ad_events(value_bytes).iter().take(100) {
                assert_eq!(event.len(), value_bytes);
                serde_json::from_slice::<serde_json::Value>(event).expect("JSON");
            }
        }
    }

    #[test]
    fn a_checksum_sees_every_byte_but_not_the_order_of_values() {
        let value: Vec<u8> = (0..37).collect();
        for at in 0..value.len() {
            let mut other = value.clone();
            other[at] ^= 1;
            assert_ne!(value_sum(&other), value_sum(&value), "byte {at}");
        }
        assert_ne!(value_sum(b"a"), value_sum(b"a\0"));
        let (mut forth, mut back) = (Checksum::default(), Checksum::default());
        [b"one", b"two"].iter().for_each(|value| forth.add(*value));
        [b"two", b"one"].iter().for_each(|value| back.add(*value));
        assert_eq!(forth, back);
    }
}

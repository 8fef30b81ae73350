//! Fuzzing on a stable compiler: a corpus, mutations of it, and the outcomes of what ran as the guide.
//!
//! A target is a function from bytes to an outcome; it panics where an invariant breaks. An input whose outcome (with
//! numbers left out) was not seen before joins the inputs that are mutated, so that a run works its way behind
//! checks without the instrumentation that only nightly compilers have. Inputs that broke something once are files in
//! `fuzz/<target>/`, which every run begins with.
//! Never here: what a target decodes.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::hostility::Random;

/// Runs the target for this many seconds, from a seed of the time, instead of its number of inputs.
const SECONDS: &str = "ENGINE_FUZZ_SECONDS";
/// The first seed.
const SEED: &str = "ENGINE_FUZZ_SEED";
/// Inputs that are kept for mutation; beyond it a new one replaces an arbitrary one.
const POOL_MAX: usize = 2_000;
/// A longer input is cut.
const INPUT_BYTES_MAX: usize = 64 << 10;

/// Runs a target over its corpus, `examples`, and `inputs` mutations of both.
///
/// # Panics
/// If the target does. The input is then in a file whose name is printed.
pub fn fuzz(target: &str, examples: Vec<Vec<u8>>, inputs: u64, run: impl Fn(&[u8]) -> String) {
    let mut pool = corpus(target);
    let remembered = pool.len();
    pool.extend(examples);
    pool.push(Vec::new());
    let mut outcomes = HashSet::new();
    let mut attempt = |input: &[u8]| {
        let ran = catch_unwind(AssertUnwindSafe(|| run(input)));
        match ran {
            Ok(outcome) => outcomes.insert(signature(&outcome)),
            Err(panic) => {
                let path = keep(target, input);
                eprintln!("{target} fails with {} bytes, kept in {}", input.len(), path.display());
                resume_unwind(panic)
            }
        }
    };
    for input in &pool {
        attempt(input);
    }
    let seconds = variable(SECONDS).map(Duration::from_secs);
    let by_time = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(1, |time| time.as_nanos() as u64)
    };
    let seed = variable(SEED).unwrap_or_else(|| if seconds.is_some() { by_time() } else { 1 });
    let mut random = Random::new(seed);
    let started = Instant::now();
    let mut ran = 0u64;
    while seconds.map_or(ran < inputs, |seconds| started.elapsed() < seconds) {
        let mut input = pool[random.below(pool.len())].clone();
        if random.below(8) == 0 {
            let other = &pool[random.below(pool.len())];
            splice(&mut random, &mut input, other);
        }
        if input.is_empty() || random.below(16) == 0 {
            let size = random.below(200);
            input.extend(random.noise(size));
        }
        random.mutate(&mut input);
        input.truncate(INPUT_BYTES_MAX);
        ran += 1;
        if attempt(&input) {
            if pool.len() < POOL_MAX {
                pool.push(input);
            } else {
                let at = random.below(pool.len());
                pool[at] = input;
            }
        }
    }
    println!(
        "{target}: {remembered} remembered and {ran} new inputs from seed {seed}, {} outcomes, {:.1?}",
        outcomes.len(),
        started.elapsed()
    );
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What broke something once.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/fuzz/{target}", env!("CARGO_MANIFEST_DIR"));
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).expect("a readable corpus"))
        .collect()
}

fn keep(target: &str, input: &[u8]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let folder = std::env::temp_dir().join("engine-fuzz");
    let path = folder.join(format!("{target}-{:016x}", hasher.finish()));
    let kept = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, input));
    if let Err(error) = kept {
        eprintln!("{}: {error}; the input is {input:02x?}", path.display());
    }
    path
}

/// The outcome without its numbers, of which there are too many.
fn signature(outcome: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    for letter in outcome.chars().filter(|letter| !letter.is_ascii_digit()) {
        letter.hash(&mut hasher);
    }
    hasher.finish()
}

/// The front of one input and the back of another.
fn splice(random: &mut Random, input: &mut Vec<u8>, other: &[u8]) {
    input.truncate(random.below(input.len() + 1));
    input.extend_from_slice(&other[random.below(other.len() + 1)..]);
}

/// Decisions read from an input: how a target builds structures that a decoder would never be lucky enough to find.
/// A source that is used up decides for 0.
#[derive(Debug)]
pub struct Source<'a> {
    rest: &'a [u8],
}

impl<'a> Source<'a> {
    /// Decisions from `input`.
    #[must_use]
    pub fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    /// Whether nothing is left to decide.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else {
            return 0;
        };
        self.rest = rest;
        *first
    }

    /// A number below `bound`, which is at most 256.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Mostly a small number, else one at the edge of 32 bits or an arbitrary one.
    pub fn int32(&mut self) -> i32 {
        match self.byte() {
            byte @ 0..=199 => i32::from(byte % 8),
            byte @ 200..=249 => [-1, -2, i32::MIN, i32::MAX, i32::MAX - 1][usize::from(byte % 5)],
            _ => i32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()]),
        }
    }

    /// As [`Source::int32`], of 64 bits.
    pub fn int64(&mut self) -> i64 {
        match self.byte() {
            byte @ 0..=199 => i64::from(byte % 64),
            byte @ 200..=249 => [-1, -2, i64::MIN, i64::MAX, i64::from(i32::MAX)][usize::from(byte % 5)],
            _ => i64::from(self.int32()) << 20,
        }
    }

    /// Mostly no error, else a code of Kafka's or beyond.
    pub fn error_code(&mut self) -> i16 {
        match self.byte() {
            0..=150 => 0,
            151..=250 => i16::from(self.byte()) - 1,
            _ => self.pick(&[i16::MIN, i16::MAX, -2]),
        }
    }

    /// The next bytes, up to 255.
    pub fn bytes(&mut self) -> &'a [u8] {
        let size = usize::from(self.byte()).min(self.rest.len());
        let (bytes, rest) = self.rest.split_at(size);
        self.rest = rest;
        bytes
    }
}

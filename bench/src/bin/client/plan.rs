//! What is run, and what one run gave.

use std::fmt;

use engine_bench::client_run::RunResult;
use serde::Serialize;

/// Records of one size under one codec.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Load {
    pub(crate) value_bytes: usize,
    pub(crate) compression: &'static str,
    pub(crate) records: u64,
}

impl Load {
    /// Every size under every codec.
    pub(crate) fn all(value_bytes: &[usize], megabytes: u64) -> Vec<Load> {
        let mut loads = Vec::new();
        for &value_bytes in value_bytes {
            for compression in ["none", "lz4"] {
                loads.push(Load {
                    value_bytes,
                    compression,
                    // A small record costs more than its bytes: with the overhead the runs take about as long.
                    records: megabytes * 1_000_000 / (value_bytes as u64 + 50),
                });
            }
        }
        loads
    }

    /// For warming up.
    pub(crate) fn shortened(&self) -> Load {
        Load {
            records: self.records / 4,
            ..self.clone()
        }
    }

    /// What `performance.md` asks of our client: CPU seconds per million records, if it names this load.
    pub(crate) fn target(&self, operation: Operation) -> Option<f64> {
        let found = TARGETS.iter().find(|(value_bytes, compression, _, _)| {
            *value_bytes == self.value_bytes && *compression == self.compression
        });
        found.map(|(_, _, produce, consume)| match operation {
            Operation::Produce => *produce,
            Operation::Consume => *consume,
        })
    }
}

/// `290-lz4`, as in the names of topics.
impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.value_bytes, self.compression)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Operation {
    Produce,
    Consume,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Produce => "produce",
            Operation::Consume => "consume",
        })
    }
}

/// One run of one client.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    pub(crate) client: &'static str,
    pub(crate) operation: Operation,
    pub(crate) load: Load,
    pub(crate) round: usize,
    pub(crate) result: RunResult,
}

impl Sample {
    pub(crate) fn new(
        client: &'static str,
        operation: Operation,
        load: &Load,
        round: usize,
        result: RunResult,
    ) -> Sample {
        Sample {
            client,
            operation,
            load: load.clone(),
            round,
            result,
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sample {
            client,
            operation,
            load,
            result,
            ..
        } = self;
        write!(
            f,
            "{load} {operation} {client}: {:.3} CPU-s per M records, {:.2} M records/s, peak {:.0} MB",
            result.cpu_per_million(),
            result.records_per_second() / 1e6,
            result.peak_resident_bytes as f64 / 1e6,
        )
    }
}

/// Bytes of a value, codec, produce, consume.
const TARGETS: [(usize, &str, f64, f64); 6] = [
    (100, "none", 0.20, 0.10),
    (100, "lz4", 0.30, 0.12),
    (290, "none", 0.25, 0.12),
    (290, "lz4", 0.60, 0.18),
    (1024, "none", 0.60, 0.35),
    (1024, "lz4", 1.90, 0.55),
];

//! Generators: load made inside the process and sent through the real client.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use super::KafkaOptions;

/// Load made inside the process.
#[derive(Debug, Clone)]
pub struct Generator {
    /// Name in the file.
    pub name: String,
    /// What it makes.
    pub kind: GeneratorKind,
    /// The topic; created if it is missing.
    pub topic: String,
    /// How events are spread over time.
    pub arrivals: Arrivals,
    /// Producers that share the rate.
    pub producers: NonZeroUsize,
    /// When it stops.
    pub extent: GeneratorExtent,
    /// The same seed makes the same events.
    pub seed: u64,
    /// Producer options, `[kafka]` merged in.
    pub kafka: KafkaOptions,
}

/// What a generator makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeneratorKind {
    /// Advertising events.
    Ads {
        /// Number of campaigns.
        campaigns: NonZeroUsize,
        /// Ads in each campaign.
        ads_per_campaign: NonZeroUsize,
    },
    /// Messages of one size.
    Fixed {
        /// Bytes of each message.
        message_bytes: NonZeroUsize,
    },
}

/// How events are spread over time. Rates are of all producers together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arrivals {
    /// Equal gaps.
    Uniform {
        /// The rate.
        rate: Rate,
    },
    /// Exponential gaps.
    Poisson {
        /// The mean rate.
        rate: Rate,
    },
    /// A Markov-modulated Poisson process of two states.
    Mmpp {
        /// The long-run mean, in events per second; finite and positive.
        average_rate: f64,
        /// Rate of the busy state over the rate of the quiet one; finite and at least 1.
        rate_ratio: f64,
        /// Changes per second from the first state to the second; finite and positive.
        q12: f64,
        /// Changes per second back; finite and positive.
        q21: f64,
    },
}

/// How fast events come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// Events per second; finite and positive.
    PerSecond(f64),
    /// `rate = "max"`: as fast as the producers go.
    Max,
}

/// When a generator stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeneratorExtent {
    /// After this many events of all producers together.
    Count(NonZeroU64),
    /// After this long; positive.
    Duration(Duration),
    /// Only with the pipeline.
    Unbounded,
}

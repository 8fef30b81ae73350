//! Load made on purpose: events with realistic fields at realistic times, and plain messages of a fixed size.
//!
//! [`EventStream`] is pure: seed, producer and start decide every byte and every time. The driver sends what it makes
//! through the real client. The load is *open loop*: an event's time is when it should be sent, whatever the broker does;
//! a sender that falls behind neither skips events nor shifts their times, and its report says how late it was.
//!
//! Two clocks: in [`Pace::RealTime`] events are sent at their times; in [`Pace::Max`] they are sent as fast as possible
//! while their times advance by the arrival process all the same, so that windows stay meaningful.
//!
//! Never here: TOML, arguments, operators.

pub mod ads;
pub mod arrivals;
pub mod config;
pub mod driver;
pub mod event_stream;
pub mod fixed;
pub mod report;

pub use ads::{AdCampaigns, AdEvents, AdPopulation, KeyField};
pub use arrivals::{ArrivalProcess, Arrivals, ArrivalsError, Mmpp};
pub use config::{EVENT_RATE_AT_MAX, GeneratorConfig, GeneratorConfigError, GeneratorKind, Pace};
pub use driver::{GeneratorError, GeneratorProgress, run_generator};
pub use event_stream::EventStream;
pub use fixed::{FixedLoad, FixedMessages};
pub use report::{GeneratorReport, ProducerReport};

//! Generators: load made inside the process and sent through the real client.

use super::KafkaOptions;
use crate::generate::config::GeneratorConfig;

/// Load made inside the process.
#[derive(Debug, Clone)]
pub struct Generator {
    /// Name in the file.
    pub name: String,
    /// What it makes, when, how much and where to; checked. Its topic is created if it is missing.
    pub load: GeneratorConfig,
    /// Producer options, `[kafka]` merged in.
    pub kafka: KafkaOptions,
}

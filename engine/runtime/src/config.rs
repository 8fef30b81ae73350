//! Pipeline files: from what was written to what it means.
//!
//! ```text
//! bytes ─ toml_edit ─> Document (values with spans) ─ --set, ${VAR} ─> resolve ─> Pipeline
//!                                  every mistake on the way becomes a Diagnostic
//! ```
//!
//! [`load`] reads a file, [`parse`] takes its bytes. Both report every mistake at once, each with its
//! position, the offending line and what was expected. `engine/docs/config.md` describes the file itself.
//! Never here: brokers, files other than the pipeline's own, the environment (the caller passes it).

use std::path::Path;

pub use self::diagnostic::{ConfigError, Diagnostic, Severity};
pub use self::pipeline::Pipeline;

pub mod diagnostic;
pub mod pipeline;
mod source_text;

/// Largest pipeline file that is read.
pub const FILE_BYTES_MAX: usize = 10 * 1024 * 1024;

/// What the file's surroundings add to it.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// `--set` flags in order, each `a.b.c=value` without the flag itself.
    pub overrides: &'a [String],
    /// Looks a `${VARIABLE}` up, usually in the process's environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

/// A pipeline and what is questionable about its file.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// Warnings; the pipeline can run nevertheless.
    pub warnings: Vec<Diagnostic>,
}

/// Reads and resolves a pipeline file.
///
/// # Errors
/// Every mistake in the file at once; or that it cannot be read, or is larger than [`FILE_BYTES_MAX`].
pub fn load(path: &Path, surroundings: &Surroundings<'_>) -> Result<Loaded, ConfigError> {
    let name = path.display().to_string();
    let bytes =
        std::fs::read(path).map_err(|error| ConfigError::unreadable(format!("{name}: {error}")))?;
    parse(&name, &bytes, surroundings)
}

/// Resolves the bytes of a pipeline file; `name` is what diagnostics call it.
///
/// # Errors
/// Every mistake in the file at once.
pub fn parse(
    name: &str,
    _bytes: &[u8],
    _surroundings: &Surroundings<'_>,
) -> Result<Loaded, ConfigError> {
    unimplemented!("{name}: the resolver lands next")
}

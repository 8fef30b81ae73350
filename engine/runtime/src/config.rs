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

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

pub use self::diagnostic::{ConfigError, Diagnostic, Severity};
use self::document::Reader;
pub use self::pipeline::Pipeline;
use self::source_text::SourceText;

pub mod diagnostic;
mod document;
mod fields;
pub mod keys;
mod overrides;
pub mod pipeline;
mod resolve;
pub(crate) mod source_text;
pub(crate) mod test_rows;
mod text;
pub(crate) mod values;

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
    let unreadable = |error: std::io::Error| ConfigError::unreadable(format!("{name}: {}", reason(&error)));
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    parse(&name, &bytes, surroundings)
}

/// Resolves the bytes of a pipeline file; `name` is what diagnostics call it.
///
/// # Errors
/// Every mistake in the file at once.
pub fn parse(name: &str, bytes: &[u8], surroundings: &Surroundings<'_>) -> Result<Loaded, ConfigError> {
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!("{name}: a pipeline file has at most {FILE_BYTES_MAX} bytes, and this one has more");
        return Err(ConfigError::unreadable(message));
    }
    let (text, bad_byte) = match str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(error) => (String::from_utf8_lossy(bytes).into_owned(), Some(error.valid_up_to())),
    };
    let source = SourceText::file(name, text);
    if let Some(at) = bad_byte {
        let message = "this byte is not valid UTF-8, and TOML is always UTF-8";
        return Err(ConfigError::new(vec![Diagnostic::error(
            &source.span(at..at + 1),
            message,
        )]));
    }
    let mut reader = Reader {
        source: source.clone(),
        variable: surroundings.variable,
        diagnostics: Vec::new(),
    };
    let Some(mut document) = reader.document() else {
        return Err(ConfigError::new(reader.diagnostics));
    };
    let mut diagnostics = reader.diagnostics;
    for flag in surroundings.overrides {
        if let Err(mistakes) = overrides::apply(&mut document, flag, surroundings.variable) {
            diagnostics.extend(mistakes);
        }
    }
    let (pipeline, found) = resolve::resolve(&document, &source);
    diagnostics.extend(found);
    match pipeline {
        Some(pipeline) if diagnostics.iter().all(|one| one.severity() == Severity::Warning) => {
            diagnostics.sort_by_key(Diagnostic::sort_key);
            Ok(Loaded {
                pipeline,
                warnings: diagnostics,
            })
        }
        _ => Err(ConfigError::new(diagnostics)),
    }
}

pub(crate) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::PermissionDenied => "it may not be read (permission denied)".to_owned(),
        ErrorKind::IsADirectory => "it is a folder, not a file".to_owned(),
        _ => error.to_string(),
    }
}

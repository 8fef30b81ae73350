//! What is wrong with a pipeline file, and where.
//!
//! ```text
//! pipeline.toml:31:9: error: unknown key `agregates` in `transforms.per_campaign`
//!    31 | agregates = { events = "count(*)" }
//!       | ^^^^^^^^^
//!       = did you mean `aggregates`?
//!       = valid keys: aggregates, allowed_lateness, group_by, …
//! ```
//! Never here: how a mistake is found.

use std::fmt;

use super::source_text::Span;

/// Most diagnostics that are printed; the rest is counted.
pub const DIAGNOSTICS_SHOWN_MAX: usize = 100;
/// Most names in a list of valid ones.
const NAMES_SHOWN_MAX: usize = 60;
/// Longest piece of the file that a message repeats, in characters.
const QUOTED_CHARACTERS_MAX: usize = 60;

/// Whether a pipeline can run in spite of a diagnostic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can.
    Warning,
}

/// One mistake, with its position.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    severity: Severity,
    message: String,
    span: Option<Span>,
    notes: Vec<String>,
}

/// Every mistake of a pipeline file. Its text is ready to be printed.
#[derive(Debug, Clone)]
pub struct ConfigError {
    diagnostics: Vec<Diagnostic>,
}

impl Diagnostic {
    pub(crate) fn error(span: &Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            message: message.into(),
            span: Some(span.clone()),
            notes: Vec::new(),
        }
    }

    /// A mistake that no place in a file shows.
    pub(crate) fn nowhere(message: String) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            message,
            span: None,
            notes: Vec::new(),
        }
    }

    pub(crate) fn warning(span: &Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Warning,
            ..Diagnostic::error(span, message)
        }
    }

    /// Adds a line below the excerpt.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Diagnostic {
        self.notes.push(note.into());
        self
    }

    /// Adds the name that was probably meant and the list of valid ones.
    pub(crate) fn suggest<'a>(
        mut self,
        what: &str,
        written: &str,
        valid: impl IntoIterator<Item = &'a str>,
    ) -> Diagnostic {
        let valid: Vec<&str> = valid.into_iter().collect();
        if let Some(nearest) = nearest(written, &valid) {
            self.notes.push(format!("did you mean `{nearest}`?"));
        }
        if valid.is_empty() {
            self.notes.push(format!("there are no {what}"));
            return self;
        }
        let shown = valid
            .iter()
            .take(NAMES_SHOWN_MAX)
            .copied()
            .collect::<Vec<_>>()
            .join(", ");
        let more = valid.len().saturating_sub(NAMES_SHOWN_MAX);
        let more = if more == 0 {
            String::new()
        } else {
            format!(" and {more} more")
        };
        self.notes.push(format!("valid {what}: {shown}{more}"));
        self
    }

    /// Whether the pipeline can run in spite of it.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// What is wrong, without the position.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// 1-based line and column in the pipeline file; `None` for a `--set` flag and for a file that cannot be read.
    #[must_use]
    pub fn line_and_column(&self) -> Option<(usize, usize)> {
        let span = self.span.as_ref().filter(|span| !span.source.is_flag())?;
        Some(span.line_and_column())
    }

    /// Where it sorts: flags after the file, then by position.
    pub(crate) fn sort_key(&self) -> (bool, usize) {
        self.span
            .as_ref()
            .map_or((false, 0), |span| (span.source.is_flag(), span.range.start))
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let Some(span) = &self.span else {
            return write!(formatter, "{severity}: {}", self.message);
        };
        write!(formatter, "{}: {severity}: {}", span.position(), self.message)?;
        let excerpt = span.excerpt();
        let gutter = if span.source.is_flag() {
            String::new()
        } else {
            span.line_and_column().0.to_string()
        };
        write!(formatter, "\n{gutter:>5} | {}", excerpt.line)?;
        write!(formatter, "\n{:>5} | {}", "", excerpt.carets)?;
        for note in &self.notes {
            write!(formatter, "\n{:>5} = {note}", "")?;
        }
        Ok(())
    }
}

impl ConfigError {
    /// A file that could not even be read.
    pub(crate) fn unreadable(message: String) -> ConfigError {
        ConfigError {
            diagnostics: vec![Diagnostic::nowhere(message)],
        }
    }

    /// Mistakes in several files, in this order.
    pub(crate) fn of_files(diagnostics: Vec<Diagnostic>) -> ConfigError {
        ConfigError { diagnostics }
    }

    /// # Panics
    /// If there is no error among the diagnostics.
    pub(crate) fn new(mut diagnostics: Vec<Diagnostic>) -> ConfigError {
        assert!(
            diagnostics.iter().any(|one| one.severity == Severity::Error),
            "a failed load names a mistake"
        );
        diagnostics.sort_by_key(Diagnostic::sort_key);
        ConfigError { diagnostics }
    }

    /// The mistakes and warnings, in the order of the file; at least one is an error.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.diagnostics.iter().take(DIAGNOSTICS_SHOWN_MAX).enumerate() {
            write!(formatter, "{}{diagnostic}", if index == 0 { "" } else { "\n\n" })?;
        }
        match self.diagnostics.len().saturating_sub(DIAGNOSTICS_SHOWN_MAX) {
            0 => Ok(()),
            more => write!(formatter, "\n\nand {more} more"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// The valid name that was probably meant, if one is near enough.
pub(crate) fn nearest<'a>(written: &str, valid: &[&'a str]) -> Option<&'a str> {
    if written.is_empty() || written.chars().count() > QUOTED_CHARACTERS_MAX {
        return None;
    }
    let lower = written.to_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&lower, &name.to_lowercase());
    let (distance, best) = valid
        .iter()
        .map(|name| (distance(name), *name))
        .min_by_key(|(distance, _)| *distance)?;
    let limit = (written.chars().count().max(best.chars().count()) / 3).clamp(1, 4);
    let one_in_other = best.len() >= 4 && lower.len() >= 4 && (best.contains(&lower) || lower.contains(best));
    (distance <= limit || one_in_other).then_some(best)
}

/// A piece of the file as a message repeats it: on one line, not too long, in backquotes.
pub(crate) fn quoted(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut shown: String = clean.chars().take(QUOTED_CHARACTERS_MAX).collect();
    if clean.chars().count() > QUOTED_CHARACTERS_MAX {
        shown.push('…');
    }
    format!("`{shown}`")
}

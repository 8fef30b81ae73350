//! A text that diagnostics point into: the pipeline file, or one `--set` flag.
//!
//! Spans are byte ranges; people read lines and columns. Terminals show tabs and wide characters in
//! more than one column, so the caret line is laid out by display width.
//! Never here: TOML.

use std::ops::Range;
use std::sync::Arc;

use unicode_width::UnicodeWidthChar;

/// Widest excerpt of a line, in terminal columns. A longer line is cut around the caret.
const EXCERPT_COLUMNS_MAX: usize = 110;
/// What is kept before the caret when a line is cut.
const EXCERPT_LEAD_COLUMNS: usize = 40;
/// Columns of a tab in an excerpt.
const TAB_COLUMNS: usize = 4;

/// A text with a name, cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct SourceText {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    text: String,
    is_flag: bool,
    line_starts: Vec<usize>,
}

/// A byte range of a [`SourceText`].
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) source: SourceText,
    pub(crate) range: Range<usize>,
}

/// A line of a text with a caret line below it, both laid out for a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    pub(crate) line: String,
    pub(crate) carets: String,
}

impl SourceText {
    /// The pipeline file.
    pub(crate) fn file(name: &str, text: String) -> SourceText {
        SourceText::new(name.to_owned(), text, false)
    }

    /// A `--set` flag, whose position is the flag itself.
    pub(crate) fn flag(text: &str) -> SourceText {
        SourceText::new("--set".to_owned(), text.to_owned(), true)
    }

    fn new(name: String, text: String, is_flag: bool) -> SourceText {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        SourceText {
            inner: Arc::new(Inner {
                name,
                text,
                is_flag,
                line_starts,
            }),
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.inner.text
    }

    pub(crate) fn is_flag(&self) -> bool {
        self.inner.is_flag
    }

    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        Span {
            source: self.clone(),
            range,
        }
    }

    /// Line (0-based) that holds a byte.
    fn line_of(&self, at: usize) -> usize {
        self.inner
            .line_starts
            .partition_point(|start| *start <= at)
            .saturating_sub(1)
    }

    fn line_range(&self, line: usize) -> Range<usize> {
        let start = self.inner.line_starts[line];
        let end = self
            .inner
            .line_starts
            .get(line + 1)
            .map_or(self.inner.text.len(), |next| next - 1);
        let text = &self.inner.text[start..end];
        start..start + text.strip_suffix('\r').unwrap_or(text).len()
    }
}

impl Span {
    /// 1-based line and column of the first character; columns count characters.
    pub(crate) fn line_and_column(&self) -> (usize, usize) {
        let at = self.start();
        let line = self.source.line_of(at);
        let start = self.source.inner.line_starts[line];
        let column = self.source.text()[start..at].chars().count();
        (line + 1, column + 1)
    }

    /// `file:line:column`, or for a flag `--set` alone.
    pub(crate) fn position(&self) -> String {
        if self.source.is_flag() {
            return self.source.inner.name.clone();
        }
        let (line, column) = self.line_and_column();
        format!("{}:{line}:{column}", self.source.inner.name)
    }

    /// The text it covers.
    pub(crate) fn text(&self) -> &str {
        let end = floor_char_boundary(self.source.text(), self.range.end).max(self.start());
        &self.source.text()[self.start()..end]
    }

    /// The first line it covers, with carets below the part that it covers.
    pub(crate) fn excerpt(&self) -> Excerpt {
        let at = self.start();
        let line = self.source.line_range(self.source.line_of(at));
        let text = &self.source.text()[line.clone()];
        let caret_start = (at - line.start).min(text.len());
        let caret_end = self.range.end.saturating_sub(line.start).clamp(caret_start, text.len());
        let mut cells = Vec::new();
        let mut caret = (usize::MAX, 0);
        let mut columns = 0;
        for (offset, character) in text.char_indices() {
            if offset == caret_start {
                caret.0 = columns;
            }
            let (shown, width) = match character {
                '\t' => (" ".repeat(TAB_COLUMNS), TAB_COLUMNS),
                control if control.is_control() => ("\u{fffd}".to_owned(), 1),
                other => (other.to_string(), other.width().unwrap_or(0)),
            };
            columns += width;
            if (caret_start..caret_end).contains(&offset) {
                caret.1 += width;
            }
            cells.push((columns, shown));
        }
        let caret_column = if caret.0 == usize::MAX { columns } else { caret.0 };
        let from = if columns > EXCERPT_COLUMNS_MAX {
            caret_column.saturating_sub(EXCERPT_LEAD_COLUMNS)
        } else {
            0
        };
        let until = from + EXCERPT_COLUMNS_MAX;
        let shown: String = cells
            .iter()
            .filter(|(end, _)| *end > from && *end <= until)
            .map(|(_, shown)| shown.as_str())
            .collect();
        let first = cells.iter().find(|(end, _)| *end > from).map_or(0, |(end, shown)| {
            end - shown
                .chars()
                .map(|character| character.width().unwrap_or(0))
                .sum::<usize>()
        });
        let (before, after) = (if from > 0 { "…" } else { "" }, if columns > until { "…" } else { "" });
        let indent = caret_column.saturating_sub(first) + usize::from(from > 0);
        let width = caret.1.clamp(1, until.saturating_sub(caret_column).max(1));
        Excerpt {
            line: format!("{before}{}{after}", shown.trim_end()),
            carets: format!("{}{}", " ".repeat(indent), "^".repeat(width)),
        }
    }

    fn start(&self) -> usize {
        floor_char_boundary(self.source.text(), self.range.start)
    }
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt_of(text: &str, marked: &str) -> (String, String, String) {
        let source = SourceText::file("p.toml", text.to_owned());
        let at = text.find(marked).unwrap();
        let span = source.span(at..at + marked.len());
        let excerpt = span.excerpt();
        (span.position(), excerpt.line, excerpt.carets)
    }

    #[test]
    fn carets_stand_below_what_they_mark_after_tabs_and_wide_characters() {
        for (text, marked, position, line, carets) in [
            ("a = 1\nb = 2", "2", "p.toml:2:5", "b = 2", "    ^"),
            ("\tkey = 1", "key", "p.toml:1:2", "    key = 1", "    ^^^"),
            (
                "x = \"漢字\" # bad",
                "bad",
                "p.toml:1:12",
                "x = \"漢字\" # bad",
                "             ^^^",
            ),
            ("a = 1\r\nb = two\r\n", "two", "p.toml:2:5", "b = two", "    ^^^"),
        ] {
            assert_eq!(
                excerpt_of(text, marked),
                (position.to_owned(), line.to_owned(), carets.to_owned())
            );
        }
    }

    #[test]
    fn long_lines_are_cut_around_the_caret() {
        let text = format!("k = \"{}\" bad {}", "x".repeat(5_000), "y".repeat(5_000));
        let (position, line, carets) = excerpt_of(&text, "bad");
        assert_eq!(position, "p.toml:1:5008");
        assert!(
            line.starts_with("…xxx") && line.ends_with("yyy…") && line.chars().count() < 120,
            "{line}"
        );
        let caret = carets.find('^').unwrap();
        assert_eq!(line.chars().skip(caret).take(3).collect::<String>(), "bad");
    }

    #[test]
    fn a_span_past_the_end_points_after_the_last_character() {
        let source = SourceText::file("p.toml", "a = ".to_owned());
        let span = source.span(400..500);
        assert_eq!(span.position(), "p.toml:1:5");
        assert_eq!(span.excerpt().carets, "    ^");
    }
}

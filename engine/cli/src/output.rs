//! Standard output: results, as text, tables or one JSON object per line.
//!
//! Buffered; whoever waits for something flushes first. A reader that went away is an [`OutputError`] that
//! `failure::report` takes for a quiet end.

use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;

/// Standard output could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub(crate) struct OutputError(#[from] io::Error);

impl OutputError {
    /// Whether the reader is gone, as `head` goes when it has seen enough.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Tells a person something, on standard error. If that is full or gone there is nobody to tell, which is no reason to
/// stop: `eprintln!` would panic.
pub(crate) fn notice(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Where results go.
pub(crate) struct Output<W: Write = StdoutLock<'static>> {
    writer: BufWriter<W>,
}

impl Output {
    /// Takes standard output for the rest of the command.
    pub(crate) fn stdout() -> Self {
        Self::new(io::stdout().lock())
    }
}

impl<W: Write> Output<W> {
    pub(crate) fn new(writer: W) -> Self {
        Self {
            writer: BufWriter::with_capacity(64 * 1024, writer),
        }
    }

    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> Result<(), OutputError> {
        Ok(writeln!(self.writer, "{}", text.as_ref())?)
    }

    /// Bytes as they are, and a line feed.
    pub(crate) fn bytes_line(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        self.writer.write_all(bytes)?;
        Ok(self.writer.write_all(b"\n")?)
    }

    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), OutputError> {
        serde_json::to_writer(&mut self.writer, value).map_err(io::Error::from)?;
        Ok(self.writer.write_all(b"\n")?)
    }

    /// Columns as wide as their widest cell; cells that are numbers in every row go to the right.
    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) -> Result<(), OutputError> {
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([head[column].chars().count()]).max().unwrap_or(0)
        };
        let numeric = |column: usize| {
            rows.iter()
                .all(|row| row[column].chars().all(|c| c.is_ascii_digit() || "-.,%".contains(c)))
        };
        let columns: Vec<(usize, bool)> = (0..head.len()).map(|column| (width(column), numeric(column))).collect();
        let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
        for row in std::iter::once(&head).chain(rows) {
            let mut line = String::new();
            for (cell, &(width, numeric)) in row.iter().zip(&columns) {
                let padding = " ".repeat(width - cell.chars().count());
                let (before, after) = if numeric {
                    (padding.as_str(), "")
                } else {
                    ("", padding.as_str())
                };
                line.push_str(&format!("{before}{cell}{after}  "));
            }
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> Result<(), OutputError> {
        Ok(self.writer.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_aligns_words_left_and_numbers_right() {
        let mut bytes = Vec::new();
        {
            let mut output = Output::new(&mut bytes);
            let rows = [vec!["ads".into(), "4".into()], vec!["long-name".into(), "1,200".into()]];
            output.table(&["TOPIC", "COUNT"], &rows).unwrap();
            output.flush().unwrap();
        }
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "TOPIC      COUNT\nads            4\nlong-name  1,200\n"
        );
    }
}

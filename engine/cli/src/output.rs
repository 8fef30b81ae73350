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

/// Prints a command's one result: as text, or with `--json` as one object.
pub(crate) fn print(result: &impl Serialize, json: bool, text: impl FnOnce() -> String) -> Result<(), OutputError> {
    let mut output = Output::stdout();
    if json {
        output.json(result)?;
    } else {
        output.line(text().trim_end())?;
    }
    output.flush()
}

/// Where results go.
pub(crate) struct Output {
    writer: BufWriter<StdoutLock<'static>>,
}

impl Output {
    /// Takes standard output for the rest of the command.
    pub(crate) fn stdout() -> Self {
        Self {
            writer: BufWriter::with_capacity(64 * 1024, io::stdout().lock()),
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

    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) -> Result<(), OutputError> {
        table(head, rows).into_iter().try_for_each(|line| self.line(line))
    }

    pub(crate) fn flush(&mut self) -> Result<(), OutputError> {
        Ok(self.writer.flush()?)
    }
}

/// Columns as wide as their widest cell; those of numbers, with or without a unit, to the right.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let columns: Vec<(usize, bool)> = (0..head.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].as_str());
            let width = cells
                .clone()
                .chain([head[column]])
                .map(|cell| cell.chars().count())
                .max();
            (width.unwrap_or(0), !rows.is_empty() && cells.clone().all(is_number))
        })
        .collect();
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&columns).map(|(cell, &(width, is_numeric))| {
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            if is_numeric {
                padding + cell
            } else {
                cell.clone() + &padding
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    std::iter::once(&head).chain(rows).map(line).collect()
}

/// A number, or the dash that stands for none.
fn is_number(cell: &str) -> bool {
    let number = cell.split(' ').next().unwrap_or_default();
    number.chars().all(|c| c.is_ascii_digit() || "-.,%".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_aligns_words_left_and_numbers_right() {
        let rows = [
            vec!["ads".into(), "4".into(), "2 ms".into()],
            vec!["long-name".into(), "1,200".into(), "-".into()],
        ];
        assert_eq!(
            table(&["TOPIC", "COUNT", "P50"], &rows).join("\n"),
            "TOPIC      COUNT   P50\nads            4  2 ms\nlong-name  1,200     -"
        );
    }
}

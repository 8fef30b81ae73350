//! A pipeline's own tests (`[[tests]]`), run without a broker: rows in, rows compared with those expected.
//!
//! [`read`] reads the files that the tests name, [`run`] runs them. The rows go through what a run uses: records as batches
//! with a checksum, the decoder, one task per partition with its operators and its state, the watermark, the merging of
//! windows, the sinks' encoders. What a run leaves to chance is settled here: each record is a micro-batch of its own, in
//! the order of the file, so the rows before it have moved the watermark and those behind it have not; a partition counts
//! from its first record on; the clock shows the record's timestamp.
//! Never here: clients, files of a lake, what a test may name (see `config`).

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::config::FILE_BYTES_MAX;
use crate::config::diagnostic::{ConfigError, Diagnostic};
use crate::config::pipeline::{Expected, ExpectedRow, InputRow, Pipeline, PipelineTest, TestRows};
use crate::config::source_text::{SourceText, Span};
use crate::config::test_rows::{expected_row, input_row, same_columns};

pub use self::report::{Difference, Missing, TestOutcome, TestReport};

mod comparison;
mod execution;
mod report;
#[cfg(test)]
mod tests;

/// A test with all of its rows.
#[derive(Debug, Clone)]
pub struct ReadTest {
    name: String,
    place: String,
    /// (source, what it reads)
    inputs: Vec<(usize, Vec<InputRow>)>,
    expectations: Vec<ReadExpectation>,
    is_drained: bool,
    is_ordered: bool,
}

#[derive(Debug, Clone)]
struct ReadExpectation {
    name: String,
    of: Expected,
    rows: Vec<ExpectedRow>,
}

/// Reads the files that the tests of a pipeline name; `folder` is the pipeline file's.
///
/// # Errors
/// Every mistake in every file: one that cannot be read or is larger than [`FILE_BYTES_MAX`], rows that are no JSON, columns
/// that do not exist.
pub fn read(pipeline: &Pipeline, folder: &Path) -> Result<Vec<ReadTest>, ConfigError> {
    let mut mistakes = Vec::new();
    let tests = pipeline.tests.iter();
    let tests = tests.map(|test| read_one(pipeline, folder, test, &mut mistakes));
    let tests: Vec<ReadTest> = tests.collect();
    match mistakes.is_empty() {
        true => Ok(tests),
        false => Err(ConfigError::of_files(mistakes)),
    }
}

/// Runs the tests, or those whose name contains `filter`.
#[must_use]
pub fn run(pipeline: &Pipeline, tests: &[ReadTest], filter: Option<&str>) -> TestReport {
    let is_wanted = |test: &&ReadTest| filter.is_none_or(|filter| test.name.contains(filter));
    let outcomes: Vec<TestOutcome> = tests
        .iter()
        .filter(is_wanted)
        .map(|test| run_one(pipeline, test))
        .collect();
    TestReport {
        pipeline: pipeline.name.clone(),
        filtered_out: tests.len() - outcomes.len(),
        tests: outcomes,
    }
}

fn run_one(pipeline: &Pipeline, test: &ReadTest) -> TestOutcome {
    let (error, differences) = match execution::execute(pipeline, test) {
        Err(error) => (Some(error), Vec::new()),
        Ok(found) => {
            let compared = test.expectations.iter().zip(&found);
            let differences = compared.filter_map(|(expected, found)| {
                comparison::compare(&expected.name, &expected.rows, found, test.is_ordered)
            });
            (None, differences.collect())
        }
    };
    TestOutcome {
        name: test.name.clone(),
        place: test.place.clone(),
        is_passed: error.is_none() && differences.is_empty(),
        error,
        differences,
    }
}

fn read_one(pipeline: &Pipeline, folder: &Path, test: &PipelineTest, mistakes: &mut Vec<Diagnostic>) -> ReadTest {
    let mut inputs = Vec::new();
    for input in &test.inputs {
        let rows = match &input.rows {
            TestRows::Inline(rows) => rows.clone(),
            TestRows::File(path) => lines(folder, path, test, mistakes, input_row),
        };
        inputs.push((input.source, rows));
    }
    let mut expectations = Vec::new();
    for expectation in &test.expectations {
        let rows = match &expectation.rows {
            TestRows::Inline(rows) => rows.clone(),
            TestRows::File(path) => {
                let columns = pipeline.columns_of(expectation.of);
                let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
                let read = |text: &str, span: &Span| expected_row(text, span, &columns).map(|row| (row, span.clone()));
                let rows = lines(folder, path, test, mistakes, read);
                mistakes.extend(same_columns(&rows).err());
                rows.into_iter().map(|(row, _)| row).collect()
            }
        };
        expectations.push(ReadExpectation {
            name: expectation.name.clone(),
            of: expectation.of,
            rows,
        });
    }
    ReadTest {
        name: test.name.clone(),
        place: test.place.clone(),
        inputs,
        expectations,
        is_drained: test.is_drained,
        is_ordered: test.is_ordered,
    }
}

/// The rows of a file, one on each line that is not blank.
fn lines<T>(
    folder: &Path,
    path: &Path,
    test: &PipelineTest,
    mistakes: &mut Vec<Diagnostic>,
    read: impl Fn(&str, &Span) -> Result<T, Diagnostic>,
) -> Vec<T> {
    let name = path.display().to_string();
    let text = match contents(&folder.join(path)) {
        Ok(text) => text,
        Err(reason) => {
            let message = format!(
                "{name}, which the test \"{}\" at {} names: {reason}",
                test.name, test.place
            );
            mistakes.push(Diagnostic::nowhere(message));
            return Vec::new();
        }
    };
    let source = SourceText::file(&name, text);
    let mut rows = Vec::new();
    let mut start = 0;
    for line in source.text().split_inclusive('\n') {
        let row = line.trim_ascii();
        if !row.is_empty() {
            let begin = start + (line.len() - line.trim_ascii_start().len());
            match read(row, &source.span(begin..begin + row.len())) {
                Ok(row) => rows.push(row),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        start += line.len();
    }
    rows
}

fn contents(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| crate::config::reason(&error))?;
    let read = file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| crate::config::reason(&error))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(format!(
            "a test's file has at most {FILE_BYTES_MAX} bytes, and this one has more"
        ));
    }
    String::from_utf8(bytes).map_err(|error| format!("byte {} is not valid UTF-8", error.utf8_error().valid_up_to()))
}

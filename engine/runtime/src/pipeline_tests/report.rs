//! What came of the tests, as text and as JSON.

use std::fmt;

use serde::Serialize;

/// Most rows of one expectation that are shown as missing, and as many as unexpected; the rest is counted.
const ROWS_SHOWN_MAX: usize = 50;

/// What came of a pipeline's tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestReport {
    /// The pipeline's name.
    pub pipeline: String,
    /// The tests that ran, in the order of the file.
    pub tests: Vec<TestOutcome>,
    /// How many did not run because of their names.
    pub filtered_out: usize,
}

/// What came of one test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestOutcome {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub place: String,
    /// Whether all that was expected came out, and nothing else there.
    #[serde(rename = "passed")]
    pub is_passed: bool,
    /// Why the pipeline stopped, if it did.
    pub error: Option<String>,
    /// Where something else came out than was expected.
    pub differences: Vec<Difference>,
}

/// What differs in one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The stream, the sink or `dead_letter`.
    pub of: String,
    /// How many rows are as expected.
    pub as_expected: usize,
    /// Rows that did not come out.
    pub missing: Vec<Missing>,
    /// Rows that came out and were not expected, in the columns that are compared.
    pub unexpected: Vec<String>,
    /// The rows are the expected ones, and this is the first that comes at another place than it should.
    pub out_of_order: Option<String>,
}

/// A row that did not come out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Where it is expected: `tests/out.jsonl:2:1`.
    pub place: String,
    /// The row as written.
    pub row: String,
}

impl TestReport {
    /// How many tests failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.tests.iter().filter(|test| !test.is_passed).count()
    }
}

impl fmt::Display for TestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, failed) = (self.tests.len(), self.failed());
        let plural = if count == 1 { "" } else { "s" };
        writeln!(f, "running {count} test{plural} of pipeline {}", self.pipeline)?;
        for test in &self.tests {
            let end = if test.is_passed { "ok" } else { "FAILED" };
            writeln!(f, "test {} ... {end}", test.name)?;
        }
        for test in self.tests.iter().filter(|test| !test.is_passed) {
            write!(f, "\n{} ({})\n{test}", test.name, test.place)?;
        }
        let end = if failed == 0 { "ok" } else { "FAILED" };
        write!(
            f,
            "\ntest result: {end}. {} passed; {failed} failed; {} filtered out",
            count - failed,
            self.filtered_out
        )
    }
}

/// Why the test failed; nothing if it passed.
impl fmt::Display for TestOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = &self.error {
            writeln!(f, "  the pipeline stopped: {error}")?;
        }
        self.differences.iter().try_for_each(|difference| difference.fmt(f))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(row) = &self.out_of_order {
            return writeln!(f, "  {}: in another order: {row}", self.of);
        }
        let (missing, unexpected) = (self.missing.len(), self.unexpected.len());
        writeln!(
            f,
            "  {}: {missing} missing (-), {unexpected} unexpected (+), {} as expected",
            self.of, self.as_expected
        )?;
        let width = self
            .missing
            .iter()
            .map(|missing| missing.place.len())
            .max()
            .unwrap_or(0);
        for missing in self.missing.iter().take(ROWS_SHOWN_MAX) {
            writeln!(f, "    - {:<width$}  {}", missing.place, missing.row)?;
        }
        more(f, missing, "missing")?;
        for row in self.unexpected.iter().take(ROWS_SHOWN_MAX) {
            writeln!(f, "    + {:<width$}  {row}", "")?;
        }
        more(f, unexpected, "unexpected")
    }
}

fn more(f: &mut fmt::Formatter<'_>, rows: usize, what: &str) -> fmt::Result {
    match rows.saturating_sub(ROWS_SHOWN_MAX) {
        0 => Ok(()),
        more => writeln!(f, "    and {more} more {what}"),
    }
}

//! `engine test`: the tests that a pipeline file brings along, run without a broker.

use clap::Args;
use engine_runtime::pipeline_tests;

use super::validate::PipelineFile;
use crate::{global_options::GlobalOptions, output};

/// What `engine test` takes.
#[derive(Debug, Args)]
pub(crate) struct TestArguments {
    #[command(flatten)]
    file: PipelineFile,

    /// Run only the tests whose name contains this text
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
}

/// Some tests failed, and standard output says how.
#[derive(Debug, thiserror::Error)]
#[error("{failed} of {ran} tests failed")]
struct TestsFailed {
    failed: usize,
    ran: usize,
}

pub(crate) fn run(arguments: &TestArguments, global: &GlobalOptions) -> anyhow::Result<()> {
    let pipeline = arguments.file.load(global)?.pipeline;
    let tests = arguments.file.read_tests(&pipeline)?;
    let report = pipeline_tests::run(&pipeline, &tests, arguments.filter.as_deref());
    output::print(&report, global.json, || match tests.is_empty() {
        true => format!("{} has no [[tests]]", arguments.file.path().display()),
        false => report.to_string(),
    })?;
    match report.failed() {
        0 => Ok(()),
        failed => Err(TestsFailed {
            failed,
            ran: report.tests.len(),
        }
        .into()),
    }
}

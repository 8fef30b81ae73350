//! `engine explain`: what a pipeline file means.

use clap::Args;
use engine_runtime::explain::explain;

use super::validate::PipelineFile;
use crate::{global_options::GlobalOptions, output};

/// Prints the plan of a pipeline: its graph with columns and types, state and its bound, ids, file layout.
#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    #[command(flatten)]
    file: PipelineFile,
}

pub(crate) fn run(arguments: &ExplainArguments, global: &GlobalOptions) -> anyhow::Result<()> {
    let explanation = explain(&arguments.file.load(global)?.pipeline);
    output::print(&explanation, global.json, || explanation.to_string())?;
    Ok(())
}

//! `engine explain`: what a pipeline file means.

use clap::Args;
use engine_runtime::explain::explain;

use super::validate::PipelineFile;
use crate::{global_options::GlobalOptions, output};

/// What `engine explain` takes.
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

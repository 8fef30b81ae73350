//! `engine validate`: everything about a pipeline file that can be known without a broker.

use std::path::{Path, PathBuf};

use clap::Args;
use engine_runtime::{
    config::{self, Loaded, Surroundings, pipeline::Pipeline},
    pipeline_tests::{self, ReadTest},
};

use crate::{failure::FileMistakes, global_options::GlobalOptions, logging::notice, output};

/// What `engine validate` takes.
#[derive(Debug, Args)]
pub(crate) struct ValidateArguments {
    #[command(flatten)]
    pub(super) file: PipelineFile,
}

/// Which pipeline, and what overrides it.
#[derive(Debug, Args)]
pub(crate) struct PipelineFile {
    /// The pipeline file
    #[arg(value_name = "FILE")]
    path: PathBuf,

    /// Override a value of the file, for example --set kafka.linger.ms=20; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl PipelineFile {
    /// Reads and resolves the file; warnings go to standard error. `--bootstrap-servers` and `-X` override
    /// its `[kafka]` table.
    pub(super) fn load(&self, global: &GlobalOptions) -> Result<Loaded, FileMistakes> {
        let servers = global
            .bootstrap_servers
            .iter()
            .map(|servers| format!("kafka.bootstrap.servers={servers}"));
        let properties = global
            .property
            .iter()
            .map(|(name, value)| format!("kafka.{name}={value}"));
        let overrides: Vec<String> = self.set.iter().cloned().chain(properties).chain(servers).collect();
        let surroundings = Surroundings {
            overrides: &overrides,
            variable: &|name| std::env::var(name).ok(),
        };
        let loaded = config::load(&self.path, &surroundings).map_err(|error| FileMistakes(error.to_string()))?;
        if !global.quiet {
            for warning in &loaded.warnings {
                notice(warning);
            }
        }
        Ok(loaded)
    }

    /// Reads the files that the pipeline's tests name, from where the pipeline file is.
    pub(super) fn read_tests(&self, pipeline: &Pipeline) -> Result<Vec<ReadTest>, FileMistakes> {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        pipeline_tests::read(pipeline, folder).map_err(|error| FileMistakes(error.to_string()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

pub(crate) fn run(arguments: &ValidateArguments, global: &GlobalOptions) -> anyhow::Result<()> {
    let loaded = arguments.file.load(global)?;
    arguments.file.read_tests(&loaded.pipeline)?;
    let (path, name) = (arguments.file.path().display().to_string(), &loaded.pipeline.name);
    let valid = serde_json::json!({
        "file": path, "pipeline": name, "valid": true, "warnings": loaded.warnings.len(),
    });
    output::print(&valid, global.json, || format!("{path}: pipeline {name} is valid"))?;
    Ok(())
}

//! A search path on which there is no Java and no Maven.
//!
//! Included by the tests with `#[path]`, because a folder under `tests/` is no crate of its own.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// What `scripts/kafka` calls before it needs Java, and nothing else.
const TOOLS: [&str; 8] = ["bash", "dirname", "mkdir", "mktemp", "cat", "rm", "basename", "tr"];

/// Fills `folder` and gives it as the value of `PATH`.
pub(crate) fn path_without_java(folder: &Path) -> PathBuf {
    let path = folder.join("bin");
    std::fs::create_dir(&path).unwrap();
    for tool in TOOLS {
        add_tool(&path, tool, tool);
    }
    path
}

/// Makes `name` on that path mean what `tool` means on our own.
pub(crate) fn add_tool(path: &Path, name: &str, tool: &str) {
    let ours = std::env::var_os("PATH").expect("PATH");
    let found = std::env::split_paths(&ours)
        .map(|folder| folder.join(tool))
        .find(|file| file.exists());
    symlink(
        found.unwrap_or_else(|| panic!("{tool} is not in PATH")),
        path.join(name),
    )
    .unwrap();
}

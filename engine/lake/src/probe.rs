//! A hook before every step that changes a table: how the tests stop a process, or a disk, at each of them.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Called before every step that changes the table, with what is about to be done and where. An error stops the step,
/// and the caller sees it as the storage's own.
///
/// Between two calls the table does not change, except by steps that readers cannot see.
#[derive(Clone)]
pub struct StepProbe(Arc<Hook>);

type Hook = dyn Fn(&'static str, &Path) -> io::Result<()> + Send + Sync;

impl StepProbe {
    /// Calls `before` before every step.
    pub fn new(before: impl Fn(&'static str, &Path) -> io::Result<()> + Send + Sync + 'static) -> StepProbe {
        StepProbe(Arc::new(before))
    }

    pub(crate) fn before(&self, operation: &'static str, path: &Path) -> io::Result<()> {
        (self.0)(operation, path)
    }
}

impl fmt::Debug for StepProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StepProbe")
    }
}

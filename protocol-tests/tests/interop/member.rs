//! A member of a group as seen from outside, whichever client it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What a member has told so far.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) assigned: BTreeSet<i32>,
    /// Offsets read, by partition, each with how often.
    pub(crate) read: BTreeMap<(i32, i64), u32>,
    pub(crate) error: Option<String>,
    pub(crate) has_left: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Told>>);

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A member that runs until it is told to go, or is made to.
pub(crate) trait Member: Send + Sync {
    fn told(&self) -> &Shared;

    /// Leaves the group in good order.
    fn leave(&mut self);

    /// Dies without a word to the group.
    fn die(&mut self);
}

//! One behaviour: a sentence, and the test that shows it on any broker.
//!
//! A behaviour looks at what the broker says of itself, never at its name. What a broker cannot do is a result of its own,
//! with the reason, and only after the behaviour has seen that a user is told so.

use std::{pin::Pin, time::Duration};

use crate::scene::Scene;

/// Longest time for one behaviour; beyond it the behaviour has failed.
pub(crate) const BEHAVIOUR_TIMEOUT: Duration = Duration::from_secs(120);

/// A test that runs unchanged against any bootstrap address.
#[derive(Clone, Copy)]
pub(crate) struct Behaviour {
    /// What it belongs to: a heading of the table.
    pub(crate) area: &'static str,
    /// The sentence, with underscores.
    pub(crate) name: &'static str,
    /// Panics if the broker and our client do not behave so.
    pub(crate) run: fn(Scene) -> RunningBehaviour,
}

pub(crate) type RunningBehaviour = Pin<Box<dyn Future<Output = Shown> + Send>>;

/// Shown, or why this broker cannot show it.
pub(crate) type Shown = Result<(), Cannot>;

/// What the broker lacks, by its own account.
#[derive(Debug)]
pub(crate) struct Cannot(pub(crate) String);

impl Behaviour {
    /// The sentence as people write it.
    pub(crate) fn sentence(&self) -> String {
        self.name.replace('_', " ")
    }
}

/// Shorthand for a result that is known to be a lack.
pub(crate) fn cannot(reason: impl Into<String>) -> Shown {
    Err(Cannot(reason.into()))
}

/// The table of a file's behaviours, from the names of its functions.
macro_rules! behaviours {
    ($area:literal: $($name:ident),+ $(,)?) => {
        pub(crate) const BEHAVIOURS: &[crate::behaviour::Behaviour] = &[$(crate::behaviour::Behaviour {
            area: $area,
            name: stringify!($name),
            run: |scene| Box::pin($name(scene)),
        }),+];
    };
}
pub(crate) use behaviours;

//! Up to where windows were taken, and by which allowed lateness: what a segment must tell of itself.
//!
//! The lateness may be changed between two runs. What was closed by the former one has been emitted, and what was not has
//! not; so a segment names the lateness by which the windows were last taken, and a restore goes by that.
//! Never here: what a bound is (the start of an aligned window, the end of a session).

use std::collections::HashMap;

use crate::stateful::error::OperatorError;

/// The metadata key under which a snapshot says which windows had been taken.
const CLOSED_THROUGH: &str = "closed_through";
/// The metadata key under which a snapshot says how long after their end windows had stayed open when they were taken, in
/// nanoseconds.
const ALLOWED_LATENESS: &str = "allowed_lateness";
/// The metadata key under which a snapshot says of which window it is.
const WINDOW: &str = "window";

/// Up to where windows of one partition were taken, and by which allowed lateness, in nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    /// What is on this side of it is not opened again. Never goes back.
    bound: Option<i64>,
    /// The allowed lateness by which windows were last taken; after a restore, the longest of those that were valid.
    lateness: i64,
    /// What the segments that were kept say it is.
    told_lateness: Option<i64>,
}

impl Taken {
    /// Nothing was taken yet.
    pub(crate) fn nothing(allowed_lateness: i64) -> Self {
        Taken {
            bound: None,
            lateness: allowed_lateness,
            told_lateness: None,
        }
    }

    /// What is on this side of it was taken.
    pub(crate) fn bound(&self) -> Option<i64> {
        self.bound
    }

    /// The allowed lateness by which windows were taken.
    pub(crate) fn lateness(&self) -> i64 {
        self.lateness
    }

    /// Windows are taken, by the lateness that is valid now.
    pub(crate) fn take(&mut self, bound: i64, allowed_lateness: i64) {
        self.bound = self.bound.max(Some(bound));
        self.lateness = allowed_lateness;
    }

    /// What is on this side of it was taken once, by whatever lateness.
    pub(crate) fn handle_taken(&mut self, bound: i64) {
        self.bound = self.bound.max(Some(bound));
    }

    /// Whether what was kept tells of another lateness: by that, windows that were taken since would come back.
    pub(crate) fn is_told_otherwise(&self) -> bool {
        self.told_lateness.is_some_and(|told| told != self.lateness)
    }

    /// What a segment says of itself.
    pub(crate) fn tell(&mut self, definition: String) -> HashMap<String, String> {
        self.told_lateness = Some(self.lateness);
        let mut metadata = HashMap::from([
            (WINDOW.to_owned(), definition),
            (ALLOWED_LATENESS.to_owned(), self.lateness.to_string()),
        ]);
        metadata.extend(self.bound.map(|bound| (CLOSED_THROUGH.to_owned(), bound.to_string())));
        metadata
    }

    /// Takes in what a segment says of itself. `bound_of(watermark, lateness)` is what was taken at the watermark
    /// `closed_up_to`. The segment must be of this window.
    pub(crate) fn restore(
        &mut self,
        metadata: &HashMap<String, String>,
        definition: String,
        closed_up_to: Option<i64>,
        bound_of: impl FnOnce(i64, i64) -> i64,
    ) -> Result<(), OperatorError> {
        let found = metadata.get(WINDOW);
        if found != Some(&definition) {
            return Err(OperatorError::ChangedWindow {
                expected: definition,
                found: found.cloned().unwrap_or_default(),
            });
        }
        // A state that does not tell its lateness is one of a former format, which was written anew for every checkpoint.
        let lateness = nanoseconds(metadata, ALLOWED_LATENESS)?;
        let bound = nanoseconds(metadata, CLOSED_THROUGH)?;
        self.lateness = self.lateness.max(lateness.unwrap_or(0));
        self.told_lateness = lateness.or(self.told_lateness);
        let closed = closed_up_to.zip(lateness);
        let closed = closed.map(|(watermark, lateness)| bound_of(watermark, lateness));
        self.bound = self.bound.max(bound).max(closed);
        Ok(())
    }
}

fn nanoseconds(metadata: &HashMap<String, String>, key: &'static str) -> Result<Option<i64>, OperatorError> {
    let parsed = metadata.get(key).map(|text| {
        let found = text.clone();
        text.parse::<i64>()
            .map_err(|_| OperatorError::UnreadableState { key, found })
    });
    parsed.transpose()
}

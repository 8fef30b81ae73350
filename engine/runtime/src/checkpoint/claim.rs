//! What a process writes into the state topic when it takes the partitions over: twice at least once, for the topic cannot
//! know by itself who owns them.
//!
//! ```text
//! claimed ──▶ the group's coordinator says that the process is still a member ──▶ confirmed
//! ```
//! Whoever is assigned the partitions later reads the first claim, and takes a higher epoch. So the epochs of confirmed
//! claims are in the order in which the group assigned the partitions, whoever slept in between; those of others may not be.
//! Under exactly once the transaction does both in one step.

use std::fmt;

/// The value of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// For people.
    pub now_ms: i64,
    /// Whether the process was an owner after it had claimed its epoch.
    pub is_confirmed: bool,
}

const CONFIRMED: &str = " confirmed";

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.now_ms, if self.is_confirmed { CONFIRMED } else { "" })
    }
}

impl Claim {
    /// Whether this value is of a confirmed claim. What engines wrote before claims were confirmed is not.
    pub fn is_confirmed(value: &[u8]) -> bool {
        value.ends_with(CONFIRMED.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_say_whether_they_are_confirmed() {
        for (is_confirmed, text) in [(false, "1700000000000"), (true, "1700000000000 confirmed")] {
            let now_ms = 1_700_000_000_000;
            assert_eq!(Claim { now_ms, is_confirmed }.to_string(), text);
            assert_eq!(Claim::is_confirmed(text.as_bytes()), is_confirmed, "{text}");
        }
    }
}

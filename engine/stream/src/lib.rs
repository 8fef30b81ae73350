//! Placeholder face of the crate.

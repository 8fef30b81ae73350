//! Consumer groups: who is a member, and who reads what.
//!
//! - [`membership`]: one member's life in a classic group, as a state machine.
//! - [`member_state`]: where a member stands, how it behaves, what it counts.
//! - [`ownership`]: what the application holds, and what it must be told.
//! - [`action`]: what the driver does for the machine, and the coordinator's answers.
//! - [`consumer_protocol`]: the bytes members show one another through the coordinator.
//! - [`assignor`]: how the group's leader deals partitions.

pub mod action;
pub mod assignor;
pub mod consumer_protocol;
pub mod member_state;
pub mod membership;
pub mod ownership;

//! The machines against a model of a cluster, on a virtual clock, seed by seed.
//!
//! - [`producing`], [`transactions`], [`fetching`], [`membership`]: one machine each; [`pipe`]: all of them in a row.
//! - [`seeds`]: how many, and how to run one again. `simulations.md` in `protocol-tests` says what is shaken and what must hold.
//! - [`network`]: time and connections; [`cluster`], [`requests`], [`fetch_requests`]: three nodes and what they do.
//! - [`partition`], [`replica_log`], [`transaction_coordinator`], [`fetch_sessions`]: the broker's rules.
//! - [`producer_client`], [`fetch_client`]: a machine and what its driver does for it.

mod cluster;
mod fetch_client;
mod fetch_requests;
mod fetch_sessions;
mod fetching;
mod group_coordinator;
mod log_writer;
mod membership;
mod network;
mod partition;
mod pipe;
mod producer_client;
mod producing;
mod reader;
mod replica_log;
mod requests;
mod seeds;
mod transaction_coordinator;
mod transactions;

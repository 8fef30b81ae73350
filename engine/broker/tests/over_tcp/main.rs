//! The broker as a client sees it: raw requests over TCP, no client library.

mod client;
mod durability;
mod errors_on_request;
mod faults;
mod fetch_sessions;
mod fetching;
mod groups;
mod hostile;
mod killed;
mod producing;
mod stable;
mod topics;
mod transactional;
mod transactions;
mod transactions_and_restarts;
mod versions;

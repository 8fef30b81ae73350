//! The broker as a client sees it: raw requests over TCP, no client library.

mod client;
mod durability;
mod faults;
mod fetching;
mod groups;
mod hostile;
mod killed;
mod producing;
mod topics;
mod transactional;
mod transactions;
mod versions;

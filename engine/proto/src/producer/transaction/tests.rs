//! The transaction alone: the whole table of its events, and what comes late or twice.

mod bench;
mod endings;
mod table;

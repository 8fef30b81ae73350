//! What several of the benchmark programs share: the machine's fingerprint and the client programs' common terms.

pub mod client_run;
pub mod machine;

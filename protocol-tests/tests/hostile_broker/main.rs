//! Brokers that lie, on the wire and in their answers, before every kind of client.
//!
//! A case is one lie in one API, told for a while. Then the broker is honest. Whatever the client was doing must
//! end, with an error or by having survived, within a bound; nothing may panic in any task; and what is done after
//! the lie must succeed. The honest part is the embedded broker behind a proxy that tampers.

mod answers;
mod cases;
mod operations;
mod wire;

use std::alloc::System;

use cap::Cap;

/// A runaway reservation fails here.
const ALLOCATED_BYTES_MAX: usize = 1 << 30;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, ALLOCATED_BYTES_MAX);

//! What a client holds while its broker or its application stands still: what its configuration allows, and
//! a constant that is written down here.
//!
//! The allocator of this binary counts. Its high-water mark is the process's and is never taken back, so every
//! scenario runs in a process of its own: the test starts this program again for it.

mod consumer;
mod producer;
mod scenario;

//! Every interleaving of answers, timers and the application that we know of.

mod giving_back;
mod joining;
mod liveness;
mod scene;

pub(in crate::group) use scene::start_of_time;

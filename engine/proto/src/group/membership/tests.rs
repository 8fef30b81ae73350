//! Every interleaving of answers, timers and the application that we know of.

mod giving_back;
mod joining;
mod liveness;
mod scene;
mod simulation;

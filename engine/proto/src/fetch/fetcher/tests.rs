//! What answers, errors, seeks, leaders and pauses do to one another.

mod budget;
mod filtering;
mod followers;
mod lateness;
mod positions;
mod refusals;
mod scene;
mod sessions;
mod stored;
mod throttle;
mod truncation;

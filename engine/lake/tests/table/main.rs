//! A table on a real folder: crashes at every step, the bounds, and rows in == rows out.

mod bounds;
mod compaction;
mod crash_points;
mod crashes;
mod disk_errors;
mod folder;
mod manifest;
mod rows;
mod workspace;
mod world;
mod zombies;

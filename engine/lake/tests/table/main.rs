//! A table on a real folder: crashes at every step, the bounds, and rows in == rows out.

mod bounds;
mod crashes;
mod folder;
mod rows;

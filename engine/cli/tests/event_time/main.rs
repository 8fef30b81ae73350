//! Windows that overlap, rows that come too late, and the columns that a source has of itself: from a topic through the
//! operators into topics and lakes, over restarts and drains.

mod hopping;
#[path = "../pipeline_files/text.rs"]
mod pipeline_text;
#[path = "../process/engine.rs"]
mod process;
mod scene;
mod source_columns;
mod updates;

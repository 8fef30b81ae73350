//! What a writer has done since it opened.

/// What a writer has done since it opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LakeStats {
    /// Rows taken by `write`.
    pub rows_written: u64,
    /// Files closed and made durable.
    pub files_staged: u64,
    /// Their size.
    pub bytes_staged: u64,
    /// Files closed because [`crate::LakeConfig::open_files_max`] was reached: many mean a partitioning that is too fine.
    pub files_closed_early: u64,
    /// Row groups ended because [`crate::LakeConfig::buffer_bytes_max`] was reached.
    pub row_groups_ended_early: u64,
    /// Files that readers can see since this writer published them.
    pub files_published: u64,
    /// Their rows.
    pub rows_published: u64,
    /// Their size.
    pub bytes_published: u64,
    /// Rows in partitions whose value did not fit into a folder name: see [`crate::LakeWriter::write`].
    pub rows_in_shortened_partitions: u64,
    /// Merges of small files.
    pub merges: u64,
    /// Small files that were replaced by merged ones.
    pub files_merged: u64,
    /// Their size.
    pub bytes_merged: u64,
    /// Merges that failed.
    pub merges_failed: u64,
    /// Files open now.
    pub files_open: usize,
    /// Bytes held in memory now.
    pub bytes_buffered: usize,
}

//! The pitfalls themselves, as others have met them.

/// Pitfalls of one kind, with the table that tells of them.
pub(crate) struct Catalogue {
    /// What a mark says behind the number.
    pub(crate) of: &'static str,
    /// The table, in `protocol-tests/`.
    pub(crate) file: &'static str,
    /// What stands above it.
    pub(crate) heading: &'static str,
    /// What goes wrong, by number.
    pub(crate) pitfalls: &'static [&'static str],
}

/// Of clients; a mark says `Pitfall 7: …`.
pub(crate) const CLIENT: Catalogue = Catalogue {
    of: "",
    file: "pitfalls.md",
    heading: "# Pitfalls\n\nWhat other clients paid for, and tests that show that this one does not. `tests/pitfalls.rs` \
              writes and checks this table;\na test counts by a line `/// Pitfall N: …` in its documentation.",
    pitfalls: &[
        "Compaction took a batch, or its last records, and the position stays in front of the hole for ever.",
        "Under LogAppendTime a record's own time is read, and not the one time that its whole batch has.",
        "Timestamps of one batch lie more than 24 days apart, and their distance is kept in 32 bits.",
        "Aborted transactions are listed in any order, some wrote nothing here, some are compressed: what was aborted is read, or \
         what was committed is not.",
        "Markers are not for the application, and the position, the committed offset or the leader epoch stays in front of them.",
        "A broker that restarts does not know a topic for a moment, and sequences begin again or records are lost.",
        "An answer is lost, and what may have been written goes out under another sequence, or its duplicate counts as a failure.",
        "A gap in one partition's sequence raises the epoch under the batches of another; inside a transaction it must abort.",
        "Retention took the producer's last batch, the broker forgot the producer, and the producer gives up (KIP-360).",
        "A broker dies, and everybody asks for metadata at once.",
        "A broker refuses the version of ApiVersions in version 0, lists nothing but that, or just hangs up.",
        "A topic goes by its id before the id is known: a zero is sent.",
        "A topic is deleted and made again: its epochs begin again and look old, its old id is unknown for ever.",
        "A broker that lags behind names an old leader, and the partition moves back to it.",
        "A fetch is answered while its position is being validated, and its records are read twice.",
        "Heartbeats stop while records are processed, or while the group rebalances.",
        "A commit is refused because the member lost its place, which then waits for its next heartbeat; or a stale owner's commit \
         is taken.",
        "Two members of a sticky group claim one partition, of different generations.",
        "An answer is wrong or malicious: negative and huge counts, bombs, partitions too many, twice or not at all.",
        "A fetch without records has null there, or nothing.",
        "The position is out of range, and reading begins somewhere else without a word.",
    ],
};

/// Of stream engines; a mark says `Pitfall 7 of the stream engine: …`.
pub(crate) const STREAM: Catalogue = Catalogue {
    of: " of the stream engine",
    file: "stream-pitfalls.md",
    heading: "# Pitfalls of the stream engine\n\nWhat other engines paid for, and tests that show that this one does not. \
              `tests/pitfalls.rs` writes and checks this table;\na test counts by a line \
              `/// Pitfall N of the stream engine: …` in its documentation.",
    pitfalls: &[
        "A partition that is caught up and never delivered a record holds the watermark back for ever.",
        "A task without partitions says that event time has come to its end.",
        "A partition counts as idle while the process is only too busy to look at it.",
        "The watermark goes back after a small batch, and a closed window opens again.",
        "Event time begins anew after a restart or a rebalance.",
        "The latest row of a batch makes the other rows of the same batch late.",
        "A row exactly at the watermark is late or not, by where a batch happens to end.",
        "Times before 1970 fall into the window behind theirs.",
        "One timestamp in the future makes everything late, and nothing is counted.",
        "A stateful operator behind another loses rows, because both follow one watermark.",
        "A crash between checkpoint and commit of the sinks loses or doubles output.",
        "Whoever is down for longer than the transaction's timeout has lost the transaction, and with it data that the \
         checkpoint counts as written.",
        "The same checkpoint is restored twice, and what it restores counts twice.",
        "A transaction that nobody ends holds everybody back who reads committed records.",
        "A checkpoint without changes commits an empty transaction.",
        "Offsets are committed by a timer, ahead of the state that they stand for.",
        "Answers about a partition that was taken away overwrite the offsets of its new owner.",
        "A rebalance in the middle of a commit registers the same file twice.",
        "Control records stand at the end of the log, and a bounded read waits for records that never come.",
        "A file is finished, and the crash comes before its acknowledgement.",
        "Whoever lists the directory sees files that are half written, or that no commit names.",
        "State is corrupt or missing, and the engine starts afresh without a word.",
        "A process works on after its partitions were given to another.",
        "A null payload stops the engine.",
        "The clocks of producers and engine differ, and what is late or early is decided by the wrong one.",
    ],
};

//! Where files live: names that readers see, names that they skip, and nothing that leaves the table.
//!
//! ```text
//! <table>/dt=2026-01-02/campaign=3/<writer>-<checkpoint>-<sequence>-<run>.parquet   published
//! <table>/dt=2026-01-02/campaign=3/<writer>-<checkpoint>-m<number>-<run>.parquet    merged of smaller ones
//! <table>/_staging/<writer>/<token><run>-<number>.staged                            staged
//! <table>/_manifest/<version>.json, <version>.all.json                              what changed, and all files
//! ```
//!
//! Spark, pyarrow and pandas skip folders that begin with `_`. DuckDB does not, so staged files also lack the
//! `.parquet` ending that its globs ask for. `<run>` is drawn when a writer opens: two lives of one writer never give
//! two files the same name, not even when a zombie and its successor both write checkpoint 7. `<token>` is the fencing token
//! that the caller gave: a recovery deletes what was staged under lower ones, so that a zombie that wakes up in the middle of
//! its recovery leaves its successor's files alone.

pub(crate) mod partition_path;

use object_store::path::Path;

use crate::writer_id::WriterId;

const STAGING_FOLDER: &str = "_staging";
const MANIFEST_FOLDER: &str = "_manifest";
const CHANGE_ENDING: &str = ".json";
const LIST_ENDING: &str = ".all.json";
const STAGED_ENDING: &str = ".staged";
const PUBLISHED_ENDING: &str = ".parquet";
/// Between the name of a file and what tells attempts to write it apart. No name in this file has it.
pub(crate) const UNFINISHED_MARK: char = '#';
/// What every reader of JSON can hold, and no table has so many changes.
const MANIFEST_VERSION_MAX: u64 = i64::MAX as u64;
/// What common file systems allow for one folder or file name.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// The folder that holds what `writer_id` has staged.
pub(crate) fn staging_folder(writer_id: &WriterId) -> Path {
    checked_path(&format!("{STAGING_FOLDER}/{writer_id}"))
}

/// The place of one staged file.
pub(crate) fn staged_path(writer_id: &WriterId, name: &str) -> Path {
    checked_path(&format!("{STAGING_FOLDER}/{writer_id}/{name}"))
}

/// The name of the staged file with this number.
pub(crate) fn staged_name(token: u32, run: u32, number: u32) -> String {
    format!("{token:08x}{run:08x}-{number:06}{STAGED_ENDING}")
}

/// The fencing token in the name of a staged file, also of one that is still being written; 0 for any other name.
pub(crate) fn token_of(name: &str) -> u32 {
    let (lives, _) = name.split_once('-').unwrap_or((name, ""));
    let token = lives.get(..8).filter(|_| lives.len() == 16);
    token.and_then(|token| u32::from_str_radix(token, 16).ok()).unwrap_or(0)
}

/// The name that a file gets when it is published. It says who wrote it and for which checkpoint.
pub(crate) fn published_name(writer_id: &WriterId, checkpoint_id: u64, sequence: u32, run: u32) -> String {
    format!("{writer_id}-{checkpoint_id:010}-{sequence:05}-{run:08x}{PUBLISHED_ENDING}")
}

/// The folder in which every writer of the table has its own staging folder.
pub(crate) fn staging_root() -> Path {
    checked_path(STAGING_FOLDER)
}

/// The folder of the manifest.
pub(crate) fn manifest_folder() -> Path {
    checked_path(MANIFEST_FOLDER)
}

/// The place of one document of the manifest. `name` is one that this file made or recognised.
pub(crate) fn manifest_path(name: &str) -> Path {
    checked_path(&format!("{MANIFEST_FOLDER}/{name}"))
}

/// The name of one change.
pub(crate) fn manifest_change_name(version: u64) -> String {
    format!("{version:020}{CHANGE_ENDING}")
}

/// The name of the list of all files after a change.
pub(crate) fn manifest_list_name(version: u64) -> String {
    format!("{version:020}{LIST_ENDING}")
}

/// The version of a document of the manifest, and whether it is a list of all files.
pub(crate) fn manifest_version(name: &str) -> Option<(u64, bool)> {
    let (digits, is_list) = match name.strip_suffix(LIST_ENDING) {
        Some(digits) => (digits, true),
        None => (name.strip_suffix(CHANGE_ENDING)?, false),
    };
    let is_ours = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let version = is_ours.then(|| digits.parse().ok())??;
    (version <= MANIFEST_VERSION_MAX).then_some((version, is_list))
}

/// The name of a file without what storage adds to it for as long as it is being written.
pub(crate) fn without_mark(name: &str) -> &str {
    name.split_once(UNFINISHED_MARK).map_or(name, |(name, _)| name)
}

/// The name of a file that was merged of others, the last of which belongs to `checkpoint_id`.
pub(crate) fn merged_name(writer_id: &WriterId, checkpoint_id: u64, number: u32, run: u32) -> String {
    format!("{writer_id}-{checkpoint_id:010}-m{number:05}-{run:08x}{PUBLISHED_ENDING}")
}

/// The life of a writer that wrote a published file: the last part of its name, eight hex digits.
pub(crate) fn run_of(path: &str) -> Option<&str> {
    let (_, run) = path.strip_suffix(PUBLISHED_ENDING)?.rsplit_once('-')?;
    (run.len() == 8 && run.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(run)
}

/// A published or merged file of one writer, as its name tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnFile {
    /// The checkpoint of its rows, the last one if it was merged.
    pub(crate) checkpoint_id: u64,
    /// Whether it was merged of others.
    pub(crate) is_merged: bool,
}

/// Reads the name of a file in a partition folder; `None` unless `writer_id` made it.
pub(crate) fn own_file(name: &str, writer_id: &WriterId) -> Option<OwnFile> {
    let run = run_of(name)?;
    let rest = name.strip_prefix(writer_id.as_str())?.strip_prefix('-')?;
    let (checkpoint, rest) = rest.split_once('-')?;
    let (sequence, rest) = rest.split_once('-')?;
    let digits = sequence.strip_prefix('m').unwrap_or(sequence);
    let is_number = |text: &str, digits_min| text.len() >= digits_min && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(checkpoint, 10) && is_number(digits, 5)).then_some(())?;
    // Another writer's id may begin with ours: then more follows than the run.
    (rest.strip_suffix(PUBLISHED_ENDING) == Some(run)).then_some(())?;
    Some(OwnFile {
        checkpoint_id: checkpoint.parse().ok()?,
        is_merged: sequence.starts_with('m'),
    })
}

/// Whether `name` is one that [`staged_name`] makes: hex digits, a dash, digits, the ending.
pub(crate) fn is_staged_name(name: &str) -> bool {
    name.strip_suffix(STAGED_ENDING)
        .and_then(|stem| stem.split_once('-'))
        .is_some_and(|(run, number)| {
            run.len() == 16
                && run.bytes().all(|byte| byte.is_ascii_hexdigit())
                && (6..=10).contains(&number.len())
                && number.bytes().all(|byte| byte.is_ascii_digit())
        })
}

/// Whether `path` is a published file of `writer_id` and `checkpoint_id`: partition folders, then a name that
/// [`published_name`] makes. Nothing that passes can leave the table or hide in it.
pub(crate) fn is_published_path(path: &str, writer_id: &WriterId, checkpoint_id: u64) -> bool {
    let (folders, name) = path
        .rsplit_once('/')
        .map_or((None, path), |(folders, name)| (Some(folders), name));
    let stem = name.strip_suffix(PUBLISHED_ENDING);
    let rest = stem.and_then(|stem| stem.strip_prefix(&format!("{writer_id}-{checkpoint_id:010}-")));
    let name_is_ours = rest
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(sequence, run)| {
            (5..=10).contains(&sequence.len())
                && sequence.bytes().all(|byte| byte.is_ascii_digit())
                && run.len() == 8
                && run.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
    name_is_ours && folders.is_none_or(is_partition_path)
}

/// Whether `folders` are partition folders, one in another: nothing that leaves the table or hides in it.
pub(crate) fn is_partition_path(folders: &str) -> bool {
    folders.split('/').all(|folder| {
        folder.len() <= NAME_BYTES_MAX
            && folder
                .split_once('=')
                .is_some_and(|(column, value)| !column.is_empty() && !value.is_empty())
            && !folder.starts_with(['_', '.'])
            && !folder.contains(|c: char| c.is_control() || c == '\\')
    })
}

/// `YYYY-MM-DD` of a day counted from 1970-01-01 in the proleptic Gregorian calendar
/// (Howard Hinnant, "chrono-compatible low-level date algorithms").
pub(crate) fn date_text(days_since_1970: i64) -> String {
    let days = days_since_1970 + 719_468; // Since 0000-03-01.
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153; // 0 is March.
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A path inside the table. Its parts were made or validated in this file.
pub(crate) fn checked_path(path: &str) -> Path {
    Path::parse(path).expect("only validated names become paths")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_at_the_edges_of_the_calendar() {
        for (day, text) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (20_455, "2026-01-02"),
            (11_016, "2000-02-29"),
            (-25_567, "1900-01-01"),
            (-25_509, "1900-02-28"),
            (-25_508, "1900-03-01"),
            (-106_752, "1677-09-21"),
            (106_751, "2262-04-11"),
            (-719_528, "0000-01-01"),
        ] {
            assert_eq!(date_text(day), text);
        }
        date_text(i64::MAX / 86_400); // Seconds of an absurd clock: any text, no panic.
        date_text(i64::MIN / 86_400);
    }

    #[test]
    fn only_names_of_our_own_making_are_accepted() {
        let writer = WriterId::new("w.lake-0").unwrap();
        let name = published_name(&writer, 7, 3, 0xab);
        assert_eq!(name, "w.lake-0-0000000007-00003-000000ab.parquet");
        let other = WriterId::new("w.lake-1").unwrap();
        assert!(is_published_path(&name, &writer, 7));
        assert!(is_published_path(&format!("dt=2026-01-02/c=..%2F/{name}"), &writer, 7));
        assert!(!is_published_path(&name, &writer, 8));
        assert!(!is_published_path(&name, &other, 7));
        for hostile in [
            "../",
            "/",
            "dt=1/../",
            "./",
            "dt=1//",
            "_staging/",
            "dt=\0/",
            "dt=a\\b/",
            ".x=1/",
            "dt=/",
        ] {
            assert!(
                !is_published_path(&format!("{hostile}{name}"), &writer, 7),
                "{hostile:?}"
            );
        }
        assert!(is_staged_name(&staged_name(7, 0xab, 1)));
        for hostile in [
            "../00000007000000ab-000001.staged",
            "00000007000000ab-000001.staged/..",
            "00000007000000ab-.staged",
            "000000ab-000001.staged",
            ".staged",
            "",
        ] {
            assert!(!is_staged_name(hostile), "{hostile:?}");
        }
    }

    #[test]
    fn a_staged_name_tells_its_token_and_every_other_name_the_lowest() {
        assert_eq!(token_of(&staged_name(0xdead_beef, 0xab, 1)), 0xdead_beef);
        assert_eq!(
            token_of("00000007000000ab-000001.staged#1"),
            7,
            "it is still being written"
        );
        for foreign in [
            "",
            "-",
            "000000ab-000001.staged",
            "zzzzzzzz000000ab-000001.staged",
            "no name of ours",
        ] {
            assert_eq!(token_of(foreign), 0, "{foreign:?}");
        }
    }

    #[test]
    fn the_names_of_a_table_read_back_as_what_they_say() {
        let writer = WriterId::new("w-1.lake-0").unwrap();
        let published = published_name(&writer, 7, 3, 0xab);
        let merged = merged_name(&writer, 7, 3, 0xab);
        assert_eq!(merged, "w-1.lake-0-0000000007-m00003-000000ab.parquet");
        for (name, is_merged) in [(&published, false), (&merged, true)] {
            assert_eq!(run_of(name), Some("000000ab"));
            let own = OwnFile {
                checkpoint_id: 7,
                is_merged,
            };
            assert_eq!(own_file(name, &writer), Some(own));
            assert_eq!(own_file(name, &WriterId::new("w-1.lake").unwrap()), None);
            assert_eq!(own_file(name, &WriterId::new("w").unwrap()), None);
        }
        for foreign in [
            "part-00000-000000ab.parquet",
            "w-1.lake-0-7-x-000000ab.parquet",
            "w-1.lake-0-7-1-000000ab.crc",
            "w-1.lake-0---000000ab.parquet",
        ] {
            assert_eq!(own_file(foreign, &writer), None, "{foreign}");
        }
        assert_eq!(manifest_version(&manifest_change_name(12)), Some((12, false)));
        assert_eq!(manifest_version(&manifest_list_name(100)), Some((100, true)));
        for foreign in [
            "12.json",
            "0000000000000000001x.json",
            "00000000000000000012.json#1",
            "18446744073709551615.all.json",
            "readme.md",
        ] {
            assert_eq!(manifest_version(foreign), None, "{foreign}");
        }
    }
}

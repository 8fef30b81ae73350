//! Where files live: names that readers see, names that they skip, and nothing that leaves the table.
//!
//! ```text
//! <table>/dt=2026-01-02/campaign=3/<writer>-<checkpoint>-<sequence>-<run>.parquet   published
//! <table>/_staging/<writer>/<run>-<number>.staged                                   staged
//! ```
//!
//! Spark, pyarrow and pandas skip folders that begin with `_`. DuckDB does not, so staged files also lack the
//! `.parquet` ending that its globs ask for. `<run>` is drawn when a writer opens: two lives of one writer never give
//! two files the same name, not even when a zombie and its successor both write checkpoint 7.

use std::fmt::Write as _;

use object_store::path::Path;

use crate::writer_id::WriterId;

const STAGING_FOLDER: &str = "_staging";
const STAGED_ENDING: &str = ".staged";
const PUBLISHED_ENDING: &str = ".parquet";
/// What Hive, Spark, DuckDB and pyarrow read as null in a folder name.
pub(crate) const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";
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
pub(crate) fn staged_name(run: u32, number: u32) -> String {
    format!("{run:08x}-{number:06}{STAGED_ENDING}")
}

/// The name that a file gets when it is published. It says who wrote it and for which checkpoint.
pub(crate) fn published_name(writer_id: &WriterId, checkpoint_id: u64, sequence: u32, run: u32) -> String {
    format!("{writer_id}-{checkpoint_id:010}-{sequence:05}-{run:08x}{PUBLISHED_ENDING}")
}

/// Whether `name` is one that [`staged_name`] makes: hex digits, a dash, digits, the ending.
pub(crate) fn is_staged_name(name: &str) -> bool {
    name.strip_suffix(STAGED_ENDING)
        .and_then(|stem| stem.split_once('-'))
        .is_some_and(|(run, number)| {
            run.len() == 8
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
    let folder_is_safe = |folder: &str| {
        folder.len() <= NAME_BYTES_MAX
            && folder
                .split_once('=')
                .is_some_and(|(column, value)| !column.is_empty() && !value.is_empty())
            && !folder.starts_with(['_', '.'])
            && !folder.contains(|c: char| c.is_control() || c == '\\')
    };
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
    name_is_ours && folders.is_none_or(|folders| folders.split('/').all(folder_is_safe))
}

/// One folder of a partition, `column=value`, with what a reader would misunderstand percent-encoded.
///
/// A null and an empty string both become [`NULL_PARTITION`], as in Hive: no reader agrees on what `column=` means.
pub(crate) fn partition_folder(column: &str, value: Option<&str>) -> String {
    let mut folder = String::with_capacity(column.len() + 1 + value.map_or(0, str::len));
    encode_into(&mut folder, column);
    folder.push('=');
    match value {
        None | Some("") => folder.push_str(NULL_PARTITION),
        Some(NULL_PARTITION) => {
            folder.push_str("%5F");
            folder.push_str(&NULL_PARTITION[1..]);
        }
        Some(value) => encode_into(&mut folder, value),
    }
    folder
}

/// Letters and digits of any script stay (Spark decodes `%C3%A4` byte by byte, and wrongly); ASCII punctuation except
/// `-`, `_` and `.`, spaces and control characters become `%XX`.
fn encode_into(folder: &mut String, text: &str) {
    for character in text.chars() {
        let plain = match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' => true,
            other => !other.is_ascii() && !other.is_control() && !other.is_whitespace(),
        };
        if plain {
            folder.push(character);
        } else {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                write!(folder, "%{byte:02X}").expect("writing to a String succeeds");
            }
        }
    }
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
    fn partition_values_cannot_form_folders_of_their_own() {
        for (value, folder) in [
            (Some("plain-1_2.3"), "c=plain-1_2.3"),
            (Some("a/b"), "c=a%2Fb"),
            (Some(".."), "c=.."),
            (Some("../../etc"), "c=..%2F..%2Fetc"),
            (Some("a=b&c%d+e f"), "c=a%3Db%26c%25d%2Be%20f"),
            (Some("line\nbreak\0\u{7f}"), "c=line%0Abreak%00%7F"),
            (Some("back\\slash#1"), "c=back%5Cslash%231"),
            (Some("Zürich 東京"), "c=Zürich%20東京"),
            (Some(""), "c=__HIVE_DEFAULT_PARTITION__"),
            (None, "c=__HIVE_DEFAULT_PARTITION__"),
            (Some("__HIVE_DEFAULT_PARTITION__"), "c=%5F_HIVE_DEFAULT_PARTITION__"),
        ] {
            assert_eq!(partition_folder("c", value), folder);
        }
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
        assert!(is_staged_name(&staged_name(0xab, 1)));
        for hostile in [
            "../000000ab-000001.staged",
            "000000ab-000001.staged/..",
            "000000ab-.staged",
            ".staged",
            "",
        ] {
            assert!(!is_staged_name(hostile), "{hostile:?}");
        }
    }
}

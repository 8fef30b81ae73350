//! Partition values as folder names, and back.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::NAME_BYTES_MAX;

/// What Hive, Spark, DuckDB and pyarrow read as null in a folder name.
pub(crate) const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";
/// What all folders of a path share, if there are so many that they would not have [`NAME_BYTES_MAX`] each: S3's keys have
/// 1,024 bytes, with the table's prefix and the file's name. Three folders have all that they can use.
const FOLDERS_BYTES_MAX: usize = 3 * NAME_BYTES_MAX;
/// What is left to a value, however many folders there are and however long its column's name is.
const VALUE_BYTES_MIN: usize = 64;
/// Stands before the hash of a value that was too long: readers decode it to U+2026.
const SHORTENED: &str = "…";

/// The folder of one value of one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionFolder {
    /// `column=value`, with what a reader would misunderstand percent-encoded.
    pub(crate) name: String,
    /// Whether the value did not fit: the name has its beginning and a hash of all of it.
    pub(crate) is_shortened: bool,
}

impl PartitionFolder {
    /// A null and an empty string both become [`NULL_PARTITION`], as in Hive: no reader agrees on what `column=` means.
    ///
    /// A value whose name no file system takes is shortened rather than refused: one such event would stop the pipeline
    /// for good. Readers see the shortened value, since the column is not in the files. `levels` are the folders of a path.
    pub(crate) fn new(column: &str, value: Option<&str>, levels: usize) -> PartitionFolder {
        let mut name = String::with_capacity(column.len() + 1 + value.map_or(0, str::len).min(NAME_BYTES_MAX));
        encode_into(&mut name, column, usize::MAX);
        name.push('=');
        let column_bytes = name.len();
        let share = (FOLDERS_BYTES_MAX / levels.max(1)).max(column_bytes + VALUE_BYTES_MIN);
        let bytes_max = share.min(NAME_BYTES_MAX);
        let is_whole = match value {
            None | Some("") => encode_into(&mut name, NULL_PARTITION, usize::MAX),
            Some(NULL_PARTITION) => {
                name.push_str("%5F");
                encode_into(&mut name, &NULL_PARTITION[1..], usize::MAX)
            }
            Some(value) => encode_into(&mut name, value, bytes_max),
        };
        if !is_whole {
            let value = value.unwrap_or_default();
            name.truncate(column_bytes);
            encode_into(&mut name, value, bytes_max - SHORTENED.len() - 16);
            write!(name, "{SHORTENED}{:016x}", fnv1a(value.as_bytes())).expect("writing to a String succeeds");
        }
        PartitionFolder {
            name,
            is_shortened: !is_whole,
        }
    }
}

/// The partition columns that the folders of a file name, decoded.
pub(crate) fn partition_values(path: &str) -> BTreeMap<String, Option<String>> {
    let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
    folders
        .split('/')
        .filter_map(|folder| folder.split_once('='))
        .map(|(column, value)| (decode(column), (value != NULL_PARTITION).then(|| decode(value))))
        .collect()
}

/// Letters and digits of any script stay (Spark decodes `%C3%A4` byte by byte, and wrongly); ASCII punctuation except
/// `-`, `_` and `.`, spaces and control characters become `%XX`. False if `folder` would grow beyond `bytes_max`: it
/// then has the characters before.
fn encode_into(folder: &mut String, text: &str, bytes_max: usize) -> bool {
    for character in text.chars() {
        let plain = match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' => true,
            other => !other.is_ascii() && !other.is_control() && !other.is_whitespace(),
        };
        let bytes = character.len_utf8() * if plain { 1 } else { 3 };
        if folder.len() + bytes > bytes_max {
            return false;
        }
        if plain {
            folder.push(character);
        } else {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                write!(folder, "%{byte:02X}").expect("writing to a String succeeds");
            }
        }
    }
    true
}

/// The reverse of [`encode_into`]; what it would not have written stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The 64-bit FNV-1a hash (Fowler, Noll, Vo): the same in every release, because it becomes part of a table.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let made = PartitionFolder::new("c", value, 1);
            assert_eq!((made.name.as_str(), made.is_shortened), (folder, false));
            let read = partition_values(&format!("{folder}/x.parquet")).remove("c");
            let expected = value.filter(|value| !value.is_empty()).map(str::to_owned);
            assert_eq!(read, Some(expected), "{folder}");
        }
    }

    #[test]
    fn a_value_too_long_for_a_folder_keeps_its_beginning_and_gets_a_hash() {
        let fits = "x".repeat(NAME_BYTES_MAX - 2);
        assert_eq!(PartitionFolder::new("c", Some(&fits), 3).name, format!("c={fits}"));
        for (unit, count) in [("x", 254), ("/", 100), ("京", 85), (" 京", 1_000_000)] {
            let long = unit.repeat(count);
            let made = PartitionFolder::new("c", Some(&long), 3);
            assert!(made.is_shortened);
            assert!((230..=NAME_BYTES_MAX).contains(&made.name.len()), "{}", made.name);
            let other = PartitionFolder::new("c", Some(&format!("{long}x")), 3);
            assert_ne!(made.name, other.name);
            let read = partition_values(&format!("{}/x.parquet", made.name));
            let (beginning, hash) = read["c"].as_ref().unwrap().split_once(SHORTENED).unwrap();
            assert!(long.starts_with(beginning) && hash.len() == 16, "{read:?}");
        }
        // A folder that is in a table already must be found again by every later release.
        let known = PartitionFolder::new("c", Some(&"x".repeat(300)), 3).name;
        assert!(known.ends_with("x…e78ddf9f1ba85555"), "{known}");
    }

    #[test]
    fn many_folders_share_what_a_path_may_have_and_short_values_stay_whole_in_any_number() {
        for (levels, bytes_max) in [(1, 255), (3, 255), (4, 191), (8, 95), (100, 66)] {
            let made = PartitionFolder::new("c", Some(&"x".repeat(1_000)), levels);
            assert_eq!((made.name.len(), made.is_shortened), (bytes_max, true));
            let made = PartitionFolder::new("c", Some(&"x".repeat(bytes_max - 2)), levels);
            assert_eq!((made.name.len(), made.is_shortened), (bytes_max, false));
        }
        let column = "c".repeat(63);
        let made = PartitionFolder::new(&column, Some("2026-01-02"), 100);
        assert_eq!(made.name, format!("{column}=2026-01-02"));
    }
}

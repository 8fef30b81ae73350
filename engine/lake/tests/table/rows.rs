//! Rows in are rows out, as the parquet crate reads them, and files are encoded as configured.

use std::collections::BTreeMap;
use std::fs;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use engine_lake::{Compression, LakeConfig, PartitionBy};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression as ParquetCompression, Encoding};
use proptest::prelude::*;

use crate::folder::{Table, batch, numbered, read, through_the_state};

#[test]
fn columns_are_compressed_and_strings_dictionary_encoded_as_configured() {
    for (compression, expected) in [
        (Compression::None, ParquetCompression::UNCOMPRESSED),
        (Compression::Snappy, ParquetCompression::SNAPPY),
        (Compression::Lz4Raw, ParquetCompression::LZ4_RAW),
        (Compression::Gzip, ParquetCompression::GZIP(Default::default())),
    ] {
        for dictionary in [false, true] {
            let table = Table::new();
            let config = LakeConfig {
                compression,
                dictionary,
                row_group_rows: 30,
                ..LakeConfig::default()
            };
            let mut writer = table.writer(config);
            writer.write(&numbered(0..100)).unwrap();
            let staged = writer.stage(1).unwrap();
            writer.publish(&staged).unwrap();
            let file = fs::File::open(&table.visible()[0]).unwrap();
            let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
            assert_eq!(builder.metadata().num_row_groups(), 4);
            let row_group = builder.metadata().row_group(0);
            for (index, column) in row_group.columns().iter().enumerate() {
                assert_eq!(column.compression(), expected);
                let has_dictionary = column.encodings().any(|encoding| encoding == Encoding::RLE_DICTIONARY);
                assert_eq!(has_dictionary, dictionary && index == 1, "column {index}");
            }
            let time = builder.schema().field(0).data_type().clone();
            assert_eq!(time, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
            assert_eq!(table.values(), (0..100).collect::<Vec<_>>());
        }
    }
}

fn decoded(value: &str) -> Option<String> {
    if value == "__HIVE_DEFAULT_PARTITION__" {
        return None;
    }
    let mut bytes = Vec::new();
    let mut rest = value.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&tail[..2]).unwrap(), 16).unwrap());
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    Some(String::from_utf8(bytes).unwrap())
}

/// Reads the table as a reader does: the partition column from the folder, the rest from the file.
fn rows_by_name(table: &Table) -> BTreeMap<Option<String>, Vec<(Option<i64>, i64)>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for path in table.visible() {
        let folder = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let name = decoded(folder.strip_prefix("name=").unwrap());
        for rows in read(&path) {
            let times = rows.column(0).as_primitive::<TimestampMicrosecondType>();
            let values = rows.column(1).as_primitive::<Int64Type>();
            let rows = found.entry(name.clone()).or_default();
            for row in 0..values.len() {
                rows.push((times.is_valid(row).then(|| times.value(row)), values.value(row)));
            }
        }
    }
    found.values_mut().for_each(|rows| rows.sort_unstable());
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn rows_in_are_rows_out(
        batches in prop::collection::vec(
            prop::collection::vec(
                (
                    prop::option::of(-9_000_000_000_000..9_000_000_000_000i64),
                    prop::option::of(prop_oneof![
                        "[a-c]",
                        "[ -~]{1,12}",
                        any::<[char; 3]>().prop_map(|chars| chars.iter().collect()),
                        Just(String::new()),
                        Just("__HIVE_DEFAULT_PARTITION__".to_owned()),
                        Just("..".to_owned()),
                    ]),
                    any::<i64>(),
                ),
                0..40,
            ),
            1..6,
        ),
        open_files_max in 1..5usize,
        row_group_rows in 1..20usize,
        target_file_bytes in prop_oneof![Just(1u64), Just(1 << 20)],
        stage_every in 1..4usize,
    ) {
        let table = Table::new();
        let mut writer = table.writer(LakeConfig {
            partition_by: vec![PartitionBy::column("name")],
            open_files_max,
            row_group_rows,
            target_file_bytes,
            ..LakeConfig::default()
        });
        let mut expected: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (index, rows) in batches.iter().enumerate() {
            writer.write(&batch(rows)).unwrap();
            for (time, name, value) in rows {
                let name = name.clone().filter(|name| !name.is_empty());
                expected.entry(name).or_default().push((time.map(|ms| ms * 1_000), *value));
            }
            if index % stage_every == 0 {
                let staged = writer.stage(index as u64).unwrap();
                writer.publish(&through_the_state(&staged)).unwrap();
            }
        }
        let staged = writer.stage(1_000).unwrap();
        writer.publish(&staged).unwrap();
        expected.values_mut().for_each(|rows| rows.sort_unstable());
        prop_assert_eq!(rows_by_name(&table), expected);
    }
}

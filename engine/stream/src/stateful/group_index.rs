//! Group keys → dense group numbers, for one window or one dedup.
//!
//! A single integer or string column has its own index; all else goes through Arrow's row format. Keys are
//! stored once, in the order of their numbers. Hashing is seeded with a constant: the order of results does not depend on it.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use arrow::row::{RowConverter, Rows, SortField};
use foldhash::fast::FixedState;
use hashbrown::HashTable;

const HASHER: FixedState = FixedState::with_seed(0x656e_6769_6e65);

/// The columns to group by, and how their keys are held.
#[derive(Debug, Clone)]
pub(crate) struct GroupKeys {
    fields: Vec<FieldRef>,
    kind: KeyKind,
}

#[derive(Debug, Clone)]
enum KeyKind {
    /// No columns: one group.
    Single,
    /// One column whose values are integers underneath.
    Integer,
    /// One string column.
    Text,
    /// Anything else.
    Rows(Arc<RowConverter>),
}

/// The keys of a micro-batch, prepared for [`GroupIndex::assign`].
pub(crate) enum KeyColumns {
    Single,
    Integer(Int64Array),
    Text(StringArray),
    Rows(Rows),
}

impl GroupKeys {
    /// Keys of these columns; `None` if values of such a type cannot be grouped.
    pub(crate) fn new(fields: Vec<FieldRef>) -> Option<Self> {
        let kind = match fields.as_slice() {
            [] => KeyKind::Single,
            [field] if is_integer(field.data_type()) => KeyKind::Integer,
            [field] if field.data_type() == &DataType::Utf8 => KeyKind::Text,
            fields => KeyKind::Rows(Arc::new(row_converter(fields)?)),
        };
        Some(GroupKeys { fields, kind })
    }

    /// The columns to group by.
    pub(crate) fn fields(&self) -> &[FieldRef] {
        &self.fields
    }

    /// Prepares the key columns of a micro-batch.
    pub(crate) fn prepare(&self, columns: &[ArrayRef]) -> KeyColumns {
        match &self.kind {
            KeyKind::Single => KeyColumns::Single,
            KeyKind::Integer => {
                let integers = cast(&columns[0], &DataType::Int64).expect("integers and times are i64 underneath");
                KeyColumns::Integer(integers.as_primitive::<Int64Type>().clone())
            }
            KeyKind::Text => KeyColumns::Text(columns[0].as_string::<i32>().clone()),
            KeyKind::Rows(converter) => KeyColumns::Rows(
                converter
                    .convert_columns(columns)
                    .expect("the columns have the types of the keys"),
            ),
        }
    }
}

fn is_integer(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int64 | DataType::Int32 | DataType::Timestamp(..))
}

fn row_converter(fields: &[FieldRef]) -> Option<RowConverter> {
    let fields: Vec<SortField> = fields
        .iter()
        .map(|field| SortField::new(field.data_type().clone()))
        .collect();
    if !RowConverter::supports_fields(&fields) {
        return None;
    }
    RowConverter::new(fields).ok()
}

/// The groups of one window.
#[derive(Debug)]
pub(crate) enum GroupIndex {
    Single {
        groups: usize,
    },
    Integer {
        table: HashTable<(i64, usize)>,
        null: Option<usize>,
        keys: Vec<Option<i64>>,
    },
    Bytes {
        table: HashTable<(u64, usize)>,
        null: Option<usize>,
        keys: Arena,
    },
}

impl GroupIndex {
    /// No groups.
    pub(crate) fn new(keys: &GroupKeys) -> Self {
        match &keys.kind {
            KeyKind::Single => GroupIndex::Single { groups: 0 },
            KeyKind::Integer => GroupIndex::Integer {
                table: HashTable::new(),
                null: None,
                keys: Vec::new(),
            },
            KeyKind::Text | KeyKind::Rows(_) => GroupIndex::Bytes {
                table: HashTable::new(),
                null: None,
                keys: Arena::default(),
            },
        }
    }

    /// The number of groups.
    pub(crate) fn len(&self) -> usize {
        match self {
            GroupIndex::Single { groups } => *groups,
            GroupIndex::Integer { keys, .. } => keys.len(),
            GroupIndex::Bytes { keys, .. } => keys.len(),
        }
    }

    /// Appends the group number of each of these rows; unseen keys become new groups.
    pub(crate) fn assign(&mut self, columns: &KeyColumns, rows: &[u32], groups: &mut Vec<usize>) {
        match (self, columns) {
            (GroupIndex::Single { groups: count }, KeyColumns::Single) => {
                *count = 1;
                groups.resize(groups.len() + rows.len(), 0);
            }
            (GroupIndex::Integer { table, null, keys }, KeyColumns::Integer(column)) => {
                let values = column.values();
                groups.extend(rows.iter().map(|row| {
                    let row = *row as usize;
                    if column.is_null(row) {
                        return *null.get_or_insert_with(|| push_key(keys, None));
                    }
                    let key = values[row];
                    let hash = HASHER.hash_one(key);
                    let entry = table.entry(hash, |(other, _)| *other == key, |(key, _)| HASHER.hash_one(key));
                    entry.or_insert_with(|| (key, push_key(keys, Some(key)))).get().1
                }));
            }
            (GroupIndex::Bytes { table, null, keys }, KeyColumns::Text(column)) => {
                groups.extend(rows.iter().map(|row| {
                    let row = *row as usize;
                    if column.is_null(row) {
                        return *null.get_or_insert_with(|| keys.push(&[]));
                    }
                    assign_bytes(table, keys, column.value(row).as_bytes())
                }));
            }
            (GroupIndex::Bytes { table, keys, .. }, KeyColumns::Rows(column)) => {
                groups.extend(
                    rows.iter()
                        .map(|row| assign_bytes(table, keys, column.row(*row as usize).data())),
                );
            }
            _ => unreachable!("the index and the columns are of the same keys"),
        }
    }

    /// How many of the groups of `other`, from number `from` on, are here too.
    pub(crate) fn count_held(&self, other: &GroupIndex, from: usize) -> usize {
        match (self, other) {
            (GroupIndex::Single { groups }, GroupIndex::Single { groups: others }) => {
                usize::from(*groups > 0 && *others > from)
            }
            (GroupIndex::Integer { table, null, .. }, GroupIndex::Integer { keys, .. }) => {
                let held = |key: &&Option<i64>| match key {
                    Some(key) => table.find(HASHER.hash_one(key), |(other, _)| other == key).is_some(),
                    None => null.is_some(),
                };
                keys[from..].iter().filter(held).count()
            }
            (
                GroupIndex::Bytes { table, null, keys },
                GroupIndex::Bytes {
                    null: null_of_other,
                    keys: others,
                    ..
                },
            ) => {
                let held = |group: &usize| {
                    if *null_of_other == Some(*group) {
                        return null.is_some();
                    }
                    let (key, hash) = (others.key(*group), HASHER.hash_one(others.key(*group)));
                    let found = table.find(hash, |(other, group)| *other == hash && keys.key(*group) == key);
                    found.is_some()
                };
                (from..others.len()).filter(held).count()
            }
            _ => unreachable!("both indexes are of the same keys"),
        }
    }

    /// The group of a row, if its key is known.
    pub(crate) fn find(&self, columns: &KeyColumns, row: usize) -> Option<usize> {
        match (self, columns) {
            (GroupIndex::Single { groups }, KeyColumns::Single) => (*groups > 0).then_some(0),
            (GroupIndex::Integer { null, .. }, KeyColumns::Integer(column)) if column.is_null(row) => *null,
            (GroupIndex::Integer { table, .. }, KeyColumns::Integer(column)) => {
                let key = column.value(row);
                let found = table.find(HASHER.hash_one(key), |(other, _)| *other == key);
                found.map(|(_, group)| *group)
            }
            (GroupIndex::Bytes { null, .. }, KeyColumns::Text(column)) if column.is_null(row) => *null,
            (GroupIndex::Bytes { table, keys, .. }, KeyColumns::Text(column)) => {
                find_bytes(table, keys, column.value(row).as_bytes())
            }
            (GroupIndex::Bytes { table, keys, .. }, KeyColumns::Rows(column)) => {
                find_bytes(table, keys, column.row(row).data())
            }
            _ => unreachable!("the index and the columns are of the same keys"),
        }
    }

    /// The key columns, one row per group, in the order of the groups' numbers.
    pub(crate) fn columns(&self, group_keys: &GroupKeys) -> Vec<ArrayRef> {
        self.columns_of(group_keys, 0..self.len())
    }

    /// The key columns of some groups, one row for each.
    pub(crate) fn columns_of(&self, group_keys: &GroupKeys, groups: impl Iterator<Item = usize>) -> Vec<ArrayRef> {
        match (self, &group_keys.kind) {
            (GroupIndex::Integer { keys, .. }, KeyKind::Integer) => {
                let keys: ArrayRef = Arc::new(groups.map(|group| keys[group]).collect::<Int64Array>());
                let data_type = group_keys.fields[0].data_type();
                vec![cast(&keys, data_type).expect("every key came out of a column of this type")]
            }
            (GroupIndex::Bytes { null, keys, .. }, KeyKind::Text) => {
                let mut column = StringBuilder::new();
                for group in groups {
                    if *null == Some(group) {
                        column.append_null();
                    } else {
                        column.append_value(
                            str::from_utf8(keys.key(group)).expect("every key came out of a string column"),
                        );
                    }
                }
                vec![Arc::new(column.finish())]
            }
            (GroupIndex::Bytes { keys, .. }, KeyKind::Rows(converter)) => {
                let parser = converter.parser();
                let rows = groups.map(|group| parser.parse(keys.key(group)));
                converter
                    .convert_rows(rows)
                    .expect("every key came out of this converter")
            }
            _ => Vec::new(),
        }
    }

    /// Forgets the groups that are not kept. The others are numbered anew, in the order they had.
    pub(crate) fn retain(&mut self, is_kept: &[bool]) {
        assert_eq!(is_kept.len(), self.len(), "every group is kept or not");
        let kept = (0..is_kept.len()).filter(|group| is_kept[*group]);
        match self {
            GroupIndex::Single { groups } => *groups = kept.count(),
            GroupIndex::Integer { table, null, keys } => {
                let former = std::mem::take(keys);
                *null = None;
                *table = HashTable::new();
                for key in kept.map(|group| former[group]) {
                    let group = push_key(keys, key);
                    match key {
                        None => *null = Some(group),
                        Some(key) => {
                            table.insert_unique(HASHER.hash_one(key), (key, group), |(key, _)| HASHER.hash_one(key));
                        }
                    }
                }
            }
            GroupIndex::Bytes { table, null, keys } => {
                let former = std::mem::take(keys);
                let former_null = null.take();
                *table = HashTable::new();
                for group in kept {
                    if former_null == Some(group) {
                        *null = Some(keys.push(&[]));
                    } else {
                        assign_bytes(table, keys, former.key(group));
                    }
                }
            }
        }
    }

    /// Bytes held, roughly.
    pub(crate) fn size_bytes(&self) -> usize {
        match self {
            GroupIndex::Single { .. } => 0,
            GroupIndex::Integer { table, keys, .. } => table.allocation_size() + keys.capacity() * 16,
            GroupIndex::Bytes { table, keys, .. } => {
                table.allocation_size() + keys.bytes.capacity() + keys.ends.capacity() * 8
            }
        }
    }
}

fn push_key(keys: &mut Vec<Option<i64>>, key: Option<i64>) -> usize {
    keys.push(key);
    keys.len() - 1
}

fn find_bytes(table: &HashTable<(u64, usize)>, keys: &Arena, key: &[u8]) -> Option<usize> {
    let hash = HASHER.hash_one(key);
    let found = table.find(hash, |(other, group)| *other == hash && keys.key(*group) == key);
    found.map(|(_, group)| *group)
}

fn assign_bytes(table: &mut HashTable<(u64, usize)>, keys: &mut Arena, key: &[u8]) -> usize {
    let hash = HASHER.hash_one(key);
    if let Some((_, group)) = table.find(hash, |(other, group)| *other == hash && keys.key(*group) == key) {
        return *group;
    }
    let group = keys.push(key);
    table.insert_unique(hash, (hash, group), |(hash, _)| *hash);
    group
}

/// Byte strings end to end.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Arena {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn key(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }

    fn push(&mut self, key: &[u8]) -> usize {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
        self.ends.len() - 1
    }
}

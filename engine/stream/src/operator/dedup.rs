//! Lets the first row of a key through and drops its repeats within a horizon of event time.
//!
//! What is remembered of a key is the event time of each row that went through, until the watermark is a horizon beyond it.
//! Whether a row repeats one is decided by the watermark before its micro-batch, never by when a key happens to be cleared
//! away: how batches are cut, snapshots and restarts change nothing.
//! Never here: rows of other partitions. A repeat in another partition than the first is not seen.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampNanosecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit, TimestampNanosecondType};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::event_time::EventTimes;
use crate::schema::{type_name, utc};
use crate::snapshot::SnapshotKind;
use crate::stateful::error::OperatorError;
use crate::stateful::group_index::{GroupIndex, GroupKeys};
use crate::stateful::keyed_columns::KeyedColumns;
use crate::stateful::{StatePart, StatefulOperator, UpdateOutcome};

/// The column of a snapshot that holds event times.
const FIRST_SEEN: &str = "first_seen";
/// Fewer keys are not worth clearing away.
const CLEARED_KEYS_MIN: usize = 1_024;

/// What a dedup drops, as options for [`Dedup::new`].
#[derive(Debug, Clone)]
pub struct DedupOptions {
    /// The column that holds the event time.
    pub time_column: String,
    /// The columns that tell rows apart; at least one. A null equals a null.
    pub keys: Vec<String>,
    /// Rows of one key that are less than this apart are repeats.
    pub horizon: Duration,
    /// How many remembered keys are too many.
    pub keys_max: usize,
    /// The columns that go on, by position in the input.
    pub kept_columns: Vec<usize>,
}

/// A dedup over rows of one schema.
#[derive(Debug, Clone)]
pub struct Dedup {
    time_column: usize,
    key_columns: Vec<usize>,
    kept_columns: Vec<usize>,
    keys: GroupKeys,
    horizon: i64,
    keys_max: usize,
    state_schema: SchemaRef,
}

impl Dedup {
    /// Resolves the columns.
    pub fn new(input: &SchemaRef, options: DedupOptions) -> Result<Self, OperatorError> {
        let horizon = i64::try_from(options.horizon.as_nanos())
            .ok()
            .filter(|horizon| *horizon > 0 && !options.keys.is_empty())
            .ok_or(OperatorError::NothingToRemember)?;
        let KeyedColumns {
            time_column,
            key_columns,
            key_fields: fields,
            keys,
        } = KeyedColumns::resolve(input, &options.time_column, &options.keys)?;
        let first_seen = DataType::Timestamp(TimeUnit::Nanosecond, Some(utc()));
        let mut state_fields = vec![Arc::new(Field::new(FIRST_SEEN, first_seen, false))];
        state_fields.extend(
            fields
                .iter()
                .map(|field| Arc::new(field.as_ref().clone().with_nullable(true))),
        );
        Ok(Dedup {
            time_column,
            key_columns,
            kept_columns: options.kept_columns,
            keys,
            horizon,
            keys_max: options.keys_max,
            state_schema: Arc::new(Schema::new(state_fields)),
        })
    }

    fn check_state(&self, state: &RecordBatch) -> Result<(), OperatorError> {
        let (ours, theirs) = (self.state_schema.fields(), state.schema_ref().fields());
        let same = ours.len() == theirs.len()
            && ours
                .iter()
                .zip(theirs)
                .all(|(ours, theirs)| ours.name() == theirs.name() && ours.data_type() == theirs.data_type());
        if same && state.column(0).null_count() == 0 {
            return Ok(());
        }
        Err(OperatorError::ForeignState {
            expected: describe(ours),
            found: describe(theirs),
        })
    }
}

fn describe(fields: &[FieldRef]) -> String {
    let fields = fields
        .iter()
        .map(|field| format!("{} {}", field.name(), type_name(field.data_type())));
    fields.collect::<Vec<_>>().join(", ")
}

/// The keys that one source partition remembers. Bounded by `keys_max`.
#[derive(Debug)]
pub struct DedupKeys {
    dedup: Arc<Dedup>,
    index: GroupIndex,
    /// The event time of the row that went through, for each key.
    first_seen: Vec<i64>,
    /// More of them, for the few keys of which several rows a horizon apart went through.
    more: HashMap<usize, Vec<i64>, FixedState>,
    more_count: usize,
    /// Keys and event times since the last snapshot.
    added: Vec<(usize, i64)>,
    watermark: Option<i64>,
    /// With so many keys, those that are forgotten are cleared away.
    clear_at: usize,
    group_numbers: Vec<usize>,
}

impl DedupKeys {
    /// Nothing remembered.
    pub fn new(dedup: Arc<Dedup>) -> Self {
        DedupKeys {
            index: GroupIndex::new(&dedup.keys),
            dedup,
            first_seen: Vec::new(),
            more: HashMap::default(),
            more_count: 0,
            added: Vec::new(),
            watermark: None,
            clear_at: CLEARED_KEYS_MIN,
            group_numbers: Vec::new(),
        }
    }

    fn is_forgotten(&self, time: i64) -> bool {
        self.watermark
            .is_some_and(|watermark| self.closed_at(time) <= watermark)
    }

    /// The watermark at which this event time is forgotten.
    fn closed_at(&self, time: i64) -> i64 {
        time.saturating_add(self.dedup.horizon)
    }

    /// Remembers a row unless it is a repeat. `key` is a known key or the next new one.
    fn remember(&mut self, key: usize, time: i64) -> bool {
        if key == self.first_seen.len() {
            self.first_seen.push(time);
            return true;
        }
        let repeats = |of: &i64| of.abs_diff(time) < self.dedup.horizon.unsigned_abs() && !self.is_forgotten(*of);
        if repeats(&self.first_seen[key]) || self.more.get(&key).is_some_and(|more| more.iter().any(repeats)) {
            return false;
        }
        self.add(key, time);
        true
    }

    /// Adds an event time to a known key.
    fn add(&mut self, key: usize, time: i64) {
        if self.is_forgotten(self.first_seen[key]) {
            self.first_seen[key] = time;
        } else {
            self.more.entry(key).or_default().push(time);
            self.more_count += 1;
        }
    }

    /// Clears away what is forgotten; the keys that are left are numbered anew.
    fn clear_forgotten(&mut self) {
        let mut is_kept = vec![false; self.first_seen.len()];
        let mut numbers = vec![0; self.first_seen.len()];
        let former = (
            std::mem::take(&mut self.first_seen),
            std::mem::take(&mut self.more),
            std::mem::take(&mut self.added),
        );
        let (first_seen, mut more, added) = former;
        self.more_count = 0;
        for (key, first) in first_seen.into_iter().enumerate() {
            let times = std::iter::once(first).chain(more.remove(&key).into_iter().flatten());
            let mut times = times.filter(|time| !self.is_forgotten(*time));
            let Some(first) = times.next() else { continue };
            let times: Vec<i64> = times.collect();
            (is_kept[key], numbers[key]) = (true, self.first_seen.len());
            if !times.is_empty() {
                self.more_count += times.len();
                self.more.insert(self.first_seen.len(), times);
            }
            self.first_seen.push(first);
        }
        self.index.retain(&is_kept);
        let added = added.into_iter().filter(|(_, time)| !self.is_forgotten(*time));
        self.added = added.map(|(key, time)| (numbers[key], time)).collect();
        self.clear_at = (self.groups() * 2).clamp(CLEARED_KEYS_MIN, self.dedup.keys_max.max(CLEARED_KEYS_MIN));
    }

    fn part(&self, rows: &[(usize, i64)]) -> Option<StatePart> {
        let closed_at = rows.iter().map(|(_, time)| self.closed_at(*time)).max()?;
        let times = TimestampNanosecondArray::from_iter_values(rows.iter().map(|(_, time)| *time));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(times.with_timezone(utc()))];
        columns.extend(
            self.index
                .columns_of(&self.dedup.keys, rows.iter().map(|(key, _)| *key)),
        );
        let rows = RecordBatch::try_new(Arc::clone(&self.dedup.state_schema), columns);
        Some(StatePart {
            rows: rows.expect("keys and times have their declared types"),
            closed_at,
        })
    }
}

impl StatefulOperator for DedupKeys {
    /// A row is late if its own key would be forgotten already: nobody knows any more whether it is the first.
    fn update(&mut self, batch: &RecordBatch, closed_before: Option<i64>) -> Result<UpdateOutcome, OperatorError> {
        let dedup = Arc::clone(&self.dedup);
        self.watermark = self.watermark.max(closed_before);
        let column = batch.column(dedup.time_column);
        let times = EventTimes::new(column).ok_or_else(|| OperatorError::NoEventTime {
            column: batch.schema_ref().field(dedup.time_column).name().clone(),
        })?;
        let mut outcome = UpdateOutcome::default();
        let mut rows = Vec::with_capacity(times.len());
        for row in 0..times.len() {
            match times.nanoseconds(row) {
                None => outcome.unplaced_rows += 1,
                Some(time) if self.is_forgotten(time) => outcome.late_rows += 1,
                Some(_) => rows.push(row as u32),
            }
        }
        let key_columns: Vec<ArrayRef> = dedup
            .key_columns
            .iter()
            .map(|column| Arc::clone(batch.column(*column)))
            .collect();
        let keys = dedup.keys.prepare(&key_columns);
        let mut numbers = std::mem::take(&mut self.group_numbers);
        numbers.clear();
        self.index.assign(&keys, &rows, &mut numbers);
        let placed = rows.len();
        let mut numbers_of_rows = numbers.iter();
        rows.retain(|row| {
            let key = *numbers_of_rows.next().expect("every row has a key");
            let time = times
                .nanoseconds(*row as usize)
                .expect("rows without a time were left out");
            let is_first = self.remember(key, time);
            if is_first {
                self.added.push((key, time));
            }
            is_first
        });
        self.group_numbers = numbers;
        outcome.duplicate_rows = (placed - rows.len()) as u64;
        if self.groups() > self.clear_at || self.groups() > dedup.keys_max {
            self.clear_forgotten();
        }
        if self.groups() > dedup.keys_max {
            return Err(OperatorError::TooManyKeys {
                keys_max: dedup.keys_max,
            });
        }
        if rows.is_empty() {
            return Ok(outcome);
        }
        let kept = batch
            .project(&dedup.kept_columns)
            .expect("kept columns are positions in the input's schema");
        outcome.passed = Some(if rows.len() == batch.num_rows() {
            kept
        } else {
            take_record_batch(&kept, &UInt32Array::from(rows)).expect("rows are positions in the micro-batch")
        });
        Ok(outcome)
    }

    /// Nothing: the rows went on when they came.
    fn take_closed(&mut self, watermark: i64) -> Result<Option<RecordBatch>, OperatorError> {
        self.watermark = self.watermark.max(Some(watermark));
        Ok(None)
    }

    /// Nothing, and the keys stay: what comes after a drain may repeat what came before.
    fn take_all(&mut self) -> Result<Option<RecordBatch>, OperatorError> {
        Ok(None)
    }

    fn snapshot(&mut self, kind: SnapshotKind) -> Result<Option<StatePart>, OperatorError> {
        let added = std::mem::take(&mut self.added);
        let mut rows: Vec<(usize, i64)> = match kind {
            SnapshotKind::Changes => added,
            SnapshotKind::Full => {
                self.clear_forgotten();
                let first = self.first_seen.iter().copied().enumerate();
                let more = self
                    .more
                    .iter()
                    .flat_map(|(key, times)| times.iter().map(|time| (*key, *time)));
                first.chain(more).collect()
            }
        };
        rows.retain(|(_, time)| !self.is_forgotten(*time));
        Ok(self.part(&rows))
    }

    fn restore(&mut self, state: &RecordBatch, closed_up_to: Option<i64>) -> Result<(), OperatorError> {
        self.dedup.check_state(state)?;
        self.watermark = self.watermark.max(closed_up_to);
        let times = state.column(0).as_primitive::<TimestampNanosecondType>().values();
        let rows: Vec<u32> = (0..state.num_rows() as u32)
            .filter(|row| !self.is_forgotten(times[*row as usize]))
            .collect();
        let keys = self.dedup.keys.prepare(&state.columns()[1..]);
        let mut numbers = Vec::with_capacity(rows.len());
        self.index.assign(&keys, &rows, &mut numbers);
        for (row, key) in rows.into_iter().zip(numbers) {
            let time = times[row as usize];
            if key == self.first_seen.len() {
                self.first_seen.push(time);
            } else if self.first_seen[key] != time && self.more.get(&key).is_none_or(|more| !more.contains(&time)) {
                self.add(key, time);
            }
        }
        if self.groups() > self.dedup.keys_max {
            return Err(OperatorError::TooManyKeys {
                keys_max: self.dedup.keys_max,
            });
        }
        Ok(())
    }

    fn groups(&self) -> usize {
        self.first_seen.len() + self.more_count
    }

    fn size_bytes(&self) -> usize {
        self.index.size_bytes()
            + self.first_seen.capacity() * 8
            + self.more.allocation_size()
            + self.more_count * 8
            + self.added.capacity() * 16
    }
}

#[cfg(test)]
mod tests;

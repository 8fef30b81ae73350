//! A pipeline as it was meant: sources, transforms and sinks that name their inputs.
//!
//! Plain data, filled by whoever reads `pipeline.toml`. Nothing here has been checked; see `plan`.

use std::time::Duration;

use crate::schema::SourceSchema;
use crate::watermark::WatermarkConfig;
use crate::window::kind::WindowKind;
use crate::window::output_mode::OutputMode;

/// All sources, transforms and sinks.
#[derive(Debug, Clone, Default)]
pub struct GraphSpec {
    /// Where rows come from.
    pub sources: Vec<SourceSpec>,
    /// What happens to them. The order does not matter.
    pub transforms: Vec<TransformSpec>,
    /// Where they go.
    pub sinks: Vec<SinkSpec>,
}

/// A source and its event time.
#[derive(Debug, Clone)]
pub struct SourceSpec {
    /// Its name, for `input`.
    pub name: String,
    /// The fields of its records.
    pub schema: SourceSchema,
    /// Its event time; windows and dedups need one.
    pub watermark: Option<WatermarkSpec>,
}

/// The event time of a source.
#[derive(Debug, Clone)]
pub struct WatermarkSpec {
    /// The column that holds it: a timestamp.
    pub column: String,
    /// How the watermark follows it.
    pub config: WatermarkConfig,
}

/// A transform and its input.
#[derive(Debug, Clone)]
pub struct TransformSpec {
    /// Its name, for `input`.
    pub name: String,
    /// The source or transform whose rows it reads.
    pub input: String,
    /// What it does.
    pub kind: TransformKind,
}

/// What a transform does.
#[derive(Debug, Clone)]
pub enum TransformKind {
    /// Keeps the rows for which a condition is true.
    Filter {
        /// A SQL expression that is a boolean.
        condition: String,
    },
    /// Computes columns.
    Select {
        /// Column names and SQL expressions, in column order.
        columns: Vec<(String, String)>,
    },
    /// Lets the first row of a key through.
    Dedup(DedupSpec),
    /// Aggregates by event time.
    Window(WindowSpec),
}

/// A dedup: repeats of a key within a horizon of event time are dropped.
#[derive(Debug, Clone)]
pub struct DedupSpec {
    /// The columns that tell rows apart; at least one.
    pub keys: Vec<String>,
    /// Rows of one key that are less than this apart are repeats.
    pub horizon: Duration,
    /// How many keys within the horizon, in one source partition, are too many.
    pub keys_max: usize,
}

impl DedupSpec {
    /// The default of `keys_max`.
    pub const KEYS_MAX: usize = 10_000_000;
}

/// A window.
#[derive(Debug, Clone)]
pub struct WindowSpec {
    /// Which windows a row belongs to; lengths are whole numbers of microseconds, at least one.
    pub kind: WindowKind,
    /// The columns to group by; none gives one row per window.
    pub group_by: Vec<String>,
    /// Column names and SQL aggregates, in column order.
    pub aggregates: Vec<(String, String)>,
    /// How much longer than its end a window stays open.
    pub allowed_lateness: Duration,
    /// The sink that takes late rows as they came into the window.
    pub late_output: Option<String>,
    /// When it gives its rows.
    pub mode: OutputMode,
    /// How many groups, over all open windows of one source partition, are too many.
    pub groups_max: usize,
}

impl WindowSpec {
    /// The default of `groups_max`.
    pub const GROUPS_MAX: usize = 10_000_000;
}

/// A sink and its input.
#[derive(Debug, Clone)]
pub struct SinkSpec {
    /// Its name, for `late_output` and errors.
    pub name: String,
    /// The source or transform whose rows it takes; `None` for a sink that only takes late rows.
    pub input: Option<String>,
    /// Columns that its options name, with the option: `("key", "campaign_id")`. They must exist, and are kept.
    pub uses: Vec<(String, String)>,
    /// Whether it keeps every row it is given. Then it cannot take rows that later ones stand for (update mode).
    pub keeps_all: bool,
}

//! The functions that an expression may call: DataFusion's, without those that read the clock or roll dice.
//!
//! Event time is the only time: an expression gives the same result whenever it runs, or recovery would not repeat it.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::DataType;
use datafusion_common::config::ConfigOptions;
use datafusion_common::{Result, TableReference, plan_err};
use datafusion_expr::planner::{ContextProvider, ExprPlanner};
use datafusion_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, Volatility, WindowUDF};
use datafusion_functions::core::planner::CoreFunctionPlanner;
use datafusion_functions::datetime::planner::DatetimeFunctionPlanner;
use datafusion_functions::unicode::planner::UnicodeFunctionPlanner;
use datafusion_functions_aggregate::planner::AggregateFunctionPlanner;

/// All functions; built once per process.
pub(crate) static FUNCTIONS: LazyLock<Functions> = LazyLock::new(Functions::new);

/// Functions that DataFusion calls stable because they are the same within one query; a stream is one query forever.
const CLOCK_FUNCTIONS: [&str; 5] = ["now", "current_timestamp", "current_date", "current_time", "today"];

/// Whether a function's result depends on more than its arguments.
pub(crate) fn is_unrepeatable(function: &ScalarUDF) -> bool {
    function.signature().volatility == Volatility::Volatile || CLOCK_FUNCTIONS.contains(&function.name())
}

/// What an expression is resolved against, beside its columns.
#[derive(Debug)]
pub(crate) struct Functions {
    scalar: BTreeMap<String, Arc<ScalarUDF>>,
    aggregate: BTreeMap<String, Arc<AggregateUDF>>,
    planners: Vec<Arc<dyn ExprPlanner>>,
    options: ConfigOptions,
}

impl Functions {
    fn new() -> Self {
        let mut scalar = BTreeMap::new();
        for function in datafusion_functions::all_default_functions() {
            for name in function.aliases().iter().cloned().chain([function.name().to_owned()]) {
                scalar.insert(name, Arc::clone(&function));
            }
        }
        let mut aggregate = BTreeMap::new();
        for function in datafusion_functions_aggregate::all_default_aggregate_functions() {
            if function.name() == "grouping" {
                continue; // It only means something under GROUPING SETS.
            }
            for name in function.aliases().iter().cloned().chain([function.name().to_owned()]) {
                aggregate.insert(name, Arc::clone(&function));
            }
        }
        Functions {
            scalar,
            aggregate,
            planners: vec![
                Arc::new(CoreFunctionPlanner::default()),
                Arc::new(DatetimeFunctionPlanner),
                Arc::new(UnicodeFunctionPlanner),
                Arc::new(AggregateFunctionPlanner),
            ],
            options: ConfigOptions::new(),
        }
    }
}

impl Functions {
    /// The names of all functions that an expression may call, in a stable order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let scalar = self.scalar.iter().filter(|(_, function)| !is_unrepeatable(function));
        scalar
            .map(|(name, _)| name.as_str())
            .chain(self.aggregate.keys().map(String::as_str))
    }
}

impl ContextProvider for Functions {
    fn get_table_source(&self, _name: TableReference) -> Result<Arc<dyn TableSource>> {
        plan_err!("an expression sees one row at a time and cannot query a table")
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.scalar.get(name).cloned()
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.aggregate.get(name).cloned()
    }

    fn get_window_meta(&self, _name: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        let repeatable = self.scalar.iter().filter(|(_, function)| !is_unrepeatable(function));
        repeatable.map(|(name, _)| name.clone()).collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.aggregate.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}

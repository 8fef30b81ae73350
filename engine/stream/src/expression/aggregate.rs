//! An expression with one value per group.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use datafusion_common::{DataFusionError, ScalarValue};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::{Expr, GroupsAccumulator};
use datafusion_physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregateBuilder};
use datafusion_physical_expr::{GroupsAccumulatorAdapter, PhysicalExpr};

use super::error::{EvaluateError, ExpressionError};
use super::evaluate::{evaluate, evaluate_error};
use super::resolve::{explain, plain_type, resolve};
use super::scalar::aggregate_in;
use crate::snapshot::ipc::schema_message::is_storable;

/// A checked SQL aggregate, bound to the columns of a schema by their position.
#[derive(Debug, Clone)]
pub struct AggregateExpression {
    sql: String,
    columns: Vec<String>,
    data_type: DataType,
    state_fields: Vec<FieldRef>,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    aggregate: Arc<AggregateFunctionExpr>,
}

impl AggregateExpression {
    /// Parses, resolves and type-checks one call of an aggregate function:
    /// `count(*)`, `max(produce_time)`, `count(distinct user_id) filter (where event_type = 'view')`.
    pub fn parse(sql: &str, schema: &SchemaRef) -> Result<Self, ExpressionError> {
        let resolved = resolve(sql, schema)?;
        let expr = resolved.expr.unalias();
        let error = |error| explain(&error, sql, schema);
        let Expr::AggregateFunction(call) = &expr else {
            return Err(ExpressionError::new(format!(
                "`{sql}` is no aggregate; write one call such as count(*) or max(x), and compute with its result in a select"
            )));
        };
        let arguments = call.params.args.iter().chain(call.params.filter.as_deref());
        if let Some(inner) = arguments.filter_map(aggregate_in).next() {
            return Err(ExpressionError::new(format!(
                "{inner}() cannot be inside of an aggregate; compute it in a window before, or with the results in a select"
            )));
        }
        if !call.params.order_by.is_empty() && !call.func.supports_within_group_clause() {
            return Err(ExpressionError::new(
                "ORDER BY in an aggregate is not possible: its parts are merged in any order",
            ));
        }
        let props = ExecutionProps::new();
        let planning = PhysicalPlanningContext::default();
        let lowered = LoweredAggregateBuilder::new(&expr, &resolved.schema, schema, &props, &planning)
            .with_name(sql)
            .build()
            .map_err(error)?;
        let aggregate = lowered.aggregate;
        let state_fields = aggregate.state_fields().map_err(error)?;
        if let Some(field) = state_fields.iter().find(|field| !is_storable(field.data_type())) {
            return Err(ExpressionError::new(format!(
                "`{sql}` keeps values of the type {} between its rows, which a checkpoint cannot hold; cast its argument to a plain type",
                field.data_type()
            )));
        }
        let expression = AggregateExpression {
            sql: sql.to_owned(),
            columns: resolved.columns,
            data_type: plain_type(aggregate.field().data_type()),
            state_fields,
            arguments: aggregate.expressions(),
            filter: lowered.filter,
            aggregate,
        };
        expression
            .accumulator()
            .map_err(|error| ExpressionError::new(error.message))?;
        Ok(expression)
    }

    /// The text it was parsed from.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// The columns it reads, each once.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The type of its final value.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// The columns of its partial state.
    pub(crate) fn state_fields(&self) -> &[FieldRef] {
        &self.state_fields
    }

    /// An empty state for many groups: DataFusion's vectorised one where there is one, else one object per group.
    pub(crate) fn accumulator(&self) -> Result<Box<dyn GroupsAccumulator>, EvaluateError> {
        if self.aggregate.groups_accumulator_supported() {
            return self
                .aggregate
                .create_groups_accumulator()
                .map_err(|error| self.error(&error));
        }
        self.aggregate
            .create_accumulator()
            .map_err(|error| self.error(&error))?;
        let aggregate = Arc::clone(&self.aggregate);
        Ok(Box::new(GroupsAccumulatorAdapter::new(move || {
            aggregate.create_accumulator()
        })))
    }

    /// The partial state of no rows.
    pub(crate) fn empty_state(&self) -> Result<Vec<ScalarValue>, EvaluateError> {
        let state = self.aggregate.create_accumulator().and_then(|mut empty| empty.state());
        state.map_err(|error| self.error(&error))
    }

    /// The arguments' values and the rows that count, for one micro-batch.
    pub(crate) fn arguments(&self, batch: &RecordBatch) -> Result<AggregateArguments, EvaluateError> {
        let evaluate = |expression| evaluate(&self.sql, expression, batch);
        let filter = self.filter.as_ref().map(evaluate).transpose()?;
        Ok(AggregateArguments {
            values: self.arguments.iter().map(evaluate).collect::<Result<_, _>>()?,
            filter: filter.map(|filter| filter.as_boolean().clone()),
        })
    }

    /// An error of this aggregate, as a sentence.
    pub(crate) fn error(&self, error: &DataFusionError) -> EvaluateError {
        evaluate_error(&self.sql, error)
    }
}

/// The arguments of an aggregate for the rows of a micro-batch.
#[derive(Debug)]
pub(crate) struct AggregateArguments {
    pub(crate) values: Vec<ArrayRef>,
    pub(crate) filter: Option<BooleanArray>,
}

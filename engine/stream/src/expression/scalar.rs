//! An expression with one value per row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::ScalarValue;
use datafusion_common::tree_node::TreeNode;
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::{Expr, ExprSchemable};
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};

use super::error::{EvaluateError, ExpressionError};
use super::evaluate::evaluate;
use super::resolve::{Resolved, explain, plain_type, resolve};
use crate::schema::type_name;

/// A checked SQL expression, bound to the columns of a schema by their position.
#[derive(Debug, Clone)]
pub struct Expression {
    sql: String,
    columns: Vec<String>,
    data_type: DataType,
    nullable: bool,
    literal: Option<ScalarValue>,
    physical: Arc<dyn PhysicalExpr>,
}

impl Expression {
    /// Parses, resolves and type-checks. Functions are DataFusion's, except those that read the clock or are random.
    pub fn parse(sql: &str, schema: &SchemaRef) -> Result<Self, ExpressionError> {
        let resolved = resolve(sql, schema)?;
        if let Some(function) = aggregate_in(&resolved.expr) {
            return Err(ExpressionError::new(format!(
                "{function}() is an aggregate; it belongs to the aggregates of a window"
            )));
        }
        Expression::new(sql, resolved, schema)
    }

    /// As [`parse`](Self::parse), and the expression must be a boolean.
    pub fn parse_condition(sql: &str, schema: &SchemaRef) -> Result<Self, ExpressionError> {
        let expression = Expression::parse(sql, schema)?;
        if expression.data_type != DataType::Boolean {
            return Err(ExpressionError::new(format!(
                "a condition is true or false, but `{}` is {}",
                expression.sql,
                type_name(&expression.data_type)
            )));
        }
        Ok(expression)
    }

    fn new(sql: &str, resolved: Resolved, schema: &SchemaRef) -> Result<Self, ExpressionError> {
        let error = |error| explain(&error, sql, schema);
        let (expr, df_schema) = (resolved.expr, &resolved.schema);
        let found = expr.get_type(df_schema).map_err(error)?;
        let data_type = plain_type(&found);
        if data_type == DataType::Null {
            return Err(ExpressionError::new(format!(
                "`{sql}` is always null; give it a type with CAST"
            )));
        }
        let expr = if found == data_type {
            expr
        } else {
            expr.cast_to(&data_type, df_schema).map_err(error)?
        };
        let planning = PhysicalPlanningContext::default();
        let physical = create_physical_expr(&expr, df_schema, &ExecutionProps::new(), &planning).map_err(error)?;
        let literal = match &expr {
            Expr::Literal(value, _) => Some(value.clone()),
            _ => None,
        };
        Ok(Expression {
            sql: sql.to_owned(),
            columns: resolved.columns,
            nullable: physical.nullable(schema).unwrap_or(true),
            data_type,
            literal,
            physical,
        })
    }

    /// The text it was parsed from.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// The columns that it names, each once.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The type of its values.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// Whether it can be null.
    pub fn nullable(&self) -> bool {
        self.nullable
    }

    /// The condition's value, if it does not depend on the row. Null counts as false.
    pub fn constant_condition(&self) -> Option<bool> {
        match &self.literal {
            Some(ScalarValue::Boolean(value)) => Some(value.unwrap_or(false)),
            _ => None,
        }
    }

    /// One value per row of a micro-batch of the schema it was parsed with.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef, EvaluateError> {
        evaluate(&self.sql, &self.physical, batch)
    }

    /// One truth value per row, for a condition.
    pub fn evaluate_condition(&self, batch: &RecordBatch) -> Result<BooleanArray, EvaluateError> {
        let values = self.evaluate(batch)?;
        assert_eq!(
            values.data_type(),
            &DataType::Boolean,
            "{}: a condition was checked to be boolean",
            self.sql
        );
        Ok(values.as_boolean().clone())
    }
}

/// The first aggregate function that an expression calls.
pub(super) fn aggregate_in(expr: &Expr) -> Option<String> {
    let mut found = None;
    let exists = expr.exists(|node| {
        if let Expr::AggregateFunction(call) = node {
            found = Some(call.func.name().to_owned());
        }
        Ok(found.is_some())
    });
    exists.ok()?;
    found
}

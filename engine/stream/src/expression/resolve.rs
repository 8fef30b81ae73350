//! SQL text → a logical expression on the columns of a schema: parsed, resolved, type-checked, constants folded.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, DataFusionError, SchemaError};
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, Operator};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_sql::parser::DFParserBuilder;
use datafusion_sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::error::ExpressionError;
use super::functions::{FUNCTIONS, is_unrepeatable};
use super::mismatch;
use super::nearest::nearest;
use crate::schema::{type_name, utc};

/// A longer text is refused.
pub(crate) const SQL_BYTES_MAX: usize = 64 * 1024;

/// More words and operators are refused, not counting the items of lists: `a + b + c + …` nests as deep as it is
/// long, and every pass over it recurses. (Brackets and prefixes are bounded by the parser.)
pub(crate) const SQL_TOKENS_MAX: usize = 200;

/// Deeper brackets and prefixes are refused. Together the two limits keep planning within a 2 MiB stack, even in debug builds.
pub(crate) const SQL_DEPTH_MAX: usize = 30;

/// An expression on the columns of a schema.
pub(crate) struct Resolved {
    /// Type-checked and simplified.
    pub(crate) expr: Expr,
    /// The columns that its text names, each once, in a stable order. Some may have been simplified away, such as one that is asked
    /// whether it is null and never is; the text cannot be read again without them.
    pub(crate) columns: Vec<String>,
    /// All columns that it may name.
    pub(crate) schema: DFSchema,
}

/// Parses, resolves, type-checks and simplifies. Column names are case-sensitive, as JSON's are.
pub(crate) fn resolve(sql: &str, schema: &Schema) -> Result<Resolved, ExpressionError> {
    if sql.trim().is_empty() {
        return Err(ExpressionError::new("the expression is empty"));
    }
    if sql.len() > SQL_BYTES_MAX {
        return Err(ExpressionError::new(format!(
            "an expression is at most {SQL_BYTES_MAX} bytes long"
        )));
    }
    if token_count(sql) > SQL_TOKENS_MAX {
        return Err(ExpressionError::new(
            "the expression is too long; compute parts of it in a select before",
        ));
    }
    let error = |error| explain(&error, sql, schema);
    let parsed = DFParserBuilder::new(sql)
        .with_dialect(&GenericDialect {})
        .with_recursion_limit(SQL_DEPTH_MAX)
        .build()
        .and_then(|mut parser| parser.parse_into_expr())
        .map_err(error)?;
    if let Some(alias) = parsed.alias {
        return Err(ExpressionError {
            message: format!("the column is named on the left of `=`; leave out AS {alias}"),
            position: word_position(sql, &alias.value),
            suggestion: None,
        });
    }
    let df_schema = DFSchema::try_from(schema.clone()).map_err(error)?;
    let options = ParserOptions::new()
        .with_enable_ident_normalization(false)
        .with_collect_spans(true);
    let options = options.with_map_string_types_to_utf8view(false);
    let expr = SqlToRel::new_with_options(&*FUNCTIONS, options)
        .sql_to_expr(parsed.expr, &df_schema, &mut PlannerContext::new())
        .map_err(error)?;
    refuse_foreign_nodes(&expr, sql)?;
    refuse_mixed_types(&expr, &df_schema, sql)?;
    let columns = columns_of(&expr);
    let simplifier = ExprSimplifier::new(
        SimplifyContext::builder()
            .with_schema(Arc::new(df_schema.clone()))
            .build(),
    );
    let expr = simplifier.coerce(expr, &df_schema).map_err(error)?;
    let expr = simplifier.simplify(expr).map_err(error)?;
    Ok(Resolved {
        expr,
        columns,
        schema: df_schema,
    })
}

/// Words and operators, less the items of lists. A text that is no SQL at all is left to the parser.
fn token_count(sql: &str) -> usize {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize().unwrap_or_default();
    let commas = tokens.iter().filter(|token| matches!(token, Token::Comma)).count();
    let words = tokens
        .iter()
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .count();
    words.saturating_sub(2 * commas)
}

/// The type in which a column travels: plain strings and UTC timestamps, whatever a function returned.
pub(crate) fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, value) => plain_type(value),
        DataType::Timestamp(unit, _) => DataType::Timestamp(*unit, Some(utc())),
        DataType::Date64 => DataType::Timestamp(TimeUnit::Millisecond, Some(utc())),
        other => other.clone(),
    }
}

fn columns_of(expr: &Expr) -> Vec<String> {
    let mut columns: Vec<String> = expr
        .column_refs()
        .into_iter()
        .map(|column| column.name.clone())
        .collect();
    columns.sort_unstable();
    columns.dedup();
    columns
}

/// An error of DataFusion as a sentence, with the place and the nearest name where they are known.
pub(crate) fn explain(error: &DataFusionError, sql: &str, schema: &Schema) -> ExpressionError {
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let mut position = span.and_then(|span| byte_position(sql, span.start.line, span.start.column));
    let root = error.find_root();
    if let DataFusionError::SchemaError(error, _) = root
        && let SchemaError::FieldNotFound { field, .. } = error.as_ref()
    {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        return ExpressionError {
            message: format!(
                "there is no column \"{}\"; the columns are {}",
                field.name,
                names.join(", ")
            ),
            position: position.or_else(|| word_position(sql, &field.name)),
            suggestion: nearest(&field.name, names),
        };
    }
    let message = plain_message(root);
    if let Some(rest) = message.strip_prefix("Invalid function '") {
        let name = rest.split('\'').next().unwrap_or_default();
        return ExpressionError {
            message: format!("there is no function \"{name}\""),
            position: position.or_else(|| word_position(sql, name)),
            suggestion: nearest(name, FUNCTIONS.names()),
        };
    }
    let message = mismatch::sentence(&message).unwrap_or(message);
    let (message, place) = split_place(&message);
    if let Some((line, column)) = place {
        position = byte_position(sql, line, column);
    }
    ExpressionError {
        message,
        position,
        suggestion: None,
    }
}

/// The first sentence of an error, without DataFusion's own labels and back traces.
pub(crate) fn plain_message(error: &DataFusionError) -> String {
    let text = match error {
        DataFusionError::SQL(error, _) => error.to_string(),
        DataFusionError::ArrowError(error, _) => error.to_string(),
        other => other.message().into_owned(),
    };
    let text = text.split("\n\nbacktrace:").next().unwrap_or_default();
    let mut text = text.trim();
    loop {
        let before = text;
        for label in [
            "sql parser error: ",
            "Error during planning: ",
            "This feature is not implemented: ",
            "Arrow error: ",
            "Compute error: ",
            "Cast error: ",
            "Parser error: ",
            "Execution error: ",
            "Internal error: ",
        ] {
            text = text.strip_prefix(label).unwrap_or(text);
        }
        if text == before {
            break;
        }
    }
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let text = match lines.next_back() {
        // A regular expression's fault comes with the text and a caret, and is told at their end.
        Some(last) if first.ends_with(':') => &format!("{first} {}", last.trim_start_matches("error: ").trim()),
        _ => first,
    };
    let text = text
        .split(" This issue was likely caused by")
        .next()
        .unwrap_or_default();
    let text = text
        .split("You might need to add explicit type casts.")
        .next()
        .unwrap_or_default();
    text.trim().trim_end_matches('.').to_owned()
}

/// Cuts "… at Line: 1, Column: 5" off a parser's message.
fn split_place(message: &str) -> (String, Option<(u64, u64)>) {
    let Some((head, place)) = message.rsplit_once(" at Line: ") else {
        return (message.to_owned(), None);
    };
    let mut numbers = place
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(line), Some(column)) => (head.to_owned(), Some((line, column))),
        _ => (message.to_owned(), None),
    }
}

/// The byte at a line and a column, both counted in characters from 1.
fn byte_position(sql: &str, line: u64, column: u64) -> Option<usize> {
    let line_start = match line {
        0 => return None,
        1 => 0,
        line => sql.match_indices('\n').nth(line as usize - 2)?.0 + 1,
    };
    let column = usize::try_from(column).ok()?.checked_sub(1)?;
    let rest = &sql[line_start..];
    Some(line_start + rest.char_indices().nth(column).map_or(rest.len(), |(byte, _)| byte))
}

/// Where a word stands in the text as a whole word, if it does.
fn word_position(sql: &str, word: &str) -> Option<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let lower = sql.to_ascii_lowercase();
    let word = word.to_ascii_lowercase();
    let found = lower.match_indices(&word).find(|(start, _)| {
        let before = sql[..*start].chars().next_back();
        let after = sql[start + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    });
    found.map(|(start, _)| start)
}

/// Refuses what is SQL, but no expression on a row.
fn refuse_foreign_nodes(expr: &Expr, sql: &str) -> Result<(), ExpressionError> {
    let mut refused = None;
    let walked = expr.apply(|node| {
        let at = |message: String, word: &str| {
            Some(ExpressionError { message, position: word_position(sql, word), suggestion: None })
        };
        refused = match node {
            Expr::ScalarFunction(call) if is_unrepeatable(&call.func) => at(
                format!(
                    "{}() gives another result each time, and results here depend on the data alone; use a column with the event's time",
                    call.func.name()
                ),
                call.func.name(),
            ),
            Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) => {
                at("an expression sees one row at a time and cannot query a table".into(), "select")
            }
            Expr::WindowFunction(_) => at("OVER is not possible here; use a window transform".into(), "over"),
            Expr::Placeholder(_) | Expr::ScalarVariable(..) => {
                at("a parameter has no value here; write the value itself".into(), "$")
            }
            Expr::GroupingSet(_) | Expr::Unnest(_) | Expr::OuterReferenceColumn(..) => {
                at("this is not possible in an expression on a row".into(), "")
            }
            #[expect(deprecated)]
            Expr::Wildcard { .. } => at("`*` only has a meaning in count(*)".into(), "*"),
            _ => None,
        };
        Ok(if refused.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    match (refused, walked) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(ExpressionError::new(plain_message(&error))),
        (None, Ok(_)) => Ok(()),
    }
}

/// Refuses comparisons and sums of text and something else: the cast would only fail on some rows, when it runs.
fn refuse_mixed_types(expr: &Expr, schema: &DFSchema, sql: &str) -> Result<(), ExpressionError> {
    let mut refused = None;
    let is_text = |data_type: &DataType| type_name(data_type) == "string";
    let walked = expr.apply(|node| {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = node else {
            return Ok(TreeNodeRecursion::Continue);
        };
        if matches!(op, Operator::StringConcat) {
            return Ok(TreeNodeRecursion::Continue);
        }
        let (Ok(left_type), Ok(right_type)) = (left.get_type(schema), right.get_type(schema)) else {
            return Ok(TreeNodeRecursion::Continue); // Reported by coercion.
        };
        let (text, other) = match (is_text(&left_type), is_text(&right_type)) {
            (true, false) => (left, &right_type),
            (false, true) => (right, &left_type),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        let is_literal = matches!(text.as_ref(), Expr::Literal(..));
        if *other == DataType::Null || matches!(other, DataType::Binary) || is_literal {
            return Ok(TreeNodeRecursion::Continue);
        }
        let other = type_name(other);
        refused = Some(ExpressionError {
            message: format!(
                "`{}` is a string and cannot be used with {op} and {other}; convert it with try_cast({} as {})",
                text.human_display(),
                text.human_display(),
                sql_type(&other)
            ),
            position: node
                .column_refs()
                .iter()
                .find_map(|column| word_position(sql, &column.name)),
            suggestion: None,
        });
        Ok(TreeNodeRecursion::Stop)
    });
    match (refused, walked) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(ExpressionError::new(plain_message(&error))),
        (None, Ok(_)) => Ok(()),
    }
}

fn sql_type(name: &str) -> &str {
    match name {
        "int64" => "bigint",
        "int32" => "int",
        "float64" => "double",
        "bool" => "boolean",
        name if name.starts_with("timestamp") => "timestamp",
        name => name,
    }
}

//! What DataFusion says of a function that does not take what it is given, as a sentence.
//!
//! It tells each signature's refusal: `Function 'sum' requires Int64, but received String (DataType: Utf8)`, or
//! `Function 'sum' expects 1 arguments but received 2`, joined behind `failed to match any signature`.

/// `None` if it is something else, or told in words that are not known here.
pub(super) fn sentence(message: &str) -> Option<String> {
    let name = between(message, "Function '", "'")?;
    let mut taken: Vec<String> = Vec::new();
    let mut given = None;
    let mut counts = None;
    for refusal in message.split("Function '").skip(1) {
        if let (Some(required), Some(received)) = (
            between(refusal, "' requires ", ", but received "),
            between(refusal, ", but received ", " (DataType: "),
        ) {
            let required = type_word(required);
            if !taken.contains(&required) {
                taken.push(required);
            }
            given = given.or_else(|| Some(type_word(received)));
        } else if let Some(count) = between(refusal, "' expects ", " arguments but received ") {
            let received = refusal.split(" arguments but received ").nth(1)?;
            let received: String = received.chars().take_while(char::is_ascii_digit).collect();
            counts = counts.or(Some((count.to_owned(), received)));
        }
    }
    match (given, counts) {
        (Some(given), _) => Some(format!("{name}() takes {}, and not {given}", list(&taken))),
        (None, Some((count, received))) => {
            let noun = if count == "1" { "argument" } else { "arguments" };
            Some(format!("{name}() takes {count} {noun}, and not {received}"))
        }
        (None, None) => None,
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(found, _)| found)
}

/// A type without its unit and zone, in our letters.
fn type_word(name: &str) -> String {
    let name = name.split('(').next().unwrap_or_default().trim();
    match name {
        "Boolean" => "bool".to_owned(),
        name => name.to_lowercase(),
    }
}

fn list(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_all_signatures_are_one_sentence() {
        for (told, expected) in [
            (
                "Function 'sum' failed to match any signature, errors: Error during planning: Function 'sum' requires Int64, but \
                 received String (DataType: Utf8).,Error during planning: Function 'sum' requires Float64, but received String \
                 (DataType: Utf8)",
                Some("sum() takes int64 or float64, and not string"),
            ),
            (
                "Function 'sum' failed to match any signature, errors: Error during planning: Function 'sum' expects 1 arguments but \
                 received 2,Error during planning: Function 'sum' expects 1 arguments but received 2",
                Some("sum() takes 1 argument, and not 2"),
            ),
            (
                "Function 'lower' requires String, but received Int64 (DataType: Int64)",
                Some("lower() takes string, and not int64"),
            ),
            (
                "Function 'max' requires Int64, but received Timestamp(ms, \"UTC\") (DataType: Timestamp(ms, \"UTC\"))",
                Some("max() takes int64, and not timestamp"),
            ),
            ("Function 'abs' is odd", None),
            ("something else", None),
        ] {
            assert_eq!(sentence(told).as_deref(), expected, "{told}");
        }
    }
}

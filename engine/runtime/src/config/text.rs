//! A string of the file: its text after escapes and variables, and the way back to what was written.
//!
//! A mistake inside a SQL text is known by its byte in the text; the caret has to stand in the file.
//! Never here: what texts mean.

use super::diagnostic::Diagnostic;
use super::source_text::Span;

/// A string and where its bytes come from.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub(crate) text: String,
    /// It came from a variable or a flag, where numbers and booleans cannot be told from text: it may stand for either.
    pub(crate) is_flexible: bool,
    /// (byte in `text`, byte in the file), ascending: where characters begin that do not simply follow the one before.
    jumps: Vec<(usize, usize)>,
}

impl Text {
    /// A text that is written as it is.
    pub(crate) fn verbatim(text: &str, source_start: usize) -> Text {
        Text {
            text: text.to_owned(),
            is_flexible: true,
            jumps: vec![(0, source_start)],
        }
    }

    /// Substitutes `${VAR}` and `${VAR:-default}` in a TOML string; `$${` stands for `${` itself.
    pub(crate) fn substituted(
        decoded: &str,
        span: &Span,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> (Text, Vec<Diagnostic>) {
        let places = places(decoded, span);
        let mut result = Text {
            text: String::with_capacity(decoded.len()),
            is_flexible: false,
            jumps: Vec::new(),
        };
        let mut mistakes = Vec::new();
        let mut rest = 0;
        while rest < decoded.len() {
            let here = &decoded[rest..];
            if here.starts_with("$${") {
                result.jump(places[rest]);
                result.text.push_str("${");
                rest += 3;
            } else if here.starts_with("${") {
                result.jump(places[rest]);
                result.is_flexible = true;
                let Some(end) = here.find('}') else {
                    let at = span.source.span(places[rest]..places[rest] + 2);
                    mistakes.push(Diagnostic::error(&at, "`${` without `}`").note("`$${` stands for `${` itself"));
                    break;
                };
                let last = places[rest + end];
                let at = span.source.span(places[rest]..last + 1);
                let (name, default) = match here[2..end].split_once(":-") {
                    Some((name, default)) => (name, Some(default)),
                    None => (&here[2..end], None),
                };
                let value = if is_variable_name(name) { variable(name) } else { None };
                match value.or_else(|| default.map(str::to_owned)) {
                    _ if !is_variable_name(name) => {
                        let message = "a variable's name is made of letters, digits and `_`";
                        mistakes.push(Diagnostic::error(&at, message).note("`$${` stands for `${` itself"));
                    }
                    Some(value) => result.text.push_str(&value),
                    None => mistakes.push(
                        Diagnostic::error(&at, format!("the variable `{name}` is not set"))
                            .note(format!("set it, or give it a default: `${{{name}:-default}}`")),
                    ),
                }
                rest += end + 1;
            } else {
                let length = here.chars().next().map_or(1, char::len_utf8);
                result.jump(places[rest]);
                result.text.push_str(&here[..length]);
                rest += length;
            }
        }
        (result, mistakes)
    }

    /// The byte of the file where a byte of the text comes from.
    pub(crate) fn place(&self, at: usize) -> usize {
        let index = self.jumps.partition_point(|(in_text, _)| *in_text <= at);
        match index.checked_sub(1).map(|index| self.jumps[index]) {
            Some((in_text, in_source)) => in_source + (at - in_text),
            None => 0,
        }
    }

    fn jump(&mut self, source: usize) {
        if self
            .jumps
            .last()
            .is_none_or(|(in_text, in_source)| in_source + (self.text.len() - in_text) != source)
        {
            self.jumps.push((self.text.len(), source));
        }
    }
}

fn is_variable_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// For each byte of a decoded TOML string the byte of the file that it was written as.
fn places(decoded: &str, span: &Span) -> Vec<usize> {
    let raw = span.text();
    let quotes = ["\"\"\"", "'''", "\"", "'"]
        .into_iter()
        .find(|quotes| raw.starts_with(quotes))
        .unwrap_or("");
    let mut at = quotes.len();
    if quotes.len() == 3 {
        at += ["\r\n", "\n"]
            .into_iter()
            .find(|newline| raw[at..].starts_with(newline))
            .map_or(0, str::len);
    }
    let has_escapes = quotes.starts_with('"');
    let mut places = Vec::with_capacity(decoded.len());
    for character in decoded.chars() {
        let mut rest = raw.get(at..).unwrap_or("");
        if has_escapes && quotes.len() == 3 {
            // A backslash at the end of a line swallows what is blank up to the next character.
            while let Some(after) = rest
                .strip_prefix('\\')
                .filter(|after| after.trim_start_matches([' ', '\t']).starts_with(['\n', '\r']))
            {
                rest = after.trim_start();
            }
            at = raw.len() - rest.len();
        }
        let written = match rest.strip_prefix('\\').filter(|_| has_escapes) {
            Some(escape) => {
                1 + match escape.chars().next() {
                    Some('u') => 5,
                    Some('U') => 9,
                    Some('x') => 3,
                    other => other.map_or(0, char::len_utf8),
                }
            }
            None if character == '\n' && rest.starts_with("\r\n") => 2,
            None => character.len_utf8(),
        };
        places.extend(std::iter::repeat_n(span.range.start + at, character.len_utf8()));
        if written == character.len_utf8() && !rest.starts_with('\\') {
            let first = places.len() - written;
            (0..written).for_each(|byte| places[first + byte] = span.range.start + at + byte);
        }
        at += written;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::super::source_text::SourceText;
    use super::*;

    #[test]
    fn a_byte_of_the_text_leads_back_to_what_was_written() {
        let variable = |name: &str| (name == "NAME").then(|| "much longer".to_owned());
        for (raw, decoded, text, find, written) in [
            (r#""abc""#, "abc", "abc", "b", "bc"),
            (r#""a\tb\u00e9c""#, "a\tbéc", "a\tbéc", "c", "c\""),
            ("\"\"\"\na\\\n   b\"\"\"", "ab", "ab", "b", "b\"\"\""),
            ("'''\r\na\r\nb'''", "a\nb", "a\nb", "b", "b'''"),
            (r#""a ${NAME} b""#, "a ${NAME} b", "a much longer b", "b", "b\""),
            (r#""${NONE:-x} $${b}""#, "${NONE:-x} $${b}", "x ${b}", "b", "b}\""),
        ] {
            let source = SourceText::file("p.toml", format!("k = {raw}"));
            let span = source.span(4..4 + raw.len());
            let (result, mistakes) = Text::substituted(decoded, &span, &variable);
            assert!(mistakes.is_empty(), "{raw}");
            assert_eq!(result.text, text);
            let place = result.place(text.rfind(find).unwrap());
            assert!(
                source.text()[place..].starts_with(written),
                "{raw}: {}",
                &source.text()[place..]
            );
        }
    }
}

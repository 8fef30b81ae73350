//! The answers of S3, as far as they are needed: which text is in which elements.
//!
//! No attributes, no namespaces, no document types: an S3 answer has nothing in them. Whatever else comes from outside
//! is an error, never a panic, and memory is bounded by the length of the answer times [`DEPTH_MAX`].

/// Elements within elements; S3 has four. Each text is told with the names of all that are around it, so a deep answer
/// would take far more memory than it is long.
const DEPTH_MAX: usize = 16;

/// An answer that is not what S3 answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not well-formed XML at byte {at}")]
pub(crate) struct MalformedXml {
    pub(crate) at: usize,
}

/// The texts of a document in order, each with the names of the elements around it: `("Error/Code", "NoSuchKey")`.
/// Elements that hold others, or nothing, have no text.
pub(crate) fn texts(document: &str) -> Result<Vec<(String, String)>, MalformedXml> {
    let (mut found, mut open, mut at) = (Vec::new(), Vec::<&str>::new(), 0);
    while let Some(begin) = document[at..].find('<').map(|offset| at + offset) {
        let malformed = MalformedXml { at: begin };
        let text = &document[at..begin];
        let end = document[begin..].find('>').ok_or(malformed)? + begin;
        let tag = &document[begin + 1..end];
        at = end + 1;
        if tag.starts_with('?') {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            let is_leaf = document[..begin]
                .rfind('<')
                .is_some_and(|before| !document[before..].starts_with("</"));
            if is_leaf && !text.is_empty() {
                found.push((open.join("/"), unescaped(text).ok_or(malformed)?));
            }
            if open.pop() != Some(name.trim_end()) {
                return Err(malformed);
            }
        } else if !tag.ends_with('/') {
            let name = tag.split_ascii_whitespace().next().ok_or(malformed)?;
            if open.len() == DEPTH_MAX {
                return Err(malformed);
            }
            open.push(name);
        }
    }
    if open.is_empty() {
        Ok(found)
    } else {
        Err(MalformedXml { at: document.len() })
    }
}

/// Makes `text` fit to stand between two tags.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn unescaped(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut pieces = text.split('&');
    plain.push_str(pieces.next()?);
    for piece in pieces {
        let (entity, rest) = piece.split_once(';')?;
        plain.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            number => {
                let number = number.strip_prefix('#')?;
                let code = match number.strip_prefix(['x', 'X']) {
                    Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                    None => number.parse().ok()?,
                };
                char::from_u32(code)?
            }
        });
        plain.push_str(rest);
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_with_their_elements() {
        let document = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<List xmlns=\"http://x/\"><IsTruncated>false</IsTruncated>\
            <Marker/><Empty></Empty>\n <Contents><Key>a/&lt;b&gt;&amp;&#38;&#x5a;</Key><Size>7</Size></Contents></List>";
        let expected = [
            ("List/IsTruncated", "false"),
            ("List/Contents/Key", "a/<b>&&Z"),
            ("List/Contents/Size", "7"),
        ];
        let found = texts(document).unwrap();
        assert_eq!(
            found
                .iter()
                .map(|(path, text)| (path.as_str(), text.as_str()))
                .collect::<Vec<_>>(),
            expected
        );
        assert_eq!(escaped("\"a&b\""), "&quot;a&amp;b&quot;");
    }

    #[test]
    fn what_is_no_xml_is_an_error_and_no_panic() {
        for document in [
            "<",
            "<a>",
            "<a></b>",
            "</a>",
            "< >",
            "<a>&nope;</a>",
            "<a>&#xd800;</a>",
            "<a>&amp</a>",
            "<ä",
        ] {
            assert!(texts(document).is_err(), "{document}");
        }
        assert_eq!(texts("plain text"), Ok(vec![]));
    }

    #[test]
    fn an_answer_deeper_than_any_of_s3_is_an_error() {
        let nested = |depth: usize| format!("{}x{}", "<a>".repeat(depth), "</a>".repeat(depth));
        assert_eq!(texts(&nested(DEPTH_MAX)).map(|found| found.len()), Ok(1));
        assert!(texts(&nested(DEPTH_MAX + 1)).is_err());
    }
}

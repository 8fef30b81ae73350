//! The meaning of a string with escapes.

/// Appends the meaning of a string's text, whose escapes the scanner has checked.
pub(crate) fn unescape(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(backslash) = rest.iter().position(|byte| *byte == b'\\') {
        let (plain, escape) = rest.split_at(backslash);
        out.extend_from_slice(plain);
        let (meaning, used) = meaning(&escape[1..]);
        out.extend_from_slice(meaning.encode_utf8(&mut [0; 4]).as_bytes());
        rest = &escape[1 + used..];
    }
    out.extend_from_slice(rest);
}

/// The character that an escape stands for, and how many bytes behind the backslash it has.
fn meaning(escape: &[u8]) -> (char, usize) {
    let character = match escape.first().copied() {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => {
            let unit = |at: usize| escape.get(at..at + 4).and_then(hex4).map_or(0, u32::from);
            let first = unit(1);
            let (code, used) = if (0xd800..0xdc00).contains(&first) {
                let second = unit(7).saturating_sub(0xdc00);
                (0x10000 + ((first - 0xd800) << 10) + second, 11)
            } else {
                (first, 5)
            };
            return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), used);
        }
        Some(other) => char::from(other),
        None => return (char::REPLACEMENT_CHARACTER, 0),
    };
    (character, 1)
}

/// The value of four hexadecimal digits.
pub(super) fn hex4(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0u16, |value, digit| {
        Some(value << 4 | char::from(*digit).to_digit(16)? as u16)
    })
}

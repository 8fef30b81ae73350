//! A strict JSON scanner (RFC 8259): says where values begin and end, and builds none of them.
//!
//! It reads eight bytes at a time where that pays: in strings, keys and digits, and finds the strings' ends through
//! [`Quotes`] where a record is plain. Everything it passes over is checked, also what nobody asked for: a record is
//! either JSON to its last byte or malformed.

use super::quotes::Quotes;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// A value as it stands in the text; strings without their quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RawValue {
    Missing,
    Null,
    Bool(bool),
    Number {
        start: usize,
        end: usize,
        is_integer: bool,
    },
    String {
        start: usize,
        end: usize,
        has_escapes: bool,
    },
    Object {
        start: usize,
    },
    Array {
        start: usize,
    },
}

/// Where the text stops being JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScanError {
    Unexpected { position: usize, expected: &'static str },
    TooDeep { position: usize },
}

type Scan<T> = Result<T, ScanError>;

/// Reads forward through a text that is known to be UTF-8.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    position: usize,
    depth_max: usize,
    /// The quotes of a plain record.
    quotes: Option<&'a Quotes>,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str, depth_max: usize) -> Self {
        Scanner {
            bytes: text.as_bytes(),
            position: 0,
            depth_max,
            quotes: None,
        }
    }

    /// As [`new`](Self::new), with the quotes of this text.
    pub(crate) fn with_quotes(text: &'a str, depth_max: usize, quotes: &'a Quotes) -> Self {
        Scanner {
            quotes: quotes.is_plain().then_some(quotes),
            ..Scanner::new(text, depth_max)
        }
    }

    pub(crate) fn position(&self) -> usize {
        self.position
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    #[inline]
    pub(crate) fn skip_space(&mut self) {
        // Most records have no space at all, or one.
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.position += 1;
        }
    }

    #[inline]
    pub(crate) fn expect(&mut self, byte: u8, expected: &'static str) -> Scan<()> {
        if self.peek() == Some(byte) {
            self.position += 1;
            return Ok(());
        }
        Err(self.unexpected(expected))
    }

    /// Passes over exactly these bytes, if they are next.
    #[inline]
    pub(crate) fn eat(&mut self, bytes: &[u8]) -> bool {
        let end = self.position + bytes.len();
        let is_next = self.bytes.get(self.position..end).is_some_and(|next| same(next, bytes));
        if is_next {
            self.position = end;
        }
        is_next
    }

    /// Nothing but space may follow.
    pub(crate) fn end(&mut self) -> Scan<()> {
        self.skip_space();
        if self.position == self.bytes.len() {
            Ok(())
        } else {
            Err(self.unexpected("the end of the record"))
        }
    }

    #[cold]
    pub(crate) fn unexpected(&self, expected: &'static str) -> ScanError {
        ScanError::Unexpected {
            position: self.position,
            expected,
        }
    }

    /// A string, from its opening quote to behind its closing one.
    #[inline]
    pub(crate) fn string(&mut self) -> Scan<RawValue> {
        self.expect(b'"', "a string")?;
        let start = self.position;
        let mut has_escapes = false;
        loop {
            self.skip_plain();
            match self.peek() {
                Some(b'"') => {
                    let end = self.position;
                    self.position += 1;
                    return Ok(RawValue::String {
                        start,
                        end,
                        has_escapes,
                    });
                }
                Some(b'\\') => {
                    has_escapes = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.unexpected("no control character in a string")),
                None => return Err(self.unexpected("the string's closing quote")),
            }
        }
    }

    /// Moves to the next quote, backslash or control character.
    #[inline]
    fn skip_plain(&mut self) {
        match self.quotes {
            Some(quotes) => self.position = quotes.next(self.position).unwrap_or(self.bytes.len()),
            None => self.skip_words(),
        }
    }

    fn skip_words(&mut self) {
        let mut rest = &self.bytes[self.position..];
        while let Some((chunk, after)) = rest.split_first_chunk::<8>() {
            // The lowest marked byte is exact: a subtraction borrows only from bytes above one that is marked itself.
            let word = u64::from_le_bytes(*chunk);
            let quote = word ^ (ONES * b'"' as u64);
            let backslash = word ^ (ONES * b'\\' as u64);
            let marks = ((quote.wrapping_sub(ONES) & !quote)
                | (backslash.wrapping_sub(ONES) & !backslash)
                | (word.wrapping_sub(ONES * 0x20) & !word))
                & HIGHS;
            if marks != 0 {
                self.position = self.bytes.len() - rest.len() + (marks.trailing_zeros() / 8) as usize;
                return;
            }
            rest = after;
        }
        let plain = rest
            .iter()
            .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))
            .unwrap_or(rest.len());
        self.position = self.bytes.len() - rest.len() + plain;
    }

    #[cold]
    fn escape(&mut self) -> Scan<()> {
        self.position += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.position += 1,
            Some(b'u') => {
                let first = self.hex_escape()?;
                match first {
                    0xd800..0xdc00 => {
                        if self.bytes.get(self.position) != Some(&b'\\') {
                            return Err(self.unexpected("the second half of a surrogate pair"));
                        }
                        self.position += 1;
                        if self.peek() != Some(b'u') || !(0xdc00..0xe000).contains(&self.hex_escape()?) {
                            return Err(self.unexpected("the second half of a surrogate pair"));
                        }
                    }
                    0xdc00..0xe000 => return Err(self.unexpected("the first half of a surrogate pair before this")),
                    _ => {}
                }
            }
            _ => return Err(self.unexpected("an escape")),
        }
        Ok(())
    }

    fn hex_escape(&mut self) -> Scan<u16> {
        self.position += 1;
        let digits = self.bytes.get(self.position..self.position + 4);
        let value = digits
            .and_then(hex4)
            .ok_or_else(|| self.unexpected("four hexadecimal digits"))?;
        self.position += 4;
        Ok(value)
    }

    /// Any value. Objects and lists are passed over; what is in them is checked.
    #[inline]
    pub(crate) fn value(&mut self) -> Scan<RawValue> {
        let start = self.position;
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'{') => self.nested().map(|()| RawValue::Object { start }),
            Some(b'[') => self.nested().map(|()| RawValue::Array { start }),
            Some(b't') if self.eat(b"true") => Ok(RawValue::Bool(true)),
            Some(b'f') if self.eat(b"false") => Ok(RawValue::Bool(false)),
            Some(b'n') if self.eat(b"null") => Ok(RawValue::Null),
            _ => Err(self.unexpected("a value")),
        }
    }

    #[inline]
    pub(crate) fn number(&mut self) -> Scan<RawValue> {
        let start = self.position;
        if self.peek() == Some(b'-') {
            self.position += 1;
        }
        match self.peek() {
            Some(b'0') => self.position += 1,
            Some(b'1'..=b'9') => self.skip_digits(),
            _ => return Err(self.unexpected("a digit")),
        }
        let mut is_integer = true;
        if self.peek() == Some(b'.') {
            is_integer = false;
            self.position += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            is_integer = false;
            self.position += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.position += 1;
            }
            self.digits()?;
        }
        Ok(RawValue::Number {
            start,
            end: self.position,
            is_integer,
        })
    }

    fn digits(&mut self) -> Scan<()> {
        let start = self.position;
        self.skip_digits();
        if self.position == start {
            Err(self.unexpected("a digit"))
        } else {
            Ok(())
        }
    }

    #[inline]
    fn skip_digits(&mut self) {
        let mut rest = &self.bytes[self.position..];
        while let Some((chunk, after)) = rest.split_first_chunk::<8>() {
            // As in `skip_words`, the lowest marked byte is exact: only a byte that is marked itself carries.
            let word = u64::from_le_bytes(*chunk) ^ (ONES * b'0' as u64);
            let marks = (word.wrapping_add(ONES * (0x80 - 10)) | word) & HIGHS;
            if marks != 0 {
                self.position = self.bytes.len() - rest.len() + (marks.trailing_zeros() / 8) as usize;
                return;
            }
            rest = after;
        }
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.position = self.bytes.len() - rest.len() + digits;
    }

    /// An object or a list, with a stack of one bit per level instead of recursion.
    fn nested(&mut self) -> Scan<()> {
        let mut levels = Levels::default();
        loop {
            // At the opening bracket of a container.
            let is_object = self.peek() == Some(b'{');
            if levels.depth + 1 >= self.depth_max.min(Levels::MAX) {
                return Err(ScanError::TooDeep {
                    position: self.position,
                });
            }
            self.position += 1;
            levels.push(is_object);
            self.skip_space();
            if self.peek() == Some(if is_object { b'}' } else { b']' }) {
                if !self.close(&mut levels)? {
                    return Ok(());
                }
            } else if is_object {
                self.key()?;
            }
            // At a value; scalars are passed over until the next container opens.
            loop {
                match self.peek() {
                    Some(b'{' | b'[') => break,
                    Some(b'"') => drop(self.string()?),
                    Some(b'-' | b'0'..=b'9') => drop(self.number()?),
                    Some(b't') if self.eat(b"true") => {}
                    Some(b'f') if self.eat(b"false") => {}
                    Some(b'n') if self.eat(b"null") => {}
                    _ => return Err(self.unexpected("a value")),
                }
                if !self.after_value(&mut levels)? {
                    return Ok(());
                }
            }
        }
    }

    fn key(&mut self) -> Scan<()> {
        self.string()?;
        self.skip_space();
        self.expect(b':', "`:`")?;
        self.skip_space();
        Ok(())
    }

    /// Closes the innermost container and moves on to the next value; false if it was the outermost.
    fn close(&mut self, levels: &mut Levels) -> Scan<bool> {
        self.position += 1;
        levels.pop();
        if levels.depth == 0 {
            Ok(false)
        } else {
            self.after_value(levels)
        }
    }

    /// Behind a value in a container: moves to the next value; false if the outermost container closed.
    fn after_value(&mut self, levels: &mut Levels) -> Scan<bool> {
        loop {
            self.skip_space();
            let is_object = levels.is_object();
            match (self.peek(), is_object) {
                (Some(b','), true) => {
                    self.position += 1;
                    self.skip_space();
                    self.key()?;
                    return Ok(true);
                }
                (Some(b','), false) => {
                    self.position += 1;
                    self.skip_space();
                    return Ok(true);
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    self.position += 1;
                    levels.pop();
                    if levels.depth == 0 {
                        return Ok(false);
                    }
                }
                (_, true) => return Err(self.unexpected("`,` or `}`")),
                (_, false) => return Err(self.unexpected("`,` or `]`")),
            }
        }
    }
}

/// Whether two texts of one length are the same: for keys, which are too short for a call of `memcmp` to pay.
#[inline]
fn same(one: &[u8], other: &[u8]) -> bool {
    let (Some((one_last, other_last)), true) = (one.last_chunk::<8>().zip(other.last_chunk::<8>()), one.len() <= 32)
    else {
        return one == other;
    };
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let chunks = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0);
    // The last eight bytes may overlap the chunk before.
    word(one_last) == word(other_last) && chunks.into_iter().all(|(one, other)| word(one) == word(other))
}

/// Which of the open containers are objects: one bit each.
#[derive(Debug, Default)]
struct Levels {
    objects: u128,
    depth: usize,
}

impl Levels {
    const MAX: usize = 128;

    fn push(&mut self, is_object: bool) {
        self.objects = self.objects << 1 | u128::from(is_object);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.objects >>= 1;
        self.depth -= 1;
    }

    fn is_object(&self) -> bool {
        self.objects & 1 == 1
    }
}

/// Appends the meaning of a string's text, whose escapes the scanner has checked.
pub(crate) fn unescape(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(backslash) = rest.find('\\') {
        out.push_str(&rest[..backslash]);
        let escape = &rest[backslash + 1..];
        let mut used = 2;
        out.push(match escape.as_bytes()[0] {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = |at: usize| escape.as_bytes().get(at..at + 4).and_then(hex4).map_or(0, u32::from);
                let first = unit(1);
                used = 6;
                let code = if (0xd800..0xdc00).contains(&first) {
                    used = 12;
                    0x10000 + ((first - 0xd800) << 10) + unit(7).wrapping_sub(0xdc00)
                } else {
                    first
                };
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            other => char::from(other),
        });
        rest = &rest[backslash + used..];
    }
    out.push_str(rest);
}

fn hex4(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0u16, |value, digit| {
        Some(value << 4 | char::from(*digit).to_digit(16)? as u16)
    })
}

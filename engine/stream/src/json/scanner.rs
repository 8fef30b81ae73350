//! A strict JSON scanner (RFC 8259): says where values begin and end, and builds none of them.
//!
//! It reads eight bytes at a time where that pays, in strings and digits, and finds the strings' ends through [`Quotes`]
//! where a record is plain. Everything it passes over is checked, also what nobody asked for: a record is either JSON to
//! its last byte or malformed.

use super::escape::hex4;
use super::quotes::Quotes;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// A value as it stands in the text; strings without their quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RawValue {
    Missing,
    Null,
    Bool(bool),
    /// An integer whose value is known already.
    Integer(i64),
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

pub(super) type Scan<T> = Result<T, ScanError>;

/// Reads forward through bytes that are known to be UTF-8.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) position: usize,
    pub(super) depth_max: usize,
    /// The quotes of a plain record.
    quotes: Option<&'a Quotes>,
}

/// The first position from here on that is no white space.
#[inline]
pub(crate) fn behind_space(bytes: &[u8], mut position: usize) -> usize {
    // Most records have no space at all, or one.
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(position) {
        position += 1;
    }
    position
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8], depth_max: usize) -> Self {
        Scanner {
            bytes,
            position: 0,
            depth_max,
            quotes: None,
        }
    }

    /// Reads on in the middle of a record, whose quotes are known.
    pub(crate) fn within(bytes: &'a [u8], position: usize, depth_max: usize, quotes: &'a Quotes) -> Self {
        Scanner {
            position,
            quotes: quotes.is_plain().then_some(quotes),
            ..Scanner::new(bytes, depth_max)
        }
    }

    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// What has not been read yet.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    #[inline]
    pub(crate) fn skip_space(&mut self) {
        self.position = behind_space(self.bytes, self.position);
    }

    #[inline]
    pub(crate) fn expect(&mut self, byte: u8, expected: &'static str) -> Scan<()> {
        if self.peek() == Some(byte) {
            self.position += 1;
            return Ok(());
        }
        Err(self.unexpected(expected))
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

    /// Any value. Objects and lists are passed over; what is in them is checked.
    #[inline]
    pub(crate) fn value(&mut self) -> Scan<RawValue> {
        let start = self.position;
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'{') => self.nested().map(|()| RawValue::Object { start }),
            Some(b'[') => self.nested().map(|()| RawValue::Array { start }),
            _ => self.literal(),
        }
    }

    /// `true`, `false` or `null`.
    pub(super) fn literal(&mut self) -> Scan<RawValue> {
        let rest = self.rest();
        let literals = [
            (&b"true"[..], RawValue::Bool(true)),
            (b"false", RawValue::Bool(false)),
            (b"null", RawValue::Null),
        ];
        let Some((text, value)) = literals.into_iter().find(|(text, _)| rest.starts_with(text)) else {
            return Err(self.unexpected("a value"));
        };
        self.position += text.len();
        Ok(value)
    }

    /// A string, from its opening quote to behind its closing one.
    #[inline]
    pub(crate) fn string(&mut self) -> Scan<RawValue> {
        self.expect(b'"', "a string")?;
        let Some(quotes) = self.quotes else {
            return self.string_by_words();
        };
        let start = self.position;
        let Some(end) = quotes.next(start) else {
            self.position = self.bytes.len();
            return Err(self.unexpected("the string's closing quote"));
        };
        self.position = end + 1;
        Ok(RawValue::String {
            start,
            end,
            has_escapes: false,
        })
    }

    fn string_by_words(&mut self) -> Scan<RawValue> {
        let start = self.position;
        let mut has_escapes = false;
        loop {
            self.skip_words();
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
    fn skip_words(&mut self) {
        let mut rest = self.rest();
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
                        if self.peek() != Some(b'\\') {
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
        let digits = self.rest().first_chunk::<4>();
        let value = digits
            .and_then(|digits| hex4(digits))
            .ok_or_else(|| self.unexpected("four hexadecimal digits"))?;
        self.position += 4;
        Ok(value)
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
        let is_integer = !matches!(self.peek(), Some(b'.' | b'e' | b'E'));
        if !is_integer {
            self.fraction_and_exponent()?;
        }
        Ok(RawValue::Number {
            start,
            end: self.position,
            is_integer,
        })
    }

    fn fraction_and_exponent(&mut self) -> Scan<()> {
        if self.peek() == Some(b'.') {
            self.position += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.position += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.position += 1;
            }
            self.digits()?;
        }
        Ok(())
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
        let mut rest = self.rest();
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
}

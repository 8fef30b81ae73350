//! The keys of the records before: a key that is the expected one is compared, not read and looked up.
//!
//! Records of one topic have their keys in the same order nearly always, though some may lack a key or have one more.
//! `bench/src/bin/json.rs` shows what that brings.
//! Never here: JSON's grammar. What is remembered here was read by the scanner once.

/// At the bound a new key takes the place of the one that was expected.
const KEYS_MAX: usize = 256;
/// A longer key is read each time, not remembered.
const KEY_BYTES_MAX: usize = 256;
/// How many keys in a row a record may lack before they are looked up.
const MISSING_KEYS_MAX: usize = 8;
const WORDS: usize = 4;
const WORD_BYTES: usize = 8;

/// The keys of the records before, in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shape {
    keys: Vec<ShapeKey>,
}

/// A key as it stands in records, `"user_id":`, with its quotes and its colon.
#[derive(Debug, Clone)]
struct ShapeKey {
    text: Box<[u8]>,
    /// The text's first 32 bytes, and which bits of them count: comparing all of them costs less than a call.
    words: [u64; WORDS],
    mask: [u64; WORDS],
    wanted: Option<usize>,
}

/// A key that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its bytes, from its quote to behind its colon.
    pub(crate) length: usize,
    /// Which of the wanted keys it is.
    pub(crate) wanted: Option<usize>,
    /// Which key is expected next.
    pub(crate) next: usize,
}

impl Shape {
    /// The key that `rest` begins with, if it is the expected one or one of those behind it.
    #[inline]
    pub(crate) fn find(&self, expected: usize, rest: &[u8]) -> Option<Found> {
        match self.keys.get(expected) {
            Some(key) if key.begins(rest) => Some(key.found(expected)),
            _ => self.find_behind(expected, rest),
        }
    }

    fn find_behind(&self, expected: usize, rest: &[u8]) -> Option<Found> {
        let mut behind = self.keys.iter().enumerate().skip(expected + 1).take(MISSING_KEYS_MAX);
        let (index, key) = behind.find(|(_, key)| key.begins(rest))?;
        Some(key.found(index))
    }

    /// Remembers a key that was read where another was expected. Returns which key is expected next.
    pub(crate) fn learn(&mut self, expected: usize, text: &[u8], wanted: Option<usize>) -> usize {
        if text.len() > KEY_BYTES_MAX {
            return expected;
        }
        let key = ShapeKey::new(text, wanted);
        let at = expected.min(self.keys.len());
        if self.keys.len() < KEYS_MAX {
            self.keys.insert(at, key);
        } else if let Some(forgotten) = self.keys.get_mut(at) {
            *forgotten = key;
        }
        at + 1
    }
}

impl ShapeKey {
    fn new(text: &[u8], wanted: Option<usize>) -> ShapeKey {
        let mut bytes = [0; WORDS * WORD_BYTES];
        let mut marks = [0; WORDS * WORD_BYTES];
        for ((byte, mark), from) in bytes.iter_mut().zip(&mut marks).zip(text) {
            (*byte, *mark) = (*from, u8::MAX);
        }
        ShapeKey {
            words: words(&bytes),
            mask: words(&marks),
            text: text.into(),
            wanted,
        }
    }

    #[inline]
    fn found(&self, index: usize) -> Found {
        Found {
            length: self.text.len(),
            wanted: self.wanted,
            next: index + 1,
        }
    }

    #[inline]
    fn begins(&self, rest: &[u8]) -> bool {
        let Some(first) = rest.first_chunk().filter(|_| self.text.len() <= WORDS * WORD_BYTES) else {
            return rest.starts_with(&self.text);
        };
        let first = words(first);
        let differences = (0..WORDS).fold(0, |differences, word| {
            differences | ((first[word] ^ self.words[word]) & self.mask[word])
        });
        differences == 0
    }
}

#[inline]
fn words(bytes: &[u8; WORDS * WORD_BYTES]) -> [u64; WORDS] {
    let chunks = bytes.as_chunks::<WORD_BYTES>().0;
    std::array::from_fn(|word| u64::from_le_bytes(chunks[word]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_whatever_follows_and_every_other_byte_in_it_is_noticed() {
        for length in [1, 7, 8, 31, 32, 33, 64, KEY_BYTES_MAX] {
            let text: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
            let mut shape = Shape::default();
            assert_eq!(shape.learn(0, &text, Some(3)), 1);
            for behind in [0, 1, 40] {
                let record = [text.as_slice(), &vec![0xff; behind]].concat();
                let found = Found {
                    length,
                    wanted: Some(3),
                    next: 1,
                };
                assert_eq!(shape.find(0, &record), Some(found), "{length} and {behind}");
                for position in 0..length {
                    let mut other = record.clone();
                    other[position] ^= 1;
                    assert_eq!(shape.find(0, &other), None, "{length} and {behind}, byte {position}");
                }
            }
            assert_eq!(shape.find(0, &text[..length - 1]), None);
        }
    }

    #[test]
    fn a_missing_key_is_passed_over_and_a_new_one_is_put_in() {
        let mut shape = Shape::default();
        for (at, text) in [b"a", b"b", b"c"].into_iter().enumerate() {
            shape.learn(at, text, Some(at));
        }
        let find =
            |shape: &Shape, expected, text: &[u8]| shape.find(expected, text).map(|found| (found.wanted, found.next));
        assert_eq!(find(&shape, 1, b"c"), Some((Some(2), 3)));
        assert_eq!(find(&shape, 1, b"x"), None);
        assert_eq!(shape.learn(1, b"x", None), 2);
        assert_eq!(find(&shape, 0, b"a"), Some((Some(0), 1)));
        assert_eq!(find(&shape, 1, b"x"), Some((None, 2)));
        assert_eq!(find(&shape, 1, b"b"), Some((Some(1), 3)), "a record without x");
    }

    #[test]
    fn memory_is_bounded() {
        let mut shape = Shape::default();
        assert_eq!(shape.learn(0, &[b'x'; KEY_BYTES_MAX + 1], None), 0);
        for number in 0..2 * KEYS_MAX {
            shape.learn(number, number.to_string().as_bytes(), None);
        }
        shape.learn(0, b"new", None);
        assert_eq!(shape.keys.len(), KEYS_MAX);
        assert!(shape.find(0, b"new").is_some());
    }
}

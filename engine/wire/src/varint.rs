//! Variable-length integers, as Kafka writes them.
//!
//! Written by hand because they are read several times per record: the one-byte case is a single
//! compare, and every function works on a slice so that a record costs few bounds checks.
//! Never here: the meaning of the numbers.

/// The longest encoding of a 32-bit value.
pub const VARINT_BYTES_MAX: usize = 5;
/// The longest encoding of a 64-bit value.
pub const VARLONG_BYTES_MAX: usize = 10;

/// Takes an unsigned 32-bit varint off the front of `input`.
///
/// `None` if it is truncated, longer than five bytes, or does not fit into 32 bits.
#[inline]
#[must_use]
pub fn take_u32(input: &mut &[u8]) -> Option<u32> {
    take::<VARINT_BYTES_MAX, 0x0f>(input).map(|value| value as u32)
}

/// Takes an unsigned 64-bit varint off the front of `input`.
///
/// `None` if it is truncated, longer than ten bytes, or does not fit into 64 bits.
#[inline]
#[must_use]
pub fn take_u64(input: &mut &[u8]) -> Option<u64> {
    take::<VARLONG_BYTES_MAX, 0x01>(input)
}

/// A varint of at most `BYTES_MAX` bytes, of which the last is at most `LAST_MAX`.
#[inline]
fn take<const BYTES_MAX: usize, const LAST_MAX: u8>(input: &mut &[u8]) -> Option<u64> {
    // One byte and two are nearly all that a record has.
    match **input {
        [first, ref rest @ ..] if first < 0x80 => {
            *input = rest;
            Some(u64::from(first))
        }
        [first, second, ref rest @ ..] if second < 0x80 => {
            *input = rest;
            Some(u64::from(first & 0x7f) | u64::from(second) << 7)
        }
        _ => take_long(input, BYTES_MAX, LAST_MAX),
    }
}

fn take_long(input: &mut &[u8], bytes_max: usize, last_max: u8) -> Option<u64> {
    let mut value = 0u64;
    for (index, &byte) in input.iter().take(bytes_max).enumerate() {
        if index == bytes_max - 1 && byte > last_max {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (index * 7);
        if byte < 0x80 {
            *input = &input[index + 1..];
            return Some(value);
        }
    }
    None
}

/// Takes a zigzag 32-bit varint off the front of `input`; `None` as in [`take_u32`].
#[inline]
#[must_use]
pub fn take_i32(input: &mut &[u8]) -> Option<i32> {
    let raw = take_u32(input)?;
    Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// Takes a zigzag 64-bit varint off the front of `input`; `None` as in [`take_u64`].
#[inline]
#[must_use]
pub fn take_i64(input: &mut &[u8]) -> Option<i64> {
    let raw = take_u64(input)?;
    Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

/// The zigzag form of `value`: small magnitudes of either sign become small numbers.
#[inline]
#[must_use]
pub const fn zigzag_i32(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)) as u32
}

/// The zigzag form of `value`: small magnitudes of either sign become small numbers.
#[inline]
#[must_use]
pub const fn zigzag_i64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// How many bytes `value` takes as an unsigned varint.
#[inline]
#[must_use]
pub const fn size_u32(value: u32) -> usize {
    size_u64(value as u64)
}

/// How many bytes `value` takes as an unsigned varint.
#[inline]
#[must_use]
pub const fn size_u64(value: u64) -> usize {
    // One byte per started group of seven bits; zero takes one byte.
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// How many bytes `value` takes as a zigzag varint.
#[inline]
#[must_use]
pub const fn size_i32(value: i32) -> usize {
    size_u32(zigzag_i32(value))
}

/// How many bytes `value` takes as a zigzag varint.
#[inline]
#[must_use]
pub const fn size_i64(value: i64) -> usize {
    size_u64(zigzag_i64(value))
}

/// Writes `value` as an unsigned varint at `at` and returns the position after it.
///
/// The caller sized the buffer: this panics if it is too small.
#[inline]
#[must_use]
pub fn write_u64(output: &mut [u8], mut at: usize, mut value: u64) -> usize {
    while value >= 0x80 {
        output[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    output[at] = value as u8;
    at + 1
}

/// Writes `value` as a zigzag varint at `at` and returns the position after it.
#[inline]
#[must_use]
pub fn write_i32(output: &mut [u8], at: usize, value: i32) -> usize {
    write_u64(output, at, u64::from(zigzag_i32(value)))
}

/// Writes `value` as a zigzag varint at `at` and returns the position after it.
#[inline]
#[must_use]
pub fn write_i64(output: &mut [u8], at: usize, value: i64) -> usize {
    write_u64(output, at, zigzag_i64(value))
}

/// Appends `value` as an unsigned varint.
#[inline]
pub fn put_u32(output: &mut Vec<u8>, value: u32) {
    put_u64(output, u64::from(value));
}

/// Appends `value` as an unsigned varint.
pub fn put_u64(output: &mut Vec<u8>, value: u64) {
    let mut buffer = [0; VARLONG_BYTES_MAX];
    let end = write_u64(&mut buffer, 0, value);
    output.extend_from_slice(&buffer[..end]);
}

/// Appends `value` as a zigzag varint.
#[inline]
pub fn put_i32(output: &mut Vec<u8>, value: i32) {
    put_u32(output, zigzag_i32(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zigzag_varint_is_read_at_its_edges() {
        for (bytes, value) in [
            (&[0x00][..], Some(0)),
            (&[0x01], Some(-1)),
            (&[0x02], Some(1)),
            (&[0x7e], Some(63)),
            (&[0x7f], Some(-64)),
            (&[0x80, 0x01], Some(64)),
            (&[0xfe, 0xff, 0xff, 0xff, 0x0f], Some(i32::MAX)),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], Some(i32::MIN)),
            (&[0x80, 0x00], Some(0)), // Overlong, but Java reads it too.
            (&[], None),
            (&[0x80], None),                               // Truncated.
            (&[0xff, 0xff, 0xff, 0xff, 0x10], None),       // 33 bits.
            (&[0xff, 0xff, 0xff, 0xff, 0x8f, 0x00], None), // Six bytes.
        ] {
            let mut rest = bytes;
            assert_eq!(take_i32(&mut rest), value, "{bytes:02x?}");
            if value.is_some() {
                assert!(rest.is_empty(), "{bytes:02x?}");
            }
        }
    }

    #[test]
    fn a_zigzag_varlong_is_read_at_its_edges() {
        let max = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        let min = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        let over = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        for (bytes, value) in [
            (&[0x00][..], Some(0)),
            (&[0x01], Some(-1)),
            (&[0x80, 0x80, 0x80, 0x80, 0x20], Some(1 << 32)),
            (&max, Some(i64::MAX)),
            (&min, Some(i64::MIN)),
            (&over, None),
            (&[0x80; 11], None),
            (&[0x80], None),
        ] {
            assert_eq!(take_i64(&mut { bytes }), value, "{bytes:02x?}");
        }
    }

    #[test]
    fn what_is_written_has_the_announced_size_and_reads_back() {
        let mut values = vec![0i64, i64::MIN, i64::MAX];
        for bit in 0..63 {
            values.extend([(1 << bit) - 1, 1 << bit, -(1 << bit), -(1 << bit) - 1]);
        }
        for value in values {
            let mut buffer = [0; VARLONG_BYTES_MAX];
            let end = write_i64(&mut buffer, 0, value);
            assert_eq!(end, size_i64(value), "{value}");
            assert_eq!(take_i64(&mut &buffer[..end]), Some(value));
            let value = value as i32;
            let end = write_i32(&mut buffer, 0, value);
            assert_eq!(end, size_i32(value), "{value}");
            assert_eq!(take_i32(&mut &buffer[..end]), Some(value));
        }
    }
}

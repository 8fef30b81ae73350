//! Records, as peers and the test program tell each other of them: JSON, with bytes in hexadecimal.

use std::fmt::Write;

use protocol_tests::owned_record::OwnedRecord;
use serde_json::{Value, json};

/// A record and its partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) partition: i32,
    pub(crate) record: OwnedRecord,
}

pub(crate) const FIRST_TIMESTAMP: i64 = 1_700_000_000_000;

pub(crate) fn record(number: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> OwnedRecord {
    OwnedRecord {
        offset: 0,
        timestamp: FIRST_TIMESTAMP + 1_000 * number,
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        headers: Vec::new(),
    }
}

/// Everything that a record can be: null, empty, binary and long keys and values, timestamps that go back and far apart,
/// headers twice and without values.
pub(crate) fn of_every_kind() -> Vec<OwnedRecord> {
    let binary: Vec<u8> = (0..=255).collect();
    let long = b"a long line that compresses well; ".repeat(300);
    let mut records = vec![
        record(0, Some(b"key"), Some(b"value")),
        record(1, None, Some(b"without a key")),
        record(2, Some(b"tombstone"), None),
        record(3, None, None),
        record(4, Some(b""), Some(b"")),
        record(5, Some(b"empty value"), Some(b"")),
        record(6, Some(&binary), Some(&binary)),
        record(7, Some("clé ключ 鍵".as_bytes()), Some("värde 値 🦀".as_bytes())),
        record(8, Some(b"long"), Some(&long)),
        record(-3_000_000, Some(b"a month earlier"), Some(b"x")),
        record(3_000_000, Some(b"a month later"), Some(b"y")),
    ];
    let mut with_headers = record(9, Some(b"headers"), Some(b"z"));
    with_headers.headers = vec![
        (b"trace".to_vec(), Some(b"one".to_vec())),
        (b"trace".to_vec(), Some(b"two".to_vec())),
        (b"null".to_vec(), None),
        (b"empty".to_vec(), Some(Vec::new())),
        (b"".to_vec(), Some(b"under an empty name".to_vec())),
        (b"binary".to_vec(), Some(binary.clone())),
        ("größe".as_bytes().to_vec(), Some(b"12".to_vec())),
    ];
    records.push(with_headers);
    records.extend((10..70).map(|number| {
        let value = format!(r#"{{"event":{number},"page":"/articles/{}"}}"#, number * 7919 % 101);
        record(
            number,
            Some(format!("user-{}", number % 7).as_bytes()),
            Some(value.as_bytes()),
        )
    }));
    records
}

/// Records that make a batch of several blocks of every codec; half of what they hold is random.
pub(crate) fn of_more_than_a_megabyte() -> Vec<OwnedRecord> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    let large = (0..12).map(|number| {
        let mut value = Vec::new();
        while value.len() < 120_000 {
            value.extend(std::iter::repeat_with(&mut random).take(40));
            value.extend_from_slice(b"forty bytes that are the same every time");
        }
        record(number, Some(b"large"), Some(&value))
    });
    large.collect()
}

/// A request's form of a record.
pub(crate) fn to_json(record: &OwnedRecord, partition: Option<i32>) -> Value {
    let headers: Vec<Value> = record
        .headers
        .iter()
        .map(|(key, value)| json!([hex(key), value.as_deref().map(hex)]))
        .collect();
    json!({
        "partition": partition,
        "timestamp": record.timestamp,
        "key": record.key.as_deref().map(hex),
        "value": record.value.as_deref().map(hex),
        "headers": headers,
    })
}

/// What a peer has read; `None` if the answer is not of the form that was agreed on.
pub(crate) fn from_json(json: &Value) -> Option<Placed> {
    let headers = json["headers"].as_array()?.iter().map(|header| {
        let key = unhex(header[0].as_str()?)?;
        Some((key, bytes_or_null(&header[1])?))
    });
    Some(Placed {
        partition: json["partition"].as_i64()?.try_into().ok()?,
        record: OwnedRecord {
            offset: json["offset"].as_i64()?,
            timestamp: json["timestamp"].as_i64()?,
            key: bytes_or_null(&json["key"])?,
            value: bytes_or_null(&json["value"])?,
            headers: headers.collect::<Option<_>>()?,
        },
    })
}

fn bytes_or_null(json: &Value) -> Option<Option<Vec<u8>>> {
    match json {
        Value::Null => Some(None),
        json => Some(Some(unhex(json.as_str()?)?)),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?))
        .collect()
}

/// The first difference in words, short enough for a table.
pub(crate) fn compare(expected: &[OwnedRecord], read: &[Placed]) -> Result<(), String> {
    let read_count = read.len();
    for (at, (expected, read)) in expected.iter().zip(read).enumerate() {
        let (read, offset) = (&read.record, read.record.offset);
        let fields = [
            (
                "timestamp",
                format!("{:?}", expected.timestamp),
                format!("{:?}", read.timestamp),
            ),
            ("key", format!("{:?}", expected.key), format!("{:?}", read.key)),
            ("value", format!("{:?}", expected.value), format!("{:?}", read.value)),
            (
                "headers",
                format!("{:?}", expected.headers),
                format!("{:?}", read.headers),
            ),
        ];
        for (field, expected, read) in fields {
            if expected != read {
                let (expected, read) = (shortened(&expected), shortened(&read));
                return Err(format!(
                    "record {at} of {read_count} at offset {offset}: {field} {read} was read for {expected}"
                ));
            }
        }
    }
    if expected.len() != read.len() {
        return Err(format!("{} records were read, not {}", read.len(), expected.len()));
    }
    let mut next_offsets = std::collections::HashMap::new();
    for Placed { partition, record } in read {
        let next = next_offsets.entry(*partition).or_insert(record.offset);
        if record.offset < *next {
            return Err(format!("offset {} was read after {}", record.offset, *next - 1));
        }
        *next = record.offset + 1;
    }
    Ok(())
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

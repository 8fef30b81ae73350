//! Records that somebody else wrote, checksums and all: an error or a state, never a panic, which would abort the process at
//! every start.

use super::*;
use crate::checkpoint::claim::Claim;
use crate::checkpoint::manifest::StagedTable;

/// Where a piece says what it holds: behind its checksum.
const PIECE_CHECKED_FROM: usize = 8;

/// Numbers at the edges of those that a record has.
const EDGES: [&str; 9] = [
    "0",
    "-1",
    "4294967295",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551614",
    "18446744073709551615",
    "1e300",
    "99999999999999999999999",
];

/// A claim, a segment that compresses, one that does not, and a manifest with all that one can have.
fn log() -> Records {
    let claim = Claim {
        now_ms: 7,
        is_confirmed: true,
    };
    let mut log = vec![(
        StateKey::Claim(OwnerEpoch(2)).to_string(),
        claim.to_string().into_bytes(),
    )];
    let mut owner = Owner::new(2);
    log.extend(owner.checkpoint(3, &[5; 300], true));
    log.pop();
    log.extend(owner.checkpoint(4, b"changes", false));
    let (key, value) = log.pop().unwrap();
    let mut manifest = Manifest::decode(&value).unwrap();
    manifest.sources[0].watermark_ns = Some(9);
    manifest.sources[0].partitions[0].leader_epoch = Some(1);
    manifest.lake.push(StagedTable {
        sink: "lake".into(),
        staged: "x".into(),
    });
    log.push((key, manifest.encode()));
    log
}

/// All that a takeover asks of the topic.
fn read(log: &[(String, Vec<u8>)], forged: usize, key: &[u8], value: Option<&[u8]>) -> Result<bool, StateTableError> {
    let mut table = StateTable::default();
    for (position, (whole_key, whole)) in log.iter().enumerate() {
        let (key, value) = if position == forged {
            (key, value)
        } else {
            (whole_key.as_bytes(), Some(&whole[..]))
        };
        table.apply(position as i64, Some(key), value)?;
    }
    let owner_epoch = table.next_owner_epoch();
    assert!(table.confirmed() < owner_epoch, "nobody ever wrote under it");
    let keys = table.keys_before(owner_epoch);
    assert!(keys.iter().all(|key| key.owner_epoch() < owner_epoch));
    let Some(restored) = table.restore()? else {
        return Ok(false);
    };
    let manifest = &restored.manifest;
    assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), *manifest);
    assert!(manifest.checkpoint < manifest.checkpoint.next());
    Ok(true)
}

/// How many forgeries were refused, and how many were taken for a state.
#[derive(Debug, Default)]
struct Outcomes {
    refused: usize,
    read: usize,
}

impl Outcomes {
    fn count(&mut self, outcome: Result<bool, StateTableError>) {
        match outcome {
            Ok(_) => self.read += 1,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                self.refused += 1;
            }
        }
    }
}

/// Makes the checksum of a piece right.
fn sealed(mut piece: Vec<u8>) -> Vec<u8> {
    if let Some(content) = piece.get(PIECE_CHECKED_FROM..) {
        let checksum = crc32c::crc32c(content).to_le_bytes();
        piece[PIECE_CHECKED_FROM - 4..PIECE_CHECKED_FROM].copy_from_slice(&checksum);
    }
    piece
}

#[test]
fn every_byte_of_every_record_may_be_any_other_and_every_record_may_be_cut_off_or_gone() {
    let mut former_log = former(3, 7, &[b"of checkpoint ", b"seven"]);
    former_log.insert(0, log().remove(0));
    for log in [log(), former_log] {
        let mut outcomes = Outcomes::default();
        for (position, (key, value)) in log.iter().enumerate() {
            outcomes.count(read(&log, position, key.as_bytes(), None));
            for at in 0..key.len() {
                for forged in [0, b'/', b'0', b'9', b'-', 0xff, key.as_bytes()[at] ^ 1] {
                    let mut key = key.clone().into_bytes();
                    key[at] = forged;
                    outcomes.count(read(&log, position, &key, Some(value)));
                }
                outcomes.count(read(&log, position, &key.as_bytes()[..at], Some(value)));
            }
            for at in 0..value.len() {
                for forged in [
                    0,
                    1,
                    0x7f,
                    0x80,
                    0xff,
                    b'"',
                    b'9',
                    b'-',
                    value[at] ^ 1,
                    value[at] ^ 0x40,
                ] {
                    let mut value = value.clone();
                    value[at] = forged;
                    outcomes.count(read(&log, position, key.as_bytes(), Some(&value)));
                    let value = sealed(value);
                    outcomes.count(read(&log, position, key.as_bytes(), Some(&value)));
                }
                outcomes.count(read(
                    &log,
                    position,
                    key.as_bytes(),
                    Some(&sealed(value[..at].to_vec())),
                ));
            }
        }
        assert!(outcomes.refused > 500 && outcomes.read > 500, "{outcomes:?}");
    }
}

/// Where runs of digits are.
fn numbers(text: &str) -> Vec<std::ops::Range<usize>> {
    let digits = |at: &usize| text.as_bytes()[*at].is_ascii_digit();
    let positions: Vec<usize> = (0..text.len()).filter(digits).collect();
    let runs = positions.chunk_by(|one, next| one + 1 == *next);
    runs.map(|run| run[0]..run[run.len() - 1] + 1).collect()
}

#[test]
fn every_number_in_a_key_or_a_manifest_may_be_at_the_edge() {
    for log in [log(), former(3, 7, &[b"of checkpoint ", b"seven"])] {
        let mut outcomes = Outcomes::default();
        for (position, (key, value)) in log.iter().enumerate() {
            for number in numbers(key) {
                for edge in EDGES {
                    let mut key = key.clone();
                    key.replace_range(number.clone(), edge);
                    outcomes.count(read(&log, position, key.as_bytes(), Some(value)));
                }
            }
            let Ok(text) = str::from_utf8(value) else { continue };
            for number in numbers(text) {
                for edge in EDGES {
                    let mut text = text.to_owned();
                    text.replace_range(number.clone(), edge);
                    outcomes.count(read(&log, position, key.as_bytes(), Some(text.as_bytes())));
                }
            }
        }
        assert!(outcomes.refused > 50 && outcomes.read > 10, "{outcomes:?}");
    }
}

#[test]
fn every_four_bytes_of_a_piece_may_be_at_the_edge() {
    let log = log();
    let mut refused = 0;
    for (position, (key, value)) in log.iter().enumerate().filter(|(_, (key, _))| key.starts_with("state/")) {
        for at in PIECE_CHECKED_FROM..=value.len() - 4 {
            for edge in [0, 1, i32::MAX as u32, i32::MIN as u32, u32::MAX] {
                let mut value = value.clone();
                value[at..at + 4].copy_from_slice(&edge.to_le_bytes());
                refused += usize::from(read(&log, position, key.as_bytes(), Some(&sealed(value))).is_err());
            }
        }
    }
    assert!(refused > 100, "{refused} refused");
}

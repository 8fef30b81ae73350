//! Frames as they arrive in pieces, the greeting, and answers to requests that nobody sent.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use engine_proto::connection::{ApiRanges, Handshake, HandshakeStep, Pipeline};
use engine_wire::frame::{FRAME_PREFIX_BYTES, FrameDecoder};
use engine_wire::messages::ApiKey;
use engine_wire::response::decode_response_header;
use protocol_tests::fuzzing::{Source, fuzz};
use protocol_tests::golden;

use super::{allocating_at_most, alone};

#[test]
fn frames() {
    let _alone = alone();
    let whole: Vec<u8> = golden::files("frames")
        .into_iter()
        .flat_map(|(_, frame)| [&(frame.len() as u32).to_be_bytes(), &frame[..]].concat())
        .collect();
    fuzz("frames", vec![whole, vec![0; 40]], 10_000, |input| {
        let decoder = FrameDecoder::new(1 << 28);
        // A prefix is believed up to 8 MiB, once for each frame that is not whole yet.
        allocating_at_most((24 << 20) + 16 * input.len(), || {
            let mut buffer = BytesMut::new();
            let mut found = Vec::new();
            let mut frames = 0;
            // In pieces that are as odd as the input.
            let piece = usize::from(input.first().copied().unwrap_or(0)) + 1;
            for piece in input.chunks(piece) {
                buffer.extend_from_slice(piece);
                loop {
                    match decoder.decode(&mut buffer) {
                        Ok(Some(frame)) => {
                            found.extend_from_slice(&(frame.len() as u32).to_be_bytes());
                            found.extend_from_slice(&frame);
                            frames += 1;
                        }
                        Ok(None) => break,
                        Err(error) => return format!("{error}"),
                    }
                }
            }
            found.extend_from_slice(&buffer);
            assert_eq!(found, input, "what is not a frame yet is still there");
            format!(
                "{} frames, {} left",
                "f".repeat(frames),
                buffer.len() >= FRAME_PREFIX_BYTES
            )
        })
    });
}

#[test]
fn greetings() {
    let _alone = alone();
    let mut examples = Vec::new();
    for (name, frame) in golden::files("frames") {
        if let Some(version) = name.strip_prefix("api_versions_v") {
            let version = version.parse().unwrap_or(0);
            let body = decode_response_header(ApiKey::ApiVersions, version, frame.into());
            examples.extend(body.map(|(_, body)| body.to_vec()));
        }
    }
    fuzz("greetings", examples, 10_000, |input| {
        allocating_at_most(128 * 1024 + 2000 * input.len(), || {
            let mut handshake = Handshake::new();
            let body = Bytes::copy_from_slice(input);
            match handshake.handle_response(body.clone()) {
                Ok(HandshakeStep::Ask(version)) => {
                    assert!((0..4).contains(&version), "an older version than the first");
                    format!("ask again, then {:?}", handshake.handle_response(body).is_ok())
                }
                Ok(HandshakeStep::Done(ranges)) => negotiated(&ranges),
                Err(error) => error.to_string(),
            }
        })
    });
}

/// Whatever the broker says, a version that is used is one of ours and one of its.
fn negotiated(ranges: &ApiRanges) -> String {
    let mut outcome = format!("{:?}", ranges.transaction_version());
    for api in [ApiKey::Produce, ApiKey::Fetch, ApiKey::Metadata, ApiKey::JoinGroup] {
        if let Ok(version) = ranges.negotiate(api) {
            let theirs = ranges.broker_range(api).expect("it was negotiated");
            assert!(theirs.min <= version && version <= theirs.max, "{api:?} v{version}");
            outcome.push('n');
        }
    }
    outcome
}

#[test]
fn correlation() {
    let _alone = alone();
    fuzz("correlation", vec![vec![0, 1, 0, 1, 0, 1]], 10_000, |input| {
        let mut source = Source::new(input);
        let mut now = Instant::now();
        let mut pipeline: Pipeline<i32> = Pipeline::new(Duration::from_secs(60), now);
        let mut expected = std::collections::VecDeque::new();
        let mut outcome = String::new();
        let mut next = 0;
        while !source.is_used_up() {
            match source.below(5) {
                0 | 1 => {
                    if pipeline.begin(next, now, Duration::from_secs(1), next).is_ok() {
                        expected.push_back(next);
                    }
                    next += 1;
                }
                2 => {
                    let id = expected.front().copied().unwrap_or(7);
                    let answered = pipeline.handle_response(id, now);
                    outcome += &format!("{:?}", answered.as_ref().map(|_| ()));
                    assert_eq!(answered.ok().map(|(token, _)| token), expected.pop_front());
                }
                3 => {
                    let id = source.int32();
                    let front = expected.front().copied();
                    let answered = pipeline.handle_response(id, now);
                    outcome += &format!("{:?}", answered.as_ref().map(|_| ()));
                    match answered {
                        Ok((token, _)) => assert_eq!(Some(token), expected.pop_front()),
                        // The connection closes: every request learns of it.
                        Err(_) => {
                            assert_ne!(front, Some(id));
                            assert_eq!(pipeline.close().collect::<Vec<_>>(), Vec::from(expected));
                            return outcome;
                        }
                    }
                }
                _ => {
                    now += Duration::from_millis(source.byte().into());
                    outcome += &format!("{:?}", pipeline.handle_timeout(now));
                }
            }
            assert_eq!(pipeline.len(), expected.len());
        }
        outcome
    });
}

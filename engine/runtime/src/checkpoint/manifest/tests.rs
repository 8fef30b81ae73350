use super::*;

fn manifest() -> Manifest {
    Manifest {
        format: MANIFEST_FORMAT,
        checkpoint: CheckpointId(12),
        owner_epoch: OwnerEpoch(2),
        created_ms: 1_700_000_000_000,
        sources: vec![SourceState {
            source: "events".into(),
            watermark_ns: Some(i64::MIN),
            taken_up_to_ns: BTreeMap::from([("per_campaign".to_owned(), i64::MIN)]),
            partitions: vec![PartitionState {
                topic: "ad-events".into(),
                partition: 0,
                next_offset: i64::MAX,
                leader_epoch: Some(3),
                watermark_ns: None,
                segments: [3, 7, 8, 9, 12].map(CheckpointId).to_vec(),
                chunks: 6,
                bytes: 700_000,
            }],
        }],
        lake: vec![StagedTable {
            sink: "lake".into(),
            staged: "{\"files\":[]}".into(),
        }],
    }
}

#[test]
fn a_manifest_reads_back() {
    let manifest = manifest();
    assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
}

#[test]
fn hostile_bytes_are_an_error() {
    for bytes in [
        &b""[..],
        b"{",
        b"[]",
        b"{\"format\":1}",
        b"{\"format\":2}",
        b"{\"format\":-1}",
        b"\xff",
    ] {
        assert!(matches!(Manifest::decode(bytes), Err(ManifestError::Malformed(_))));
    }
}

#[test]
fn another_format_is_refused_with_the_version_that_can_read_it() {
    let refused = |bytes: &[u8]| Manifest::decode(bytes).unwrap_err().to_string();
    assert_eq!(
        refused(b"{\"format\":3,\"engine\":\"7.1.0\",\"anything\":true}"),
        "the manifest in the state topic has format 3, this engine reads up to format 2: \
         go on with engine 7.1.0, which wrote it, or a newer one"
    );
    assert_eq!(
        refused(b"{\"format\":0}"),
        "the manifest in the state topic has format 0, this engine reads up to format 2: go on with a newer engine"
    );
}

#[test]
fn segments_that_follow_one_another_are_written_as_runs() {
    let text = String::from_utf8(manifest().encode()).unwrap();
    assert!(text.contains(r#""segments":[[3,3],[7,9],[12,12]]"#), "{text}");
    assert!(
        text.starts_with(&format!(r#"{{"engine":"{}""#, env!("CARGO_PKG_VERSION"))),
        "{text}"
    );
}

#[test]
fn segments_that_cannot_be_are_refused() {
    let text = String::from_utf8(manifest().encode()).unwrap();
    for (segments, expected) in [
        (
            "[[3,3],[7,9],[13,13]]",
            Some("gives ad-events-0 a segment of checkpoint 13"),
        ),
        ("[[1,7]]", Some("gives ad-events-0 7 segments in 6 records")),
        ("[]", Some("gives ad-events-0 0 segments in 6 records")),
        ("[[4,3]]", None),
        ("[[3,4],[4,5]]", None),
        ("[[0,18446744073709551615]]", None),
        ("[[1,1],[2,600]]", None),
        ("[[-1,1]]", None),
        ("7", None),
    ] {
        let text = text.replace("[[3,3],[7,9],[12,12]]", segments);
        let error = Manifest::decode(text.as_bytes()).unwrap_err();
        match expected {
            Some(expected) => assert_eq!(error.to_string(), format!("the manifest of checkpoint 12 {expected}")),
            None => assert!(matches!(error, ManifestError::Malformed(_)), "{segments}: {error}"),
        }
    }
}

#[test]
fn the_format_that_wrote_all_of_the_state_every_time_is_still_read() {
    let text = r#"{"format":1,"checkpoint":5,"owner_epoch":2,"created_ms":0,"sources":[{"source":"events","watermark_ns":1,
        "partitions":[{"topic":"t","partition":0,"next_offset":7,"leader_epoch":null,"watermark_ns":1,"chunks":2,
        "bytes":600000}]}],"lake":[]}"#;
    let manifest = Manifest::decode(text.as_bytes()).unwrap();
    assert_eq!(manifest.format, SNAPSHOT_FORMAT);
    let state = manifest.partition("events", "t", 0).unwrap();
    assert_eq!((&state.segments[..], state.chunks, state.bytes), (&[][..], 2, 600_000));
}

#[test]
fn a_manifest_that_no_checkpoint_could_follow_is_refused() {
    for number in ["\"checkpoint\":12", "\"owner_epoch\":2"] {
        let text = String::from_utf8(manifest().encode()).unwrap();
        let (name, _) = number.split_once(':').unwrap();
        let text = text.replacen(number, &format!("{name}:{}", u64::MAX), 1);
        let error = Manifest::decode(text.as_bytes()).unwrap_err();
        assert!(matches!(error, ManifestError::Exhausted { .. }), "{number}: {error}");
    }
}

#[test]
fn impossible_offsets_and_double_partitions_are_refused() {
    let mut negative = manifest();
    negative.sources[0].partitions[0].next_offset = -1;
    assert!(matches!(
        Manifest::decode(&negative.encode()),
        Err(ManifestError::Offset { next_offset: -1, .. })
    ));
    let mut double = manifest();
    let copy = double.sources[0].partitions[0].clone();
    double.sources[0].partitions.push(copy);
    assert!(matches!(
        Manifest::decode(&double.encode()),
        Err(ManifestError::Duplicate { partition: 0, .. })
    ));
}

//! Encrypted, with a certificate that an authority of our own has signed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_lake::{LakeStore, S3Options, advice, is_transient, recover};

use crate::failures::told;
use crate::server::{self, Server};
use crate::table::{ANYBODY, Table, by_date, numbered, open_writer, options, store_in, writer_id};

/// An authority, and what it signed for 127.0.0.1.
struct Signed {
    folder: tempfile::TempDir,
}

impl Signed {
    fn new() -> Signed {
        let signed = Signed {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::write(signed.path("extensions"), "subjectAltName=IP:127.0.0.1\n").unwrap();
        for command in [
            "req -x509 -newkey rsa:2048 -nodes -days 2 -keyout ca.key -out ca.pem -subj /CN=authority",
            "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost",
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out server.pem",
        ] {
            let output = Command::new("openssl")
                .args(command.split(' '))
                .current_dir(signed.folder.path())
                .output()
                .expect("openssl runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        signed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn encrypted(server: &Server, ca_bundle: Option<&Path>) -> S3Options {
    S3Options {
        endpoint: Some(format!("https://{}", server.address)),
        ca_bundle: ca_bundle.map(Path::to_owned),
        ..options(server.keys(), &server.address, Duration::from_secs(30))
    }
}

#[test]
fn a_table_is_written_encrypted_and_to_a_server_of_a_trusted_authority_only() {
    let signed = Signed::new();
    let paths = ["server.pem", "server.key", "ca.pem"].map(|name| signed.path(name));
    let Some(server) = server::encrypted(&paths[0], &paths[1], &paths[2]) else {
        return;
    };
    let table = Table::on(Arc::clone(&server), &encrypted(&server, Some(&paths[2])));
    recover(&table.store, &writer_id(), None).unwrap();
    let mut writer = open_writer(&table.store, by_date()).unwrap();
    writer.write(&numbered(0..50)).unwrap();
    let staged = writer.stage(1).unwrap();
    assert_eq!(table.visible(), [""; 0]);
    writer.publish(&staged).unwrap();
    assert_eq!(table.values(), (0..50).collect::<Vec<_>>());

    // Without the authority's certificate nobody is told anything.
    let started = Instant::now();
    let refused = recover(&store_in(&table.bucket, &encrypted(&server, None)), &writer_id(), None).unwrap_err();
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "not for as long as requests are repeated"
    );
    assert!(
        told(&refused).contains("invalid peer certificate"),
        "{}",
        told(&refused)
    );
    assert!(
        advice(&refused).is_some_and(|advice| advice.contains("AWS_CA_BUNDLE")),
        "{refused:?}"
    );
    assert!(!is_transient(&refused));
}

#[test]
fn a_bundle_without_certificates_is_told_before_anybody_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    for path in [empty, folder.path().join("missing.pem")] {
        let options = S3Options {
            endpoint: Some("https://127.0.0.1:1".into()),
            ca_bundle: Some(path.clone()),
            ..options(ANYBODY, "", Duration::ZERO)
        };
        let error = told(&LakeStore::open_with("s3://bucket/t", &options).unwrap_err());
        assert!(
            error.contains("no certificates in") && error.contains(path.to_str().unwrap()),
            "{error}"
        );
    }
}

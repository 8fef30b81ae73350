//! The lake's disk: not there, not writable, full.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::process::{Started, start};
use crate::scene::{Scene, wait_until};

#[test]
fn a_lake_that_cannot_be_written_ends_the_run_before_anything_is_read() {
    let mut scene = Scene::new();
    scene.produce(0..3);
    // A file where the folder shall be: that stops everybody, whatever their rights.
    std::fs::write(scene.lake(), b"").unwrap();
    let said = scene.run_to_the_end(true).failure(1);
    assert!(
        said.contains("lake") && said.contains(&scene.lake().display().to_string()),
        "{said}"
    );
    assert_eq!(scene.client().committed("views", "events", 3), [-1, -1, -1]);
    assert_eq!(scene.rows().len(), 0);

    std::fs::remove_file(scene.lake()).unwrap();
    scene.drains_exactly();
}

#[test]
fn a_limit_on_files_is_told_with_the_file_and_the_next_run_has_every_window_once() {
    let mut scene = Scene::new();
    scene.produce(0..4);
    // Beyond half a kilobyte a write fails, as on a full disk; the signal that comes with it is ignored.
    let said = scene
        .ended(start(&mut limited(scene.command(&["--until-end", "--drain"]))))
        .failure(1);
    assert!(said.contains("lake") && said.contains("File too large"), "{said}");
    assert!(scene.lake_rows().is_empty(), "nothing half is seen");
    scene.produce(4..6);
    scene.drains_exactly();
}

#[test]
fn a_disk_that_is_full_while_files_are_staged_is_told_and_room_again_is_enough() {
    let mut scene = Scene::new();
    std::fs::create_dir_all(scene.lake()).unwrap();
    let Some(_disk) = SmallDisk::mount(&scene.lake().display().to_string()) else {
        return;
    };
    // Somebody else's file leaves no room.
    let hog = scene.lake().join("_hog");
    let mut file = std::fs::File::create(&hog).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    scene.produce(0..4);
    let said = scene.run_to_the_end(true).failure(1);
    assert!(said.contains("No space left on device"), "{said}");
    assert!(scene.lake_rows().is_empty(), "nothing half is seen");
    std::fs::remove_file(&hog).unwrap();
    scene.produce(4..6);
    scene.drains_exactly();
}

#[test]
fn a_lake_that_goes_away_while_the_pipeline_runs_ends_it_and_is_complete_when_it_is_back() {
    let mut scene = Scene::new();
    scene.produce(0..3);
    let engine: Started = scene.start(&[]);
    scene.wait_for_rows(6);
    let away = scene.lake().with_extension("away");
    wait_until("a published file", || !scene.lake_rows().is_empty());
    std::fs::rename(scene.lake(), &away).unwrap();
    std::fs::write(scene.lake(), b"").unwrap();
    scene.produce(3..6);
    let said = scene.ended(engine).failure(1);
    assert!(said.contains(&scene.lake().display().to_string()), "{said}");

    std::fs::remove_file(scene.lake()).unwrap();
    std::fs::rename(&away, scene.lake()).unwrap();
    scene.drains_exactly();
}

/// The same command under a limit on the size of files, as a shell sets it.
fn limited(command: Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg("trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"")
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    shell
}

/// A file system of 256 KiB in memory, gone when dropped.
struct SmallDisk(String);

impl SmallDisk {
    /// `None`, said loudly, where this user may not mount anything.
    fn mount(path: &str) -> Option<SmallDisk> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k", "engine-test", path])
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(SmallDisk(path.to_owned()));
        }
        let text = "\n# SKIPPED, NOT TESTED on a full disk: this user may not mount a small one\n";
        let _ = std::io::stderr().write_all(text.as_bytes());
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", &self.0]).status();
    }
}

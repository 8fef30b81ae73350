//! A pipeline that is not the one it was: what its state does not fit is refused, and what is left behind is told.

use std::fs;

use crate::process::start;
use crate::scene::Scene;

#[test]
fn a_window_that_was_changed_is_refused_and_goes_on_when_it_is_changed_back() {
    let mut scene = Scene::new();
    scene.produce(0..3);
    scene.run_to_the_end(false).success();
    let changed = start(&mut scene.command(&["--until-end", "--set", "transforms.per_campaign.size=20s"]));
    let said = scene.ended(changed).failure(1);
    assert!(said.contains("change the pipeline back"), "{said}");
    scene.run_to_the_end(true).success();
    scene.is_exact();
}

#[test]
fn a_lake_that_was_renamed_is_told_of_and_one_that_was_moved_is_missed() {
    let mut scene = Scene::new();
    scene.produce(0..3);
    scene.run_to_the_end(true).success();
    let text = fs::read_to_string(scene.pipeline()).unwrap();

    let elsewhere = scene.folder.path().join("elsewhere");
    let path = format!("sinks.lake.path={}", elsewhere.display());
    let moved = start(&mut scene.command(&["--until-end", "--set", &path]));
    let said = scene.ended(moved).failure(1);
    assert!(said.contains("put it back"), "{said}");

    fs::write(scene.pipeline(), text.replace("[sinks.lake]", "[sinks.pond]")).unwrap();
    let renamed = scene.run_to_the_end(false);
    assert!(
        renamed
            .stderr
            .contains("files of a lake that the pipeline does not write any more"),
        "{}",
        renamed.stderr
    );
    renamed.success();
    scene.is_exact();
}

#[test]
fn a_longer_lateness_opens_no_window_again_that_was_emitted_where_nothing_was_kept() {
    let mut scene = Scene::new();
    // Nothing in the last partition, so nothing is kept of it.
    let mut client = scene.client();
    for window in 0..3 {
        for partition in 0..2 {
            let views = scene.views(window, partition);
            client.produce("events", partition, &views);
        }
    }
    scene.run_to_the_end(false).success();
    let emitted = scene.rows();
    assert!(!emitted.is_empty(), "the first windows are closed");
    let (start, campaign) = *emitted.keys().next().unwrap();
    client.produce(
        "events",
        2,
        &[format!(r#"{{"campaign":{campaign},"time":{}}}"#, start + 1)],
    );
    let longer = "transforms.per_campaign.allowed_lateness=1h";
    // Also by a run after the first one that knows of the longer lateness.
    for more in [&["--until-end"][..], &["--until-end", "--drain"]] {
        let changed = [more, &["--set", longer]].concat();
        scene
            .ended(crate::process::start(&mut scene.command(&changed)))
            .success();
        client.produce(
            "events",
            2,
            &[format!(r#"{{"campaign":{campaign},"time":{}}}"#, start + 2)],
        );
    }
    scene.is_exact();
}

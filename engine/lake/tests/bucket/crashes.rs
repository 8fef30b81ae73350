//! A process that dies at every request there is, before the server hears of it and after.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine_lake::{LakeStore, Snapshot, StagedFiles, recover};

use crate::lossy_proxy::{Fate, LossyProxy};
use crate::table::{Table, by_date, numbered, open_writer, writer_id};

/// Two checkpoints, as far as the store lets it get. Tells the last one that committed, which needs no store.
fn run(store: &LakeStore) -> Option<StagedFiles> {
    let mut committed = None;
    recover(store, &writer_id(), None).ok()?;
    let mut writer = open_writer(store, by_date()).ok()?;
    for (checkpoint, values) in [(1, 0..24), (2, 24..72)] {
        if writer.write(&numbered(values)).is_err() {
            break;
        }
        let Ok(staged) = writer.stage(checkpoint) else { break };
        committed = Some(StagedFiles::decode(staged.encode().as_bytes()).unwrap());
        if writer.publish(&staged).is_err() {
            break;
        }
    }
    std::mem::forget(writer); // kill -9: no destructor tidies up.
    committed
}

/// What the next process does, and what must be there then.
fn go_on(table: &Table, committed: Option<&StagedFiles>, case: &str) {
    let before = table.values();
    assert!(
        before.is_sorted_by(|left, right| left < right),
        "{case}: doubled rows {before:?}"
    );
    recover(&table.store, &writer_id(), committed).unwrap_or_else(|error| panic!("{case}: {error:?}"));
    assert_eq!(table.staged(), [""; 0], "{case}");
    assert_eq!(table.unfinished_uploads(), 0, "{case}");
    let restart = [0, 24, 72][committed.map_or(0, |staged| staged.checkpoint_id() as usize)];
    assert_eq!(table.values(), (0..restart).collect::<Vec<_>>(), "{case}");
    let mut writer = open_writer(&table.store, by_date()).unwrap();
    writer.write(&numbered(restart..80)).unwrap();
    let staged = writer.stage(3).unwrap();
    writer.publish(&staged).unwrap();
    assert_eq!(table.values(), (0..80).collect::<Vec<_>>(), "{case}");
    let mut told = Snapshot::read(&table.store).unwrap().files;
    told.sort_by(|left, right| left.path.cmp(&right.path));
    let told: Vec<String> = told.into_iter().map(|file| file.path).collect();
    assert_eq!(told, table.visible(), "{case}: the manifest names what readers see");
}

#[test]
fn a_crash_at_every_request_neither_loses_nor_doubles_rows() {
    let Some(table) = Table::new() else { return };
    // The server does the same for whoever only looks, heard of or not: there are not two cases then.
    let changes = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&changes);
    let calm = LossyProxy::start(&table.server.address, move |_, line| {
        noted
            .lock()
            .unwrap()
            .push(!line.starts_with("GET ") && !line.starts_with("HEAD "));
        Fate::Through
    });
    let whole = run(&table.store_at(&calm.address, Duration::ZERO));
    assert_eq!(whole.as_ref().map(StagedFiles::checkpoint_id), Some(2));
    go_on(&table, whole.as_ref(), "no crash");
    let requests = calm.requests_seen();
    assert!(requests > 15, "{requests}");
    let changes = changes.lock().unwrap().clone();
    assert_eq!(changes.len(), requests);
    println!(
        "{requests} requests, {} of them change something",
        changes.iter().filter(|changes| **changes).count()
    );

    let cases: Vec<(usize, Fate)> = (0..requests)
        .flat_map(|last| {
            let unanswered = changes[last].then_some((last, Fate::Unanswered));
            [Some((last, Fate::Unsent)), unanswered].into_iter().flatten()
        })
        .collect();
    let stride = stride(cases.len());
    for (last, fate) in cases.into_iter().step_by(stride) {
        let table = Table::new().unwrap();
        let proxy = LossyProxy::start(&table.server.address, move |number, _| match number {
            number if number < last => Fate::Through,
            number if number == last => fate,
            _ => Fate::Unsent,
        });
        let committed = run(&table.store_at(&proxy.address, Duration::ZERO));
        assert!(proxy.requests_seen() > last);
        go_on(&table, committed.as_ref(), &format!("request {last} {fate:?}"));
    }
}

/// All of these cases, or a few of them where nobody has asked for tests that take long.
fn stride(cases: usize) -> usize {
    if std::env::var("ENGINE_LONG_TESTS").is_ok_and(|value| !matches!(value.as_str(), "" | "0")) {
        return 1;
    }
    let stride = 5; // Not a divisor of the steps that come again and again.
    // Not through the harness, which would capture it.
    let text = format!(
        "\n# NOT ALL TESTED: every {stride}th of {cases} crashes only; scripts/check runs all, and ENGINE_LONG_TESTS=1\n"
    );
    let _ = std::io::stderr().write_all(text.as_bytes());
    stride
}

#[test]
fn an_answer_lost_at_every_request_is_made_good_by_asking_again() {
    let Some(table) = Table::new() else { return };
    let mut asked = std::collections::HashSet::new();
    // Each request that changes something, and each look, is done by the server at least twice.
    let proxy = LossyProxy::start(&table.server.address, move |_, line| {
        if asked.insert(line.to_owned()) {
            Fate::Unanswered
        } else {
            Fate::Through
        }
    });
    let store = table.store_at(&proxy.address, Duration::from_secs(30));
    let committed = run(&store);
    assert_eq!(committed.as_ref().map(StagedFiles::checkpoint_id), Some(2));
    assert_eq!(table.values(), (0..72).collect::<Vec<_>>());
    go_on(&table, committed.as_ref(), "lost answers");
}

//! What a cluster refused of a request that named several things.

use engine_client::admin::{PerItem, Refusal};

/// What succeeded, or an error that names everything that did not.
pub(super) fn all<K: ToString, V>(operation: &str, items: PerItem<K, V>) -> anyhow::Result<Vec<(K, V)>> {
    let (done, outcome) = split(operation, items);
    outcome.map(|()| done)
}

/// What succeeded, beside an error that names everything that did not.
pub(super) fn split<K: ToString, V>(operation: &str, items: PerItem<K, V>) -> (Vec<(K, V)>, anyhow::Result<()>) {
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    for (item, outcome) in items {
        match outcome {
            Ok(value) => done.push((item, value)),
            Err(refusal) => refused.push(format!("cannot {operation} {}: {}", item.to_string(), words(&refusal))),
        }
    }
    if refused.is_empty() {
        (done, Ok(()))
    } else {
        (done, Err(anyhow::anyhow!(refused.join("; "))))
    }
}

/// A broker's words, unless they are those of another server's partitions where a name is misspelt.
fn words(refusal: &Refusal) -> String {
    let code = refusal.code.name();
    match code {
        "UNKNOWN_TOPIC_OR_PARTITION" => format!("there is no such topic ({code}); `engine topics list` names them all"),
        "GROUP_ID_NOT_FOUND" => format!("there is no such group ({code}); `engine groups list` names them all"),
        _ => refusal.to_string(),
    }
}

/// Leaves out the topics that could not be created because they exist.
pub(super) fn unless_they_exist<K, V>(mut items: PerItem<K, V>) -> PerItem<K, V> {
    let exists = |refusal: &Refusal| refusal.code.name() == "TOPIC_ALREADY_EXISTS";
    items.retain(|(_, outcome)| !outcome.as_ref().is_err_and(exists));
    items
}

//! What a cluster refused of a request that named several things.

use anyhow::bail;
use engine_client::admin::{PerItem, Refusal};

/// What succeeded, or an error that names everything that did not.
pub(super) fn all<K: ToString, V>(operation: &str, items: PerItem<K, V>) -> anyhow::Result<Vec<(K, V)>> {
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    for (item, outcome) in items {
        match outcome {
            Ok(value) => done.push((item, value)),
            Err(refusal) => refused.push(format!("cannot {operation} {}: {refusal}", item.to_string())),
        }
    }
    if refused.is_empty() {
        Ok(done)
    } else {
        bail!(refused.join("; "))
    }
}

/// Leaves out the topics that could not be created because they exist.
pub(super) fn unless_they_exist<K, V>(mut items: PerItem<K, V>) -> PerItem<K, V> {
    let exists = |refusal: &Refusal| refusal.code.name() == "TOPIC_ALREADY_EXISTS";
    items.retain(|(_, outcome)| !outcome.as_ref().is_err_and(exists));
    items
}

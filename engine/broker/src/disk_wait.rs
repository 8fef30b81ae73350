//! Waiting for the disk on a thread that serves connections.
//!
//! An fsync may take seconds on a busy disk. The thread that waits hands its other tasks (heartbeats, fetches)
//! to another one first, where the runtime has several.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Does what may take long; the tasks of this thread go on elsewhere meanwhile. On a runtime of one thread, and
/// outside of any, it just waits.
pub(crate) fn wait_for_disk<T>(act: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(act),
        _ => act(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_go_on_while_one_waits_for_the_disk() {
        let others_went_on = Arc::new(AtomicBool::new(false));
        let waiting = tokio::spawn({
            let others_went_on = Arc::clone(&others_went_on);
            async move {
                tokio::spawn({
                    let others_went_on = Arc::clone(&others_went_on);
                    async move { others_went_on.store(true, Ordering::SeqCst) }
                });
                wait_for_disk(|| {
                    for _ in 0..500 {
                        if others_went_on.load(Ordering::SeqCst) {
                            return true;
                        }
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    false
                })
            }
        });
        assert!(waiting.await.expect("no panic"), "the only worker was blocked");
    }

    #[tokio::test]
    async fn on_one_thread_it_just_waits() {
        assert_eq!(wait_for_disk(|| 7), 7);
    }
}

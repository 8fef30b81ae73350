//! SIGINT and SIGTERM: the first asks for a graceful end, the second forces it.

use std::io;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{failure::INTERRUPTED, logging::notice};

/// Tells that a signal came. Clones see the same signal.
#[derive(Debug, Clone)]
pub(crate) struct StopSignal {
    requested: watch::Receiver<bool>,
}

impl StopSignal {
    /// Takes the signals over for the rest of the process.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (sender, requested) = watch::channel(false);
        tokio::spawn(async move {
            for first in [true, false] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if !first {
                    notice("interrupted again, giving up at once");
                    std::process::exit(INTERRUPTED.into());
                }
                sender.send_replace(true);
            }
        });
        Ok(Self { requested })
    }

    /// Waits for the first signal.
    pub(crate) async fn requested(&mut self) {
        // The sender lives until the process ends, so this cannot fail before that.
        if self.requested.wait_for(|requested| *requested).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

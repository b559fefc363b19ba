//! How far the end has come. It only goes forward: serving, draining, ended.

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// Seen by everything that may have to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shutdown {
    draining: CancellationToken,
    ended: CancellationToken,
}

impl Shutdown {
    /// Nothing new begins from now on.
    pub(crate) fn drain(&self) {
        self.draining.cancel();
    }

    /// The grace is over: what still runs says so to its client, and ends.
    pub(crate) fn end(&self) {
        self.draining.cancel();
        self.ended.cancel();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Waits for [`Shutdown::drain`].
    pub(crate) fn draining(&self) -> WaitForCancellationFuture<'_> {
        self.draining.cancelled()
    }

    /// Waits for [`Shutdown::end`].
    pub(crate) fn ended(&self) -> WaitForCancellationFuture<'_> {
        self.ended.cancelled()
    }
}

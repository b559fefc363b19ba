//! Whether somebody still waits for a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How many requests are wanted. An engine reads it within a step, to give the step up when the
/// number falls to zero.
#[derive(Debug, Clone, Default)]
pub struct Interest(Arc<AtomicUsize>);

impl Interest {
    /// Whether anybody waits for anything.
    pub fn any(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }

    /// A request comes.
    pub(crate) fn ticket(&self) -> Ticket {
        self.0.fetch_add(1, Ordering::AcqRel);
        Ticket(Arc::new(State { cancelled: AtomicBool::new(false), interest: self.clone() }))
    }
}

/// One request's share in [`Interest`], given back once: by [`Ticket::cancel`] or with its last clone.
#[derive(Debug, Clone)]
pub(crate) struct Ticket(Arc<State>);

#[derive(Debug)]
struct State {
    cancelled: AtomicBool,
    interest: Interest,
}

impl Ticket {
    pub(crate) fn cancel(&self) {
        self.0.cancel();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }
}

impl State {
    fn cancel(&self) {
        if !self.cancelled.swap(true, Ordering::AcqRel) {
            self.interest.0.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::Interest;

    #[test]
    fn each_ticket_counts_once_however_it_ends() {
        let interest = Interest::default();
        let (cancelled, dropped) = (interest.ticket(), interest.ticket());
        let clone = cancelled.clone();
        assert!(interest.any());
        cancelled.cancel();
        clone.cancel();
        drop((cancelled, clone));
        assert!(interest.any(), "the other one is still wanted");
        drop(dropped);
        assert!(!interest.any());
    }
}

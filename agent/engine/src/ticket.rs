//! What a connection and the step thread both know of a request: whether it is still wanted, and
//! how much of its answer may be sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use nabi_wire::engine::CREDIT_UNBOUNDED;

/// How many requests are wanted. An engine reads it within a step, to give the step up when the
/// number falls to zero.
#[derive(Debug, Clone, Default)]
pub struct Interest(Arc<AtomicUsize>);

impl Interest {
    /// Whether anybody waits for anything.
    pub fn any(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }

    /// A request comes, with its first credit.
    pub(crate) fn ticket(&self, credit_tokens: u32) -> Ticket {
        self.0.fetch_add(1, Ordering::AcqRel);
        let cancelled = AtomicBool::new(false);
        let credit = AtomicU64::new(u64::from(credit_tokens));
        Ticket(Arc::new(State { cancelled, credit, interest: self.clone() }))
    }
}

/// One request's share in [`Interest`], given back once: by [`Ticket::cancel`] or with its last clone.
#[derive(Debug, Clone)]
pub(crate) struct Ticket(Arc<State>);

#[derive(Debug)]
struct State {
    cancelled: AtomicBool,
    /// Tokens that may be sent.
    credit: AtomicU64,
    interest: Interest,
}

impl Ticket {
    pub(crate) fn cancel(&self) {
        self.0.cancel();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// Tokens that may be sent now.
    pub(crate) fn credit_tokens(&self) -> u64 {
        self.0.credit.load(Ordering::Acquire)
    }

    /// The client can take more. Past [`CREDIT_UNBOUNDED`] it is not counted.
    pub(crate) fn add_credit(&self, tokens: u32) {
        let add = |credit: u64| Some((credit + u64::from(tokens)).min(u64::from(CREDIT_UNBOUNDED)));
        let _ = self.0.credit.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
    }

    /// A token was sent.
    pub(crate) fn spend_credit(&self) {
        let spend = |credit: u64| (credit < u64::from(CREDIT_UNBOUNDED)).then(|| credit.saturating_sub(1));
        let _ = self.0.credit.fetch_update(Ordering::AcqRel, Ordering::Acquire, spend);
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
    use super::*;

    #[test]
    fn each_ticket_counts_once_however_it_ends() {
        let interest = Interest::default();
        let (cancelled, dropped) = (interest.ticket(1), interest.ticket(1));
        let clone = cancelled.clone();
        assert!(interest.any());
        cancelled.cancel();
        clone.cancel();
        drop((cancelled, clone));
        assert!(interest.any(), "the other one is still wanted");
        drop(dropped);
        assert!(!interest.any());
    }

    #[test]
    fn credit_is_spent_and_added_and_an_unbounded_one_stays() {
        let interest = Interest::default();
        let ticket = interest.ticket(1);
        ticket.spend_credit();
        ticket.spend_credit();
        assert_eq!(ticket.credit_tokens(), 0);
        ticket.add_credit(5);
        assert_eq!(ticket.credit_tokens(), 5);
        ticket.add_credit(CREDIT_UNBOUNDED);
        ticket.spend_credit();
        ticket.add_credit(7);
        assert_eq!(ticket.credit_tokens(), u64::from(CREDIT_UNBOUNDED));
    }
}

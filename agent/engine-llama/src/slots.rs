//! Sequences in slots, and what earlier ones have left there: the thin shell around
//! [`prefix::place`].

use nabi_engine::{Placed, Slot};
use nabi_llama_sys::Context;
use nabi_wire::engine::Salt;

use crate::prefix::{self, Placement, Prefix, PrefixRule, SAVED_TOKENS_MIN, Saved, SlotView, Source, Wanted};
use crate::sequence::{Purpose, Sequence};

/// All slots of a context.
pub(crate) struct Slots {
    slots: Vec<Place>,
    saved: Saved,
    rule: PrefixRule,
    /// Counts placements.
    clock: u64,
}

struct Place {
    state: State,
    used: u64,
}

enum State {
    /// What an earlier sequence has left; often nothing.
    Free(Prefix),
    Busy(Box<Sequence>),
}

impl State {
    fn empty() -> Self {
        Self::Free(Prefix { salt: Salt::default(), tokens: Vec::new() })
    }

    fn prefix(&self) -> (Salt, &[u32]) {
        match self {
            Self::Free(prefix) => (prefix.salt, &prefix.tokens),
            Self::Busy(sequence) => (sequence.salt(), &sequence.tokens[..sequence.computed]),
        }
    }
}

impl Slots {
    pub(crate) fn new(count: u32, saved: Saved, rule: PrefixRule) -> Self {
        let slots = (0..count).map(|_| Place { state: State::empty(), used: 0 }).collect();
        Self { slots, saved, rule, clock: 0 }
    }

    /// The sequence in this slot.
    pub(crate) fn get(&mut self, slot: Slot) -> Option<&mut Sequence> {
        match &mut self.slots.get_mut(slot as usize)?.state {
            State::Busy(sequence) => Some(sequence),
            State::Free(_) => None,
        }
    }

    /// Places a sequence in a free slot, with what is computed of it.
    ///
    /// # Panics
    /// When there is no free slot.
    pub(crate) fn place(&mut self, mut sequence: Sequence, context: &mut Context) -> Placed {
        let wanted = Wanted { salt: sequence.salt(), tokens: sequence.wanted() };
        let views = self.slots.iter().map(|place| {
            let (salt, computed) = place.state.prefix();
            SlotView { busy: matches!(place.state, State::Busy(_)), salt, computed, used: place.used }
        });
        let placement = prefix::place(wanted, &views.collect::<Vec<_>>(), &self.saved.views(), self.rule);
        let placement = placement.expect("the host places no sequence where no slot is free");
        sequence.computed = self.bring(placement, context);
        self.clock += 1;
        let placed = Placed {
            slot: placement.slot,
            tokens: sequence.tokens.len() as u32,
            cached_tokens: sequence.computed as u32,
        };
        let place = &mut self.slots[placement.slot as usize];
        *place = Place { state: State::Busy(Box::new(sequence)), used: self.clock };
        placed
    }

    /// Takes a sequence out. What is computed of it stays, until the slot is needed.
    pub(crate) fn take(&mut self, slot: Slot, context: &mut Context) -> Option<Sequence> {
        let place = self.slots.get_mut(slot as usize)?;
        let sequence = match std::mem::replace(&mut place.state, State::empty()) {
            State::Busy(sequence) => *sequence,
            free => {
                place.state = free;
                return None;
            }
        };
        self.clock += 1;
        place.used = self.clock;
        match sequence.purpose {
            Purpose::Embed => context.remove(slot),
            Purpose::Generate(_) => {
                let tokens = sequence.tokens[..sequence.computed].to_vec();
                place.state = State::Free(Prefix { salt: sequence.salt(), tokens });
            }
        }
        Some(sequence)
    }

    /// A step of this sequence was given up: what was computed before it is still there.
    pub(crate) fn recall(&mut self, slot: Slot, context: &mut Context) {
        if self.rule == PrefixRule::Whole {
            return self.forget(slot, context);
        }
        if let Some(sequence) = self.get(slot) {
            sequence.computed = sequence.computed.min(context.computed_tokens(slot) as usize);
            let computed = sequence.computed as u32;
            if !context.truncate(slot, computed) {
                self.forget(slot, context);
            }
        }
    }

    /// Nobody knows any more what is computed of this sequence.
    pub(crate) fn forget(&mut self, slot: Slot, context: &mut Context) {
        context.remove(slot);
        if let Some(sequence) = self.get(slot) {
            sequence.computed = 0;
        }
    }

    /// Tokens that are computed, of sequences in slots.
    pub(crate) fn used_tokens(&self) -> u64 {
        let busy = self.slots.iter().map(|place| match &place.state {
            State::Busy(sequence) => sequence.computed as u64,
            State::Free(_) => 0,
        });
        busy.sum()
    }

    pub(crate) fn saved(&self) -> &Saved {
        &self.saved
    }

    /// Does what was decided; tells how many tokens are there in the end.
    fn bring(&mut self, placement: Placement, context: &mut Context) -> usize {
        let Placement { slot, source, cached, save } = placement;
        let moved = match source {
            Source::Nothing | Source::Own => None,
            Source::Slot(from) => context.save(from).map(Into::into),
            // Before anything else is saved, which might push it out.
            Source::Saved(id) => self.saved.read(id),
        };
        if save {
            self.save(slot, context);
        }
        let there = match (source, moved) {
            (Source::Own, _) => true,
            (Source::Nothing, _) | (_, None) => false,
            (_, Some(state)) => context.restore(slot, &state),
        };
        if there && context.truncate(slot, cached as u32) && context.computed_tokens(slot) == cached as u32 {
            return cached;
        }
        context.remove(slot);
        if let Source::Saved(id) = source {
            self.saved.forget(id);
        }
        0
    }

    fn save(&mut self, slot: Slot, context: &mut Context) {
        let State::Free(prefix) = &self.slots[slot as usize].state else { return };
        if self.saved.is_on() && prefix.tokens.len() >= SAVED_TOKENS_MIN {
            let prefix = prefix.clone();
            if let Some(state) = context.save(slot) {
                self.saved.insert(prefix, state);
            }
        }
    }
}

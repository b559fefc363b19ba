//! Where a new sequence goes, and what it finds there. Pure.

use std::cmp::Reverse;

use nabi_engine::Slot;
use nabi_wire::engine::Salt;

use super::{PrefixRule, SAVED_TOKENS_MIN};

/// A copy must save so many tokens more than what is at hand.
pub(crate) const COPY_GAIN_TOKENS_MIN: usize = 32;
/// A state is moved whole even if only its beginning is used: at most so many times as long. To
/// move a token takes less than a hundredth of what it takes to compute it, in the smallest models.
pub(crate) const MOVED_PER_USED_MAX: usize = 16;

/// A sequence that wants a slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) salt: Salt,
    pub(crate) tokens: &'a [u32],
}

/// A slot, with the tokens whose keys and values it has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlotView<'a> {
    pub(crate) busy: bool,
    pub(crate) salt: Salt,
    pub(crate) computed: &'a [u32],
    /// Higher is later.
    pub(crate) used: u64,
}

/// A saved state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SavedView<'a> {
    pub(crate) id: u64,
    pub(crate) salt: Salt,
    pub(crate) tokens: &'a [u32],
}

/// Where a sequence's first tokens come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// None are computed.
    Nothing,
    /// The slot that it is placed in.
    Own,
    /// Another slot.
    Slot(Slot),
    /// A saved state.
    Saved(u64),
}

/// Where a sequence goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) slot: Slot,
    pub(crate) source: Source,
    /// How many tokens need not be computed.
    pub(crate) cached: usize,
    /// The slot's present state is worth saving before it is lost.
    pub(crate) save: bool,
}

/// Chooses among the free slots; none if all are busy.
pub(crate) fn place(
    wanted: Wanted<'_>,
    slots: &[SlotView<'_>],
    saved: &[SavedView<'_>],
    rule: PrefixRule,
) -> Option<Placement> {
    let usable = |salt: Salt, computed: &[u32]| {
        let usable = if salt == wanted.salt { rule.usable(computed, wanted.tokens) } else { 0 };
        let wasteful = computed.len() > usable * MOVED_PER_USED_MAX;
        if wasteful { 0 } else { usable }
    };
    let numbered = || (0..).zip(slots);
    let free = || numbered().filter(|(_, slot)| !slot.busy);
    // Least lost among equals.
    let (own, own_cached) = free()
        .map(|(at, slot)| (at, usable(slot.salt, slot.computed)))
        .max_by_key(|&(at, cached)| (cached, Reverse(slots[at as usize].computed.len())))?;
    let busy = numbered()
        .filter(|(_, slot)| slot.busy)
        .map(|(at, slot)| (Source::Slot(at), usable(slot.salt, slot.computed)));
    let kept = saved.iter().map(|state| (Source::Saved(state.id), usable(state.salt, state.tokens)));
    let (elsewhere, cached_elsewhere) =
        kept.chain(busy).max_by_key(|&(_, cached)| cached).unwrap_or((Source::Nothing, 0));

    // Neighbours are computed in one graph, others one after the other; then the least recently used.
    let is_busy = |at: usize| slots.get(at).is_some_and(|slot| slot.busy);
    let fitness = |&(at, slot): &(Slot, &SlotView<'_>)| {
        let before = (at as usize).checked_sub(1).is_some_and(is_busy);
        let neighbours = u8::from(before) + u8::from(is_busy(at as usize + 1));
        (neighbours, slot.computed.is_empty(), Reverse(slot.used), Reverse(at))
    };
    let empty = || free().filter(|(_, slot)| slot.computed.is_empty()).max_by_key(fitness).map(|(at, _)| at);
    let fittest = || free().max_by_key(fitness).map(|(at, _)| at);
    let lost = |cached: usize| slots[own as usize].computed.len() - cached;
    let (slot, source, cached) = if cached_elsewhere >= own_cached + COPY_GAIN_TOKENS_MIN {
        (fittest()?, elsewhere, cached_elsewhere)
    } else if own_cached == 0 {
        (fittest()?, Source::Nothing, 0)
    } else {
        // What would be cut off may be wanted again: where there is room, the slot stays as it is.
        let copies = own_cached >= COPY_GAIN_TOKENS_MIN && lost(own_cached) >= SAVED_TOKENS_MIN;
        match empty().filter(|_| copies) {
            Some(empty) => (empty, Source::Slot(own), own_cached),
            None => (own, Source::Own, own_cached),
        }
    };
    let keeps = if source == Source::Own { cached } else { 0 };
    let save = slots[slot as usize].computed.len() >= keeps + SAVED_TOKENS_MIN
        && !is_kept_elsewhere(slot, slots, saved, rule);
    Some(Placement { slot, source, cached, save })
}

fn is_kept_elsewhere(slot: Slot, slots: &[SlotView<'_>], saved: &[SavedView<'_>], rule: PrefixRule) -> bool {
    let SlotView { salt, computed, .. } = slots[slot as usize];
    let in_slots = (0..).zip(slots).filter(|&(at, _)| at != slot).map(|(_, s)| (s.salt, s.computed));
    let in_saved = saved.iter().map(|state| (state.salt, state.tokens));
    in_slots.chain(in_saved).any(|(other, tokens)| other == salt && rule.covers(tokens, computed))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Prefix;
    use super::*;

    fn salt(of: u8) -> Salt {
        Salt([of; 16])
    }

    /// `length` tokens that begin with `common` equal ones and go on as `own` says.
    fn tokens(common: usize, own: u32, length: usize) -> Vec<u32> {
        (0..length).map(|at| if at < common { 7 } else { own }).collect()
    }

    fn slot(busy: bool, computed: &[u32], used: u64) -> SlotView<'_> {
        SlotView { busy, salt: salt(1), computed, used }
    }

    fn placed(wanted: &[u32], slots: &[SlotView<'_>], saved: &[SavedView<'_>]) -> Placement {
        let wanted = Wanted { salt: salt(1), tokens: wanted };
        place(wanted, slots, saved, PrefixRule::Cut).expect("a slot is free")
    }

    #[test]
    fn a_conversation_that_goes_on_stays_in_its_slot() {
        let (first, other) = (tokens(200, 1, 300), tokens(0, 2, 300));
        let longer = [&first[..], &[5, 5, 5]].concat();
        let place = placed(&longer, &[slot(false, &other, 1), slot(false, &first, 2)], &[]);
        assert_eq!(place, Placement { slot: 1, source: Source::Own, cached: 300, save: false });
    }

    #[test]
    fn what_would_be_cut_off_is_kept_where_there_is_room_and_saved_where_there_is_none() {
        let (one, two) = (tokens(100, 1, 300), tokens(100, 2, 300));
        let room = placed(&two, &[slot(false, &one, 1), slot(false, &[], 0)], &[]);
        assert_eq!(room, Placement { slot: 1, source: Source::Slot(0), cached: 100, save: false });
        let none = placed(&two, &[slot(false, &one, 1), slot(true, &[], 0)], &[]);
        assert_eq!(none, Placement { slot: 0, source: Source::Own, cached: 100, save: true });
        let kept = SavedView { id: 9, salt: salt(1), tokens: &one };
        assert!(!placed(&two, &[slot(false, &one, 1)], &[kept]).save, "it is saved already");
    }

    #[test]
    fn further_choices_take_the_prompt_from_the_first_one() {
        let prompt = tokens(100, 0, 100);
        let place = placed(&prompt, &[slot(true, &prompt, 1), slot(false, &[], 0)], &[]);
        assert_eq!(place, Placement { slot: 1, source: Source::Slot(0), cached: 99, save: false });
    }

    #[test]
    fn a_few_common_tokens_are_no_reason_to_lose_a_long_state() {
        let (hot, cold) = (tokens(5, 1, 300), tokens(0, 2, 300));
        let place = placed(&tokens(5, 3, 300), &[slot(false, &hot, 9), slot(false, &cold, 1)], &[]);
        assert_eq!(place, Placement { slot: 1, source: Source::Nothing, cached: 0, save: true });
    }

    #[test]
    fn what_finds_nothing_goes_beside_what_runs_and_then_where_the_oldest_is() {
        let (old, new) = (tokens(0, 1, 300), tokens(0, 2, 300));
        let free = [slot(false, &old, 1), slot(false, &new, 2)];
        let wanted = tokens(0, 3, 300);
        assert_eq!(placed(&wanted, &free, &[]).slot, 0);
        let busy = slot(true, &[], 3);
        assert_eq!(placed(&wanted, &[free[0], free[1], busy], &[]).slot, 1);
        assert_eq!(placed(&wanted, &[busy, free[1], free[0], busy], &[]).slot, 2);
        assert_eq!(placed(&wanted, &[busy, free[1], busy, free[0]], &[]).slot, 1);
    }

    fn prefixes(count: usize) -> impl Strategy<Value = Vec<Prefix>> {
        // Few different tokens and salts, so that there is much in common.
        let prefix = (0..2_u8, 0..300_usize, 0..2_u32, 0..300_usize);
        let prefix = prefix.prop_map(|(of, common, own, length)| Prefix {
            salt: salt(of),
            tokens: tokens(common, own, length),
        });
        proptest::collection::vec(prefix, 0..=count)
    }

    proptest! {
        #[test]
        fn the_longest_prefix_is_found_and_never_anothers(
            slots in prefixes(6), busy in proptest::collection::vec(any::<bool>(), 6),
            saved in prefixes(6), wanted in prefixes(1), whole in any::<bool>(),
        ) {
            let rule = if whole { PrefixRule::Whole } else { PrefixRule::Cut };
            let Some(wanted) = wanted.first().filter(|wanted| !wanted.tokens.is_empty()) else {
                return Ok(());
            };
            let slots: Vec<SlotView<'_>> = slots.iter().zip(&busy).zip(0..).map(|((slot, &busy), used)| {
                SlotView { busy, salt: slot.salt, computed: &slot.tokens, used }
            }).collect();
            let saved: Vec<SavedView<'_>> = saved.iter().zip(0..).map(|(state, id)| {
                SavedView { id, salt: state.salt, tokens: &state.tokens }
            }).collect();
            let view = Wanted { salt: wanted.salt, tokens: &wanted.tokens };
            let placement = place(view, &slots, &saved, rule);
            prop_assert_eq!(placement.is_some(), slots.iter().any(|slot| !slot.busy));
            let Some(placement) = placement else { return Ok(()) };

            prop_assert!(!slots[placement.slot as usize].busy);
            prop_assert!(placement.cached < wanted.tokens.len());
            let from = |at: Slot| (slots[at as usize].salt, slots[at as usize].computed);
            let source = match placement.source {
                Source::Nothing => None,
                Source::Own => Some(from(placement.slot)),
                Source::Slot(at) => Some(from(at)),
                Source::Saved(id) => saved.get(id as usize).map(|state| (state.salt, state.tokens)),
            };
            prop_assert_eq!(source.is_none(), placement.cached == 0);
            if let Some((salt, computed)) = source {
                prop_assert_eq!(salt, wanted.salt);
                prop_assert_eq!(&computed[..placement.cached], &wanted.tokens[..placement.cached]);
                prop_assert!(!whole || computed.len() == placement.cached);
            }
            let all = slots.iter().map(|slot| (slot.salt, slot.computed));
            let all = all.chain(saved.iter().map(|state| (state.salt, state.tokens)));
            for (_, computed) in all.filter(|(salt, _)| *salt == wanted.salt) {
                let usable = rule.usable(computed, &wanted.tokens);
                if computed.len() <= usable * MOVED_PER_USED_MAX {
                    prop_assert!(usable < placement.cached + COPY_GAIN_TOKENS_MIN);
                }
            }
        }
    }
}

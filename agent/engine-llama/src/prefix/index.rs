//! Which saved states are kept, and where. Pure: it tells what is to be done.
//!
//! States come to memory. When half of the memory is taken by states that are nowhere else, the
//! least recently used of them are written to disk, so that room can be made at once when it is
//! needed.

use nabi_wire::config::SavedPrefixes;

use super::place::SavedView;
use super::{Prefix, PrefixRule};

/// States kept at once: each is compared with each new prompt.
pub(crate) const STATES_MAX: usize = 1024;

/// What is to be done with a state's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Write them to disk; [`Index::written`] tells how it went.
    Write(u64),
    /// Drop them from memory.
    Release(u64),
    /// Delete their file, written or still to be written.
    Delete(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnDisk {
    No,
    Writing,
    Written,
}

#[derive(Debug)]
struct State {
    id: u64,
    prefix: Prefix,
    bytes: u64,
    in_memory: bool,
    on_disk: OnDisk,
}

/// All saved states, least recently used first.
#[derive(Debug)]
pub(crate) struct Index {
    rule: PrefixRule,
    memory_bytes_max: u64,
    disk_bytes_max: u64,
    states: Vec<State>,
    /// Bytes that are only being written any more: they are in memory until that is done.
    leaving: Vec<(u64, u64)>,
}

impl Index {
    pub(crate) fn new(limits: &SavedPrefixes, rule: PrefixRule) -> Self {
        let disk_bytes_max = if limits.folder.is_some() { limits.disk_bytes_max } else { 0 };
        let memory_bytes_max = limits.memory_bytes_max;
        Self { rule, memory_bytes_max, disk_bytes_max, states: Vec::new(), leaving: Vec::new() }
    }

    pub(crate) fn views(&self) -> Vec<SavedView<'_>> {
        let view = |state: &State| (state.id, state.prefix.salt);
        self.states
            .iter()
            .map(|state| (view(state), &state.prefix.tokens))
            .map(|((id, salt), tokens)| SavedView { id, salt, tokens })
            .collect()
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        let kept = self.states.iter().filter(|state| state.in_memory).map(|state| state.bytes);
        kept.sum::<u64>() + self.leaving.iter().map(|(_, bytes)| bytes).sum::<u64>()
    }

    pub(crate) fn disk_bytes(&self) -> u64 {
        let on_disk = self.states.iter().filter(|state| state.on_disk != OnDisk::No);
        on_disk.map(|state| state.bytes).sum()
    }

    /// Whether a state of this size can be kept at all.
    pub(crate) fn admits(&self, bytes: u64) -> bool {
        bytes <= self.memory_bytes_max
    }

    /// A state was used.
    pub(crate) fn touch(&mut self, id: u64) {
        if let Some(at) = self.states.iter().position(|state| state.id == id) {
            let state = self.states.remove(at);
            self.states.push(state);
        }
    }

    /// Takes a state in, under an id that was never used. False if there is no room for it.
    pub(crate) fn insert(&mut self, id: u64, prefix: Prefix, bytes: u64) -> (bool, Vec<Effect>) {
        let mut effects = Vec::new();
        if !self.admits(bytes) {
            return (false, effects);
        }
        let rule = self.rule;
        let covered = |state: &State| {
            state.prefix.salt == prefix.salt && rule.covers(&prefix.tokens, &state.prefix.tokens)
        };
        while let Some(at) = self.states.iter().position(covered) {
            self.remove(at, &mut effects);
        }
        while self.states.len() >= STATES_MAX {
            self.remove(0, &mut effects);
        }
        while self.memory_bytes() + bytes > self.memory_bytes_max {
            let evictable = |state: &State| state.in_memory && state.on_disk != OnDisk::Writing;
            let Some(at) = self.states.iter().position(evictable) else { return (false, effects) };
            if self.states[at].on_disk == OnDisk::Written {
                self.states[at].in_memory = false;
                effects.push(Effect::Release(self.states[at].id));
            } else {
                self.remove(at, &mut effects);
            }
        }
        self.states.push(State { id, prefix, bytes, in_memory: true, on_disk: OnDisk::No });
        self.spill(&mut effects);
        (true, effects)
    }

    /// A write that [`Effect::Write`] asked for is over.
    pub(crate) fn written(&mut self, id: u64, succeeded: bool) {
        self.leaving.retain(|&(leaving, _)| leaving != id);
        if let Some(state) = self.states.iter_mut().find(|state| state.id == id) {
            state.on_disk = if succeeded { OnDisk::Written } else { OnDisk::No };
        }
    }

    /// A state turned out to be unusable.
    pub(crate) fn forget(&mut self, id: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(at) = self.states.iter().position(|state| state.id == id) {
            self.remove(at, &mut effects);
        }
        effects
    }

    fn remove(&mut self, at: usize, effects: &mut Vec<Effect>) {
        let State { id, bytes, in_memory, on_disk, .. } = self.states.remove(at);
        if in_memory {
            effects.push(Effect::Release(id));
        }
        if on_disk == OnDisk::Writing {
            self.leaving.push((id, bytes));
        }
        if on_disk != OnDisk::No {
            effects.push(Effect::Delete(id));
        }
    }

    /// Has the least recently used states written until half of the memory can be freed at once.
    fn spill(&mut self, effects: &mut Vec<Effect>) {
        let only_here = |state: &State| state.in_memory && state.on_disk == OnDisk::No;
        loop {
            let bytes: u64 = self.states.iter().filter(|s| only_here(s)).map(|s| s.bytes).sum();
            let Some(at) = self.states.iter().position(only_here) else { return };
            if bytes <= self.memory_bytes_max / 2 {
                return;
            }
            let id = self.states[at].id;
            if !self.make_disk_room(self.states[at].bytes, effects) {
                return;
            }
            if let Some(state) = self.states.iter_mut().find(|state| state.id == id) {
                state.on_disk = OnDisk::Writing;
                effects.push(Effect::Write(id));
            }
        }
    }

    /// Only what is on disk alone goes: to write again what was deleted would be endless.
    fn make_disk_room(&mut self, bytes: u64, effects: &mut Vec<Effect>) -> bool {
        while self.disk_bytes() + bytes > self.disk_bytes_max {
            let Some(at) = self.states.iter().position(|state| !state.in_memory) else { return false };
            self.remove(at, effects);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use nabi_wire::engine::Salt;
    use proptest::prelude::*;

    use super::*;

    fn index(memory_bytes_max: u64, disk_bytes_max: u64) -> Index {
        let limits = SavedPrefixes { memory_bytes_max, disk_bytes_max, folder: Some("/".into()) };
        Index::new(&limits, PrefixRule::Cut)
    }

    fn prefix(own: u32, length: usize) -> Prefix {
        Prefix { salt: Salt::default(), tokens: vec![own; length] }
    }

    fn ids(index: &Index) -> Vec<u64> {
        index.views().iter().map(|view| view.id).collect()
    }

    #[test]
    fn a_longer_state_replaces_the_one_that_it_begins_with() {
        let mut index = index(100, 0);
        assert_eq!(index.insert(1, prefix(1, 10), 10), (true, vec![]));
        assert_eq!(index.insert(2, prefix(1, 20), 20), (true, vec![Effect::Release(1)]));
        let other = Prefix { salt: Salt([1; 16]), ..prefix(1, 30) };
        assert_eq!(index.insert(3, other, 30), (true, vec![]), "another's state replaces none");
        assert_eq!(ids(&index), [2, 3]);
    }

    #[test]
    fn the_least_recently_used_goes_to_disk_and_leaves_memory_when_room_is_needed() {
        let mut index = index(100, 100);
        assert_eq!(index.insert(1, prefix(1, 1), 40), (true, vec![]));
        index.insert(2, prefix(2, 1), 10);
        index.touch(1);
        assert_eq!(index.insert(3, prefix(3, 1), 10).1, [Effect::Write(2)]);
        assert_eq!(index.insert(4, prefix(4, 1), 40).1, [Effect::Write(1)]);
        index.written(2, true);
        index.written(1, true);
        assert_eq!(index.insert(5, prefix(5, 1), 30).1[..2], [Effect::Release(2), Effect::Release(1)]);
        assert_eq!(ids(&index), [2, 1, 3, 4, 5], "all are still known");
    }

    #[test]
    fn what_is_being_written_counts_until_it_is_written() {
        let mut index = index(100, 100);
        assert_eq!(index.insert(1, prefix(1, 1), 80).1, [Effect::Write(1)]);
        assert_eq!(index.forget(1), [Effect::Release(1), Effect::Delete(1)]);
        assert_eq!((index.memory_bytes(), index.insert(2, prefix(2, 1), 30).0), (80, false));
        index.written(1, true);
        assert_eq!((index.memory_bytes(), index.insert(3, prefix(3, 1), 30).0), (0, true));
    }

    #[derive(Debug, Clone)]
    enum Event {
        Insert { own: u32, length: usize, bytes: u64 },
        Touch(usize),
        Written(bool),
        Forget(usize),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            4 => (0..4_u32, 1..9_usize, 0..60_u64)
                .prop_map(|(own, length, bytes)| Event::Insert { own, length, bytes }),
            1 => (0..9_usize).prop_map(Event::Touch),
            2 => any::<bool>().prop_map(Event::Written),
            1 => (0..9_usize).prop_map(Event::Forget),
        ];
        proptest::collection::vec(event, 0..80)
    }

    proptest! {
        #[test]
        fn no_bound_is_passed_and_no_state_is_lost_track_of(
            events in events(), memory in 0..200_u64, disk in 0..200_u64,
        ) {
            let mut index = index(memory, disk);
            let (mut in_memory, mut on_disk) = (HashMap::new(), HashMap::new());
            let mut writing = std::collections::VecDeque::new();
            let at = |index: &Index, at: usize| ids(index).get(at).copied();
            for (id, event) in (0..).zip(events) {
                let effects = match event {
                    Event::Insert { own, length, bytes } => {
                        let (kept, effects) = index.insert(id, prefix(own, length), bytes);
                        if kept {
                            in_memory.insert(id, bytes);
                        }
                        effects
                    }
                    Event::Touch(which) => {
                        at(&index, which).inspect(|&id| index.touch(id));
                        vec![]
                    }
                    Event::Written(succeeded) => {
                        if let Some(id) = writing.pop_front() {
                            index.written(id, succeeded);
                            if !succeeded {
                                on_disk.remove(&id);
                            }
                        }
                        vec![]
                    }
                    Event::Forget(which) => at(&index, which).map_or(vec![], |id| index.forget(id)),
                };
                for effect in effects {
                    match effect {
                        Effect::Write(id) => {
                            let bytes: u64 = in_memory[&id];
                            on_disk.insert(id, bytes);
                            writing.push_back(id);
                        }
                        Effect::Release(id) => prop_assert!(in_memory.remove(&id).is_some()),
                        Effect::Delete(id) => prop_assert!(on_disk.remove(&id).is_some()),
                    }
                }
                let bytes: u64 = in_memory.values().sum();
                prop_assert!(bytes <= index.memory_bytes() && index.memory_bytes() <= memory);
                prop_assert_eq!(on_disk.values().sum::<u64>(), index.disk_bytes());
                prop_assert!(index.disk_bytes() <= disk);
                for id in ids(&index) {
                    prop_assert!(in_memory.contains_key(&id) || on_disk.contains_key(&id));
                }
                prop_assert!(in_memory.keys().chain(on_disk.keys()).all(|id| ids(&index).contains(id)));
            }
        }
    }
}

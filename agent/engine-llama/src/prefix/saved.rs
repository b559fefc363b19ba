//! States that have lost their slot.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;
use nabi_wire::config::SavedPrefixes;

use super::disk::Disk;
use super::index::{Effect, Index};
use super::place::SavedView;
use super::{Prefix, PrefixRule};

/// Keeps states in memory and on disk.
pub(crate) struct Saved {
    index: Index,
    in_memory: HashMap<u64, Arc<Vec<u8>>>,
    disk: Option<Disk>,
    next_id: u64,
}

impl Saved {
    pub(crate) fn new(limits: &SavedPrefixes, rule: PrefixRule) -> Result<Self> {
        let disk = limits.folder.as_deref().map(Disk::open).transpose()?;
        Ok(Self { index: Index::new(limits, rule), in_memory: HashMap::new(), disk, next_id: 0 })
    }

    pub(crate) fn views(&self) -> Vec<SavedView<'_>> {
        self.index.views()
    }

    /// Whether anything is kept at all.
    pub(crate) fn is_on(&self) -> bool {
        self.index.admits(1)
    }

    pub(crate) fn insert(&mut self, prefix: Prefix, state: Vec<u8>) {
        self.settle();
        let id = self.next_id;
        self.next_id += 1;
        let bytes = (state.len() + size_of_val(prefix.tokens.as_slice())) as u64;
        let (kept, effects) = self.index.insert(id, prefix, bytes);
        if kept {
            self.in_memory.insert(id, Arc::new(state));
        }
        self.apply(effects);
    }

    /// A state's bytes. None, with a warning, if its file is damaged; it is forgotten then.
    pub(crate) fn read(&mut self, id: u64) -> Option<Arc<Vec<u8>>> {
        self.settle();
        self.index.touch(id);
        if let Some(state) = self.in_memory.get(&id) {
            return Some(state.clone());
        }
        match self.disk.as_ref()?.read(id) {
            Ok(state) => Some(Arc::new(state)),
            Err(error) => {
                tracing::warn!("{error:#}: its tokens are computed anew");
                self.forget(id);
                None
            }
        }
    }

    pub(crate) fn forget(&mut self, id: u64) {
        let effects = self.index.forget(id);
        self.apply(effects);
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.index.memory_bytes()
    }

    pub(crate) fn disk_bytes(&self) -> u64 {
        self.index.disk_bytes()
    }

    /// Takes note of the writes that have ended.
    pub(crate) fn settle(&mut self) {
        for (id, succeeded) in self.disk.as_mut().map(Disk::written).unwrap_or_default() {
            self.index.written(id, succeeded);
        }
    }

    fn apply(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match (effect, self.disk.as_mut()) {
                (Effect::Release(id), _) => drop(self.in_memory.remove(&id)),
                (Effect::Write(id), Some(disk)) => {
                    if let Some(state) = self.in_memory.get(&id) {
                        disk.write(id, state.clone());
                    }
                }
                (Effect::Delete(id), Some(disk)) => disk.delete(id),
                (Effect::Write(_) | Effect::Delete(_), None) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nabi_wire::engine::Salt;

    use super::*;

    fn prefix(own: u32) -> Prefix {
        Prefix { salt: Salt::default(), tokens: vec![own] }
    }

    #[test]
    fn a_state_goes_from_memory_to_disk_and_a_damaged_file_is_a_miss() {
        let folder = tempfile::tempdir().expect("a folder");
        let limits = SavedPrefixes {
            memory_bytes_max: 100,
            disk_bytes_max: 1000,
            folder: Some(folder.path().to_owned()),
        };
        let mut saved = Saved::new(&limits, PrefixRule::Cut).expect("a folder that can be emptied");
        saved.insert(prefix(0), vec![0; 80]);
        while saved.disk.as_ref().is_some_and(|disk| disk.read(0).is_err()) {
            saved.settle();
        }
        saved.insert(prefix(1), vec![1; 60]);
        assert_eq!((saved.memory_bytes(), saved.in_memory.len()), (64, 1));
        assert_eq!(saved.read(0).as_deref(), Some(&vec![0; 80]));
        fs::write(folder.path().join("0.prefix"), "damaged").expect("writable");
        assert_eq!(saved.read(0), None);
        assert_eq!(saved.views().iter().map(|view| view.id).collect::<Vec<_>>(), [1]);
    }
}

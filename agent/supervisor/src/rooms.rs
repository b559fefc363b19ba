//! What the machine has for engines, and what each of them has of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nabi_domain::ModelName;
use nabi_domain::hardware::{Cpu, Inventory, Memory};
use nabi_domain::plan::{Engine, Room};
use nix::sys::sysinfo::sysinfo;
use tokio::sync::watch;

use crate::hardware::Hardware;

/// Engines that are installed.
const ENGINES: [Engine; 1] = [Engine::LlamaCpp];

/// Shared by all who plan.
#[derive(Clone)]
pub(crate) struct Rooms {
    /// None until the machine was looked at.
    empty: watch::Receiver<Option<Room>>,
    taken: Arc<Mutex<BTreeMap<ModelName, u64>>>,
}

/// Memory that an engine has, until this is dropped.
pub(crate) struct Taken {
    rooms: Rooms,
    name: ModelName,
}

impl Rooms {
    /// Looks at the machine, without waiting for what it finds.
    pub(crate) fn look(hardware: &Hardware) -> Self {
        let (told, empty) = watch::channel(None);
        let hardware = hardware.clone();
        tokio::spawn(async move {
            let room = match hardware.this_machine().await {
                Ok(inventory) => of_this_machine(&inventory),
                Err(error) => {
                    tracing::warn!("cannot look at the machine: {error:#}");
                    of_this_machine(&known_without_a_look())
                }
            };
            told.send_replace(Some(room));
        });
        Self { empty, taken: Arc::default() }
    }

    /// What there is for a model beside the others, once the machine was looked at.
    pub(crate) async fn beside_others(&self, name: &ModelName) -> Room {
        let mut empty = self.empty.clone();
        // Its sender tells before it goes.
        let _ = empty.wait_for(Option::is_some).await;
        self.now_beside_others(name).unwrap_or_else(|| of_this_machine(&known_without_a_look()))
    }

    /// The same; none until the machine was looked at.
    pub(crate) fn now_beside_others(&self, name: &ModelName) -> Option<Room> {
        let empty = self.empty.borrow().clone()?;
        let others = self.taken();
        let taken_bytes = others.iter().filter(|(other, _)| *other != name).map(|(_, bytes)| bytes).sum();
        Some(Room { taken_bytes, ..empty })
    }

    /// Notes what an engine has.
    pub(crate) fn take(&self, name: &ModelName, bytes: u64) -> Taken {
        self.taken().insert(name.clone(), bytes);
        Taken { rooms: self.clone(), name: name.clone() }
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<ModelName, u64>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.rooms.taken().remove(&self.name);
    }
}

/// What this process and those that it starts may use of a machine that it runs on: fewer processors than it
/// has, where somebody bound it to some of them.
pub(crate) fn of_this_machine(inventory: &Inventory) -> Room {
    let room = Room::of(inventory, ENGINES.to_vec());
    Room { threads: room.threads.min(usable_threads().saturating_sub(1).max(1)), ..room }
}

/// What a machine has that is only recorded.
pub(crate) fn of_another(inventory: &Inventory) -> Room {
    Room::of(inventory, ENGINES.to_vec())
}

fn usable_threads() -> u32 {
    std::thread::available_parallelism().map_or(1, usize::from) as u32
}

/// What the system tells whoever asks.
fn known_without_a_look() -> Inventory {
    let total_bytes = sysinfo().map_or(0, |system| system.ram_total());
    let threads = usable_threads();
    Inventory {
        memory: Memory { total_bytes, ..Memory::default() },
        cpu: Cpu { threads, cores: threads, ..Cpu::default() },
        ..Inventory::default()
    }
}

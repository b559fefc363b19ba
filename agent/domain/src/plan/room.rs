//! What a machine has for models.

use serde::{Deserialize, Serialize};

use crate::hardware::{Driver, Inventory, Maker};

/// Of the machine's memory, engines may have so many hundredths: what their units allow.
const ENGINES_PERCENT: u64 = 90;
/// Cores that are left to the gateway.
const CORES_LEFT: u32 = 1;

/// A program that computes models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Engine {
    /// On processors.
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
    /// On accelerators.
    #[serde(rename = "vllm")]
    Vllm,
}

/// What a machine has for models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Room {
    /// Memory that engines may have, all together.
    pub memory_bytes: u64,
    /// Of it, what others have already.
    pub taken_bytes: u64,
    /// Threads that compute.
    pub threads: u32,
    /// Processor sockets: memory of another one is far.
    pub sockets: u32,
    /// What all these threads together read of memory in a second, where it was measured.
    pub read_bytes_per_s: Option<u64>,
    /// Accelerators that work, equal ones together.
    pub devices: Vec<Devices>,
    /// What is installed.
    pub engines: Vec<Engine>,
}

/// Equal accelerators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Devices {
    /// Whose.
    pub maker: Maker,
    /// The product, or what else is known of it.
    pub name: String,
    /// How many.
    pub count: u32,
    /// Of each.
    pub memory_bytes: u64,
    /// What each reads of its memory in a second, where it is known.
    pub read_bytes_per_s: Option<u64>,
}

impl Room {
    /// Of a machine on which nothing runs yet.
    #[must_use]
    pub fn of(inventory: &Inventory, engines: Vec<Engine>) -> Self {
        let memory = &inventory.memory;
        let total = memory.limit_bytes.map_or(memory.total_bytes, |limit| limit.min(memory.total_bytes));
        Self {
            memory_bytes: total / 100 * ENGINES_PERCENT,
            taken_bytes: 0,
            threads: threads(inventory),
            sockets: inventory.cpu.sockets.max(1),
            read_bytes_per_s: None,
            devices: devices(inventory),
            engines,
        }
    }

    /// Memory that is left.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.memory_bytes.saturating_sub(self.taken_bytes)
    }
}

/// Cores and not hyper-threads, which share what computes; ggml's threads spin at barriers, and more of
/// them than free cores cost a factor of ten.
fn threads(inventory: &Inventory) -> u32 {
    let cpu = &inventory.cpu;
    let cores = if cpu.cores > 0 { cpu.cores.min(cpu.threads.max(1)) } else { cpu.threads };
    let quota =
        cpu.quota_millicores.map_or(u32::MAX, |quota| u32::try_from(quota / 1000).unwrap_or(u32::MAX));
    cores.min(quota).saturating_sub(CORES_LEFT).max(1)
}

fn devices(inventory: &Inventory) -> Vec<Devices> {
    let mut groups: Vec<Devices> = Vec::new();
    for accelerator in &inventory.accelerators {
        let (Driver::Works { .. }, Some(memory_bytes), false) =
            (&accelerator.driver, accelerator.memory_bytes, accelerator.is_integrated)
        else {
            continue;
        };
        let name = accelerator.name.clone().or_else(|| accelerator.chip.clone());
        let name = name.or_else(|| accelerator.id.map(|id| id.to_string())).unwrap_or_default();
        let same = |group: &&mut Devices| {
            (group.maker, group.memory_bytes, &group.name) == (accelerator.maker, memory_bytes, &name)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.count += 1,
            None => {
                let maker = accelerator.maker;
                groups.push(Devices { maker, name, count: 1, memory_bytes, read_bytes_per_s: None });
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::{Accelerator, Cpu, Memory};

    fn accelerator(memory_bytes: Option<u64>, driver: Driver) -> Accelerator {
        Accelerator {
            maker: Maker::Nvidia,
            address: None,
            id: None,
            name: Some("H200".into()),
            chip: None,
            memory_bytes,
            is_integrated: false,
            numa_node: None,
            driver,
            nodes: Vec::new(),
            links: Vec::new(),
            nvidia: None,
        }
    }

    #[test]
    fn a_control_group_bounds_what_a_machine_has() {
        let memory = Memory { total_bytes: 1000, limit_bytes: Some(200), ..Memory::default() };
        let cpu = Cpu { cores: 16, threads: 32, quota_millicores: Some(4500), ..Cpu::default() };
        let room = Room::of(&Inventory { memory, cpu, ..Inventory::default() }, Vec::new());
        assert_eq!((room.memory_bytes, room.threads, room.sockets), (180, 3, 1));
        let cpu = Cpu { cores: 16, threads: 32, ..Cpu::default() };
        let memory = Memory { total_bytes: 1000, limit_bytes: Some(u64::MAX), ..Memory::default() };
        let room = Room::of(&Inventory { memory, cpu, ..Inventory::default() }, Vec::new());
        assert_eq!((room.memory_bytes, room.threads), (900, 15));
    }

    #[test]
    fn something_computes_even_where_the_kernel_tells_nothing() {
        let room = Room::of(&Inventory::default(), Vec::new());
        assert_eq!((room.memory_bytes, room.threads, room.free_bytes()), (0, 1, 0));
    }

    #[test]
    fn only_accelerators_that_work_and_tell_their_memory_count() {
        let works = || Driver::Works { name: "nvidia".into(), version: None };
        let missing = Driver::Missing { wanted: "nvidia".into() };
        let accelerators = vec![
            accelerator(Some(141), works()),
            accelerator(None, works()),
            accelerator(Some(141), missing),
            accelerator(Some(80), works()),
            accelerator(Some(141), works()),
        ];
        let room = Room::of(&Inventory { accelerators, ..Inventory::default() }, Vec::new());
        let counted: Vec<_> = room.devices.iter().map(|group| (group.memory_bytes, group.count)).collect();
        assert_eq!(counted, [(141, 2), (80, 1)]);
    }
}

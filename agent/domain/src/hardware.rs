//! What a machine has. Found by `nabi-hardware` in files of the kernel alone, below a root folder that
//! may be a recording: so nothing here is measured, and the same tree gives the same inventory.

mod accelerator;
mod cpu;
mod machine;
mod nvidia;

pub use accelerator::{Accelerator, Driver, Link, LinkKind, Maker, PciAddress, PciId};
pub use cpu::{Architecture, Cache, CacheKind, Cpu};
pub use machine::{
    Board, Disk, DiskKind, HugePages, Memory, NetworkCard, NumaNode, Power, PowerSupply, RaplDomain,
    TransparentHugePages,
};
pub use nvidia::{Ecc, Mig, MigPart, Nvidia, NvidiaCard};

use serde::{Deserialize, Serialize};

/// All of it. What the kernel does not tell is absent, never guessed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// What its maker calls it.
    pub board: Board,
    /// Its processors, as one.
    pub cpu: Cpu,
    /// Its memory.
    pub memory: Memory,
    /// Which memory is near to which processors.
    pub numa_nodes: Vec<NumaNode>,
    /// Disks, by name.
    pub disks: Vec<Disk>,
    /// Network cards, by name.
    pub network_cards: Vec<NetworkCard>,
    /// Where its power comes from.
    pub power: Power,
    /// Accelerators, by address; those without a driver as well.
    pub accelerators: Vec<Accelerator>,
    /// What could not be read, and why.
    pub problems: Vec<Problem>,
}

/// Something that is there but tells nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    /// A file below the root folder, or what else was asked.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

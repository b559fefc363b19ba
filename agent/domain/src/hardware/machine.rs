//! What is beside the processors: memory, disks, network, power.

use serde::{Deserialize, Serialize};

/// A machine's make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// Its maker.
    pub vendor: Option<String>,
    /// Its product name.
    pub product: Option<String>,
}

/// Main memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// What the kernel manages.
    pub total_bytes: u64,
    /// What a new program can have without swapping.
    pub available_bytes: u64,
    /// Swap space.
    pub swap_bytes: u64,
    /// What a control group leaves the one who looks.
    pub limit_bytes: Option<u64>,
    /// Pages set aside, by size.
    pub huge_pages: Vec<HugePages>,
    /// Whether the kernel makes huge pages by itself.
    pub transparent_huge_pages: Option<TransparentHugePages>,
}

/// Huge pages of one size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HugePages {
    /// Of one page.
    pub page_bytes: u64,
    /// Set aside.
    pub pages: u64,
    /// Of these, not in use.
    pub free_pages: u64,
}

/// When the kernel makes huge pages by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransparentHugePages {
    /// Where it can.
    Always,
    /// Where a program asks.
    Madvise,
    /// Nowhere.
    Never,
}

/// Memory, and the processors that are near to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumaNode {
    /// Its number.
    pub id: u32,
    /// Its processors that are online, as the kernel writes a list: `0-15,32-47`. Empty for memory alone.
    pub cpus: String,
    /// Its memory.
    pub memory_bytes: u64,
    /// To each node, in the order of the kernel; itself is 10.
    pub distances: Vec<u32>,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// `nvme0n1`.
    pub name: String,
    /// What its maker calls it.
    pub model: Option<String>,
    /// How it works.
    pub kind: DiskKind,
    /// Its size.
    pub bytes: u64,
    /// The smallest part that can be addressed.
    pub logical_block_bytes: u32,
    /// A stick, or a card.
    pub is_removable: bool,
    /// It cannot be written.
    pub is_read_only: bool,
}

/// How a disk works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskKind {
    /// Flash on PCI.
    Nvme,
    /// Flash otherwise.
    SolidState,
    /// It turns.
    Rotating,
    /// A virtual machine's: whatever is behind it.
    Virtual,
}

/// A network card; bridges, bonds and tunnels are none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkCard {
    /// `enp1s0`.
    pub name: String,
    /// Of the kernel.
    pub driver: Option<String>,
    /// Its address.
    pub mac: Option<String>,
    /// Whether a cable with somebody at its other end is in.
    pub has_link: bool,
    /// What both ends agreed on.
    pub mbit_per_s: Option<u32>,
}

/// Where power comes from, and where it is measured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Power {
    /// Mains, batteries, and a UPS where it is one of the kernel's power supplies.
    pub supplies: Vec<PowerSupply>,
    /// Counters of used energy.
    pub rapl: Vec<RaplDomain>,
}

/// A power supply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerSupply {
    /// The kernel's name.
    pub name: String,
    /// `Mains`, `Battery`, `UPS`, `USB`.
    pub kind: String,
    /// Mains: whether it gives power.
    pub is_online: Option<bool>,
    /// Batteries: what is left.
    pub percent: Option<u8>,
    /// Batteries: `Charging`, `Discharging`, `Full`.
    pub status: Option<String>,
}

/// A counter of used energy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RaplDomain {
    /// `package-0`, `dram`.
    pub name: String,
    /// Whether we may read it: kernels leave that to root.
    pub is_readable: bool,
}

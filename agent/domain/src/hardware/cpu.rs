//! Processors.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// All processors of a machine, taken as one: servers have several of the same kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cpu {
    /// The instruction set.
    pub architecture: Architecture,
    /// `GenuineIntel`, `AuthenticAMD`, `HygonGenuine`; on ARM by the number of the implementer.
    pub vendor: Option<String>,
    /// As the maker names it.
    pub name: Option<String>,
    /// x86: the family.
    pub family: Option<u32>,
    /// x86: the model; ARM: the part number.
    pub model: Option<u32>,
    /// x86: the stepping; ARM: the revision.
    pub stepping: Option<u32>,
    /// Extensions of the instruction set that all processors have and that kernels ask for, by the
    /// kernel's names: `avx512_vnni`, `amx_tile`, `sve2`, `i8mm`.
    pub extensions: BTreeSet<String>,
    /// Sockets.
    pub sockets: u32,
    /// Cores, not counting hyper-threads.
    pub cores: u32,
    /// What the scheduler may use: hyper-threads that are online.
    pub threads: u32,
    /// Processor time that a control group leaves the one who looks, in thousandths of a processor.
    pub quota_millicores: Option<u64>,
    /// Caches, by level.
    pub caches: Vec<Cache>,
}

/// An instruction set, by Rust's names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit ARM.
    Aarch64,
    /// 64-bit POWER.
    Powerpc64,
    /// 64-bit RISC-V.
    Riscv64,
    /// 64-bit LoongArch.
    Loongarch64,
    /// None that we know.
    #[default]
    Unknown,
}

/// All caches of one level and kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// 1 is next to the core.
    pub level: u8,
    /// What it holds.
    pub kind: CacheKind,
    /// Of each.
    pub bytes: u64,
    /// How many there are.
    pub count: u32,
}

/// What a cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheKind {
    /// Data.
    Data,
    /// Instructions.
    Instruction,
    /// Both.
    Unified,
}

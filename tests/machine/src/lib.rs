//! Virtual computers in software, driven as a person drives a real one: put a disk in, switch on,
//! read the screen, plug a stick, pull the network cable, pull the plug.
//!
//! ```text
//! Disk ── Computer (off) ── boot ──► Machine (on) ─┬─ Console  lines of the serial line, with times
//!  │                          ▲          │         ├─ Ssh      the operator
//!  │ on_esp, write_region     └──────────┘         └─ capture  what it sends
//!  └─ stick::*              power off, power cut
//! ```
//! No verdict depends on time: each wait has a limit that only ends a hang, and its message has the
//! screen's last lines. A machine ends with its `Machine`, and with the thread that booted it.

mod arguments;
mod capture;
mod computer;
mod console;
mod disk;
mod esp;
mod machine;
mod qmp;
mod ssh;
pub mod stick;
mod tool;
mod uki;

pub use arguments::{Forward, Setup, credential, terminal};
pub use capture::{Kind, Packet, packets};
pub use computer::{Computer, fresh_variables};
pub use console::{Console, Line};
pub use disk::{Disk, Region};
pub use esp::{Esp, on_esp};
pub use machine::{BOOT_S_MAX, FIRMWARE_STARTS, Machine};
pub use ssh::Ssh;
pub use uki::with_more_arguments;

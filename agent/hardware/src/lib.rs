//! Reads what a machine has, below a root folder: `/`, or a recording of another machine. Only files
//! of the kernel are read, never a vendor's library; whatever they say, reading ends and tells what
//! could not be read.

mod accelerator;
mod board;
mod control_group;
mod cpu;
mod disk;
mod list;
mod memory;
mod network;
mod pci;
mod power;
mod recording;
mod tree;

use std::io;
use std::path::Path;

use nabi_domain::hardware::Inventory;

pub use accelerator::NVIDIA_LIBRARIES;
pub use recording::{lay_out, read as read_recording};
use tree::Tree;

/// What was found, and a recording of all that was read for it.
#[derive(Debug)]
pub struct Found {
    /// What the machine has.
    pub inventory: Inventory,
    /// A text that [`lay_out`] makes files of, which give the same inventory.
    pub recording: String,
}

/// Reads a machine.
///
/// # Errors
/// When the folder itself cannot be opened.
pub fn read(root: &Path) -> io::Result<Found> {
    let tree = Tree::open(root)?;
    let mut inventory = Inventory {
        board: board::read(&tree),
        cpu: cpu::read(&tree),
        memory: memory::read(&tree),
        numa_nodes: memory::nodes(&tree),
        disks: disk::read(&tree),
        network_cards: network::read(&tree),
        power: power::read(&tree),
        accelerators: accelerator::read(&tree),
        problems: Vec::new(),
    };
    let (entries, problems) = tree.close();
    inventory.problems = problems;
    Ok(Found { inventory, recording: recording::to_text(&entries) })
}

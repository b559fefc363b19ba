//! Disks.
//! <https://docs.kernel.org/admin-guide/abi-stable.html#abi-file-stable-sysfs-block>

use nabi_domain::hardware::{Disk, DiskKind};

use crate::tree::Tree;

const BLOCK: &str = "sys/block";
/// The kernel counts in these, whatever the disk's are.
const SECTOR_BYTES: u64 = 512;
const LOGICAL_BLOCK_BYTES_DEFAULT: u32 = 512;

pub(crate) fn read(tree: &Tree) -> Vec<Disk> {
    tree.names(BLOCK).into_iter().filter_map(|name| disk(tree, name)).collect()
}

/// None for what is no disk: loops, memory, logical volumes, drives without a medium.
fn disk(tree: &Tree, name: String) -> Option<Disk> {
    // Optical drives hold no models, and eMMC has partitions of its own for booting.
    let is_other = name.starts_with("sr") || name.starts_with("fd") || name.contains("boot");
    if is_other || !tree.exists(&format!("{BLOCK}/{name}/device")) {
        return None;
    }
    let number = |file: &str| tree.number(&format!("{BLOCK}/{name}/{file}"));
    // One of several ways to a disk that is there under its own name.
    if number("hidden") == Some(1) {
        return None;
    }
    let bytes = number("size")?.checked_mul(SECTOR_BYTES).filter(|&bytes| bytes > 0)?;
    let block = number("queue/logical_block_size").and_then(|block| u32::try_from(block).ok());
    let kind = if name.starts_with("nvme") {
        DiskKind::Nvme
    } else if name.starts_with("vd") || name.starts_with("xvd") {
        DiskKind::Virtual
    } else if number("queue/rotational") == Some(1) {
        DiskKind::Rotating
    } else {
        DiskKind::SolidState
    };
    Some(Disk {
        model: tree.text(&format!("{BLOCK}/{name}/device/model")),
        kind,
        bytes,
        logical_block_bytes: block.unwrap_or(LOGICAL_BLOCK_BYTES_DEFAULT),
        is_removable: number("removable") == Some(1),
        is_read_only: number("ro") == Some(1),
        name,
    })
}

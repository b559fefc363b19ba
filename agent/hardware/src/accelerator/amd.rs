//! AMD, and Hygon, whose driver comes from AMD's: what `amdkfd` tells of its nodes.
//!
//! Formats: `drivers/gpu/drm/amd/amdkfd/kfd_topology.c` of Linux; meaning of the values:
//! `libhsakmt/include/hsakmt/hsakmttypes.h` of ROCm. A card may be parted: then several nodes of one
//! card are accelerators of their own, each with its share of the memory.

use std::collections::BTreeMap;

use nabi_domain::hardware::{Accelerator, Driver, Link, LinkKind, Maker, PciAddress};

use crate::pci::Device;
use crate::tree::Tree;

const TOPOLOGY: &str = "sys/class/kfd/kfd/topology";
/// `heap_type` of memory that is the card's own: what the processor sees of it, and the rest.
const HEAPS: [u64; 2] = [1, 2];
/// `type` of a link.
const XGMI: u64 = 11;
/// Partitions of a card take these bits of `location_id`, which are a function elsewhere.
const PARTITION_MASK: u64 = 0b111;
/// The topology changes while it is read: how often it is read again.
const ATTEMPTS: u32 = 3;

/// A node that is a GPU.
struct Node {
    id: u32,
    address: PciAddress,
    chip: Option<String>,
    memory_bytes: Option<u64>,
    /// On the processor's own chip, with its memory.
    is_integrated: bool,
    render_minor: u64,
    links: Vec<(LinkKind, u32)>,
}

/// Adds what the driver tells; a card that is parted becomes several accelerators.
pub(super) fn complete(tree: &Tree, found: &mut Vec<(Device, Accelerator)>) {
    let is_ours = |accelerator: &Accelerator| matches!(accelerator.maker, Maker::Amd | Maker::Hygon);
    if !found.iter().any(|(_, accelerator)| is_ours(accelerator)) {
        return;
    }
    let nodes = nodes(tree);
    let addresses: BTreeMap<u32, PciAddress> = nodes.iter().map(|node| (node.id, node.address)).collect();
    let mut parts = Vec::new();
    for (device, accelerator) in found.iter_mut().filter(|(_, accelerator)| is_ours(accelerator)) {
        let mut own = nodes.iter().filter(|node| node.address == device.address);
        let Some(first) = own.next() else {
            without_node(tree, device, accelerator);
            continue;
        };
        fill(accelerator, first, &addresses);
        for node in own {
            let mut part = accelerator.clone();
            fill(&mut part, node, &addresses);
            parts.push((device.clone(), part));
        }
    }
    found.extend(parts);
}

fn fill(accelerator: &mut Accelerator, node: &Node, addresses: &BTreeMap<u32, PciAddress>) {
    accelerator.chip.clone_from(&node.chip);
    accelerator.memory_bytes = node.memory_bytes;
    accelerator.is_integrated = node.is_integrated;
    accelerator.nodes = vec!["dev/kfd".into(), format!("dev/dri/renderD{}", node.render_minor)];
    let links = node.links.iter().filter_map(|&(kind, to)| Some(Link { kind, to: *addresses.get(&to)? }));
    accelerator.links = links.filter(|link| link.to != node.address).collect();
    accelerator.links.sort();
    accelerator.links.dedup();
}

/// The display works, or nothing does; but no program can compute on it.
fn without_node(tree: &Tree, device: &Device, accelerator: &mut Accelerator) {
    // Of the whole card, and on integrated ones what the firmware set aside.
    accelerator.memory_bytes =
        tree.text_if_allowed(&device.path("mem_info_vram_total")).and_then(|text| text.parse().ok());
    if let Driver::Works { name, .. } = &accelerator.driver {
        let reason = match is_hidden(tree) {
            true => "a control group keeps it from us: this container was not given it",
            false => "its driver offers it to no program (KFD has no node of it): the kernel's log says why",
        };
        accelerator.driver = Driver::Failed { name: name.clone(), reason: reason.into() };
    }
}

/// A node that is there and tells nothing is one of those that a control group hides.
fn is_hidden(tree: &Tree) -> bool {
    let nodes = format!("{TOPOLOGY}/nodes");
    tree.numbered(&nodes, "").iter().any(|id| {
        let file = format!("{nodes}/{id}/gpu_id");
        tree.exists(&file) && tree.text_if_allowed(&file).is_none()
    })
}

fn nodes(tree: &Tree) -> Vec<Node> {
    let generation = || tree.text(&format!("{TOPOLOGY}/generation_id"));
    let mut nodes = Vec::new();
    for _ in 0..ATTEMPTS {
        let before = generation();
        let numbers = tree.numbered(&format!("{TOPOLOGY}/nodes"), "");
        nodes = numbers.into_iter().filter_map(|id| node(tree, id)).collect();
        if generation() == before {
            break;
        }
    }
    nodes
}

/// None for processors, and for what a control group hides from us.
fn node(tree: &Tree, id: u32) -> Option<Node> {
    let folder = format!("{TOPOLOGY}/nodes/{id}");
    let gpu_id: u64 = tree.text_if_allowed(&format!("{folder}/gpu_id"))?.parse().ok()?;
    if gpu_id == 0 {
        return None;
    }
    let properties = properties(tree, &format!("{folder}/properties"))?;
    let value = |key: &str| properties.get(key).copied();
    let version = value("gfx_target_version").unwrap_or(0);
    let render_minor = value("drm_render_minor").filter(|&minor| minor > 0)?;
    Some(Node {
        id,
        address: address(value("domain").unwrap_or(0), value("location_id")?)?,
        chip: (version > 0).then(|| chip(version)),
        memory_bytes: memory_bytes(tree, &folder),
        is_integrated: value("cpu_cores_count").is_some_and(|cores| cores > 0),
        render_minor,
        links: links(tree, &folder),
    })
}

/// Lines such as `simd_count 1216`.
fn properties(tree: &Tree, path: &str) -> Option<BTreeMap<String, u64>> {
    let text = tree.text_if_allowed(path)?;
    let pairs = text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    });
    Some(pairs.collect())
}

/// Bits 8 to 15 are the bus, 3 to 7 the device.
fn address(domain: u64, location: u64) -> Option<PciAddress> {
    let location = location & !PARTITION_MASK;
    Some(PciAddress {
        domain: u32::try_from(domain).ok()?,
        bus: u8::try_from(location >> 8 & 0xff).ok()?,
        device: u8::try_from(location >> 3 & 0x1f).ok()?,
        function: 0,
    })
}

/// 90402 is gfx942: major, minor and stepping, the last two as hexadecimal digits.
fn chip(version: u64) -> String {
    format!("gfx{}{:x}{:x}", version / 10_000, version / 100 % 100, version % 100)
}

fn memory_bytes(tree: &Tree, folder: &str) -> Option<u64> {
    let banks = tree.numbered(&format!("{folder}/mem_banks"), "");
    let own = banks.into_iter().filter_map(|bank| {
        let bank = properties(tree, &format!("{folder}/mem_banks/{bank}/properties"))?;
        HEAPS.contains(bank.get("heap_type")?).then(|| bank.get("size_in_bytes").copied())?
    });
    let bytes = own.fold(0_u64, u64::saturating_add);
    (bytes > 0).then_some(bytes)
}

fn links(tree: &Tree, folder: &str) -> Vec<(LinkKind, u32)> {
    let numbers = tree.numbered(&format!("{folder}/io_links"), "");
    let link = |number: u32| {
        let link = properties(tree, &format!("{folder}/io_links/{number}/properties"))?;
        (link.get("type") == Some(&XGMI)).then_some(())?;
        Some((LinkKind::Xgmi, u32::try_from(*link.get("node_to")?).ok()?))
    };
    numbers.into_iter().filter_map(link).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chips_have_hexadecimal_digits() {
        for (version, name) in [
            (90_402, "gfx942"),
            (90_010, "gfx90a"),
            (90_006, "gfx906"),
            (110_000, "gfx1100"),
            (90_500, "gfx950"),
        ] {
            assert_eq!(chip(version), name);
        }
    }

    #[test]
    fn partitions_are_at_the_address_of_their_card() {
        let text = |domain, location| address(domain, location).map(|address| address.to_string());
        assert_eq!(text(0, 1280).as_deref(), Some("0000:05:00.0"));
        assert_eq!(text(0, 1287).as_deref(), Some("0000:05:00.0"));
        assert_eq!(text(1, 0xc100).as_deref(), Some("0001:c1:00.0"));
    }
}

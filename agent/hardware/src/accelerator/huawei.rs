//! Huawei's Ascend.
//!
//! Formats: the driver's `devdrv_sysfs.c` and `devdrv_pci.c` (hicann/driver). No file tells the size of
//! the memory, nor which of 910B1 to 910B4 a 910B is: only the chip does, asked through DCMI. Files of
//! the driver that send it a message are left alone, since a dead chip does not answer.

use nabi_domain::hardware::{Accelerator, Driver, Maker};

use crate::pci::Device;
use crate::tree::Tree;

/// What every program on Ascend opens beside the chip's own node.
const SHARED_NODES: [&str; 3] = ["dev/davinci_manager", "dev/devmm_svm", "dev/hisi_hdc"];
const INSTALLED: &str = "etc/ascend_install.info";
const PATH_DEFAULT: &str = "/usr/local/Ascend";

/// Adds what the driver tells; a function on the bus with two chips becomes two accelerators.
pub(super) fn complete(tree: &Tree, found: &mut Vec<(Device, Accelerator)>) {
    let mut more = Vec::new();
    for (device, accelerator) in found.iter_mut().filter(|(_, found)| found.maker == Maker::Huawei) {
        accelerator.chip = family(device.id.device).map(str::to_owned);
        let numbers = match &mut accelerator.driver {
            Driver::Works { version, .. } => {
                *version = installed_version(tree).or(version.take());
                numbers(tree, device)
            }
            _ => Vec::new(),
        };
        // Without its driver a board of two chips is known by its number alone.
        let chips = numbers.len().max(if has_two_chips(device) { 2 } else { 1 });
        for chip in 1..chips {
            let nodes = nodes(tree, numbers.get(chip).copied());
            more.push((device.clone(), Accelerator { nodes, ..accelerator.clone() }));
        }
        accelerator.nodes = nodes(tree, numbers.first().copied());
    }
    found.extend(more);
}

/// Numbers of the nodes of a function's chips, which are not in the order of the bus.
fn numbers(tree: &Tree, device: &Device) -> Vec<u32> {
    let address = device.address.to_string();
    let short = address.split_once(':').map_or("", |(_, short)| short);
    // A table of all functions, without their domains: it is the same file for each.
    let table = tree.text_if_allowed(&device.path("devdrv_sysfs_bdf_to_devid")).unwrap_or_default();
    let numbers = table.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some(short)).then(|| words.next()?.parse().ok())?
    });
    let numbers: Vec<u32> = numbers.collect();
    if !numbers.is_empty() {
        return numbers;
    }
    tree.text_if_allowed(&device.path("dev_id")).and_then(|text| text.parse().ok()).into_iter().collect()
}

fn nodes(tree: &Tree, number: Option<u32>) -> Vec<String> {
    let Some(number) = number else { return Vec::new() };
    let own = format!("dev/davinci{number}");
    let nodes = std::iter::once(own).chain(SHARED_NODES.map(str::to_owned));
    nodes.filter(|node| tree.exists(node)).collect()
}

/// The Atlas 300I Duo and its kin, by `devdrv_pci.c`.
fn has_two_chips(device: &Device) -> bool {
    matches!(device.id.device, 0xd500 | 0xd501) && device.board.is_some_and(|board| board.device >> 4 == 0x11)
}

/// By `devdrv_pci.h`.
fn family(device: u16) -> Option<&'static str> {
    Some(match device {
        0xd100 | 0xd107 => "310",
        0xd105 => "310B",
        0xd500 | 0xd501 => "310P",
        0xd801 => "910",
        0xd802 => "910B",
        0xd803 => "910C",
        0xd806 | 0xd807 => "950",
        _ => return None,
    })
}

/// Of what was installed, which is what is loaded unless somebody forgot to restart.
fn installed_version(tree: &Tree) -> Option<String> {
    let installed = tree.text_if_allowed(INSTALLED).unwrap_or_default();
    let path = value(&installed, "Driver_Install_Path_Param").unwrap_or(PATH_DEFAULT);
    let text = tree.text_if_allowed(&format!("{}/driver/version.info", path.trim_start_matches('/')))?;
    ["package_version", "Version", "version"].iter().find_map(|key| value(&text, key)).map(str::to_owned)
}

/// Of lines such as `Version=25.0.rc1.1`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let value = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
    value.map(str::trim).filter(|value| !value.is_empty())
}

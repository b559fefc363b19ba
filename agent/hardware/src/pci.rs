//! Devices on PCI.
//! <https://docs.kernel.org/PCI/sysfs-pci.html>

use nabi_domain::hardware::{PciAddress, PciId};

use crate::tree::{Tree, number};

const DEVICES: &str = "sys/bus/pci/devices";

/// A device that may be an accelerator.
#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) address: PciAddress,
    pub(crate) id: PciId,
    /// The board that it is on, by the board's maker.
    pub(crate) board: Option<PciId>,
    /// Base class, subclass, programming interface.
    pub(crate) class: u32,
    pub(crate) driver: Option<String>,
    pub(crate) numa_node: Option<u32>,
}

impl Device {
    /// A file of it.
    pub(crate) fn path(&self, file: &str) -> String {
        format!("{DEVICES}/{}/{file}", self.address)
    }
}

pub(crate) fn devices(tree: &Tree) -> Vec<Device> {
    tree.names(DEVICES).into_iter().filter_map(|name| device(tree, &name)).collect()
}

fn device(tree: &Tree, name: &str) -> Option<Device> {
    let file = |file: &str| tree.text(&format!("{DEVICES}/{name}/{file}"));
    let sixteen = |name: &str| file(name).and_then(|text| u16::try_from(number(&text)?).ok());
    let id = |vendor, device| Some(PciId { vendor: sixteen(vendor)?, device: sixteen(device)? });
    Some(Device {
        address: name.parse().ok()?,
        id: id("vendor", "device")?,
        board: id("subsystem_vendor", "subsystem_device"),
        class: file("class").and_then(|text| u32::try_from(number(&text)?).ok())?,
        driver: tree.link(&format!("{DEVICES}/{name}/driver")),
        // -1 is no node.
        numa_node: file("numa_node").and_then(|text| text.parse().ok()),
    })
}

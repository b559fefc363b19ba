//! Intel.
//!
//! Neither of Linux' drivers tells the size of a card's memory in a file; Intel's own i915 does
//! (`i915_sysfs.c` of intel-gpu-i915-backports). The range of addresses on the bus is a power of two,
//! or a window: no size.

use nabi_domain::hardware::Accelerator;

use crate::pci::Device;
use crate::tree::Tree;

/// Where the processor's own graphics are, on every machine that has them.
const INTEGRATED_DEVICE: u8 = 2;

pub(super) fn complete(tree: &Tree, device: &Device, accelerator: &mut Accelerator) {
    let address = device.address;
    accelerator.is_integrated = address.bus == 0 && address.device == INTEGRATED_DEVICE;
    for name in tree.names(&device.path("drm")) {
        if name.starts_with("renderD") {
            accelerator.nodes.push(format!("dev/dri/{name}"));
        } else if name.starts_with("card") {
            let bytes = tree.text_if_allowed(&device.path(&format!("drm/{name}/lmem_total_bytes")));
            accelerator.memory_bytes = accelerator.memory_bytes.or_else(|| bytes?.parse().ok());
        }
    }
}

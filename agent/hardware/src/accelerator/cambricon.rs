//! Cambricon.
//!
//! Formats: `proc/cndrv_proc.c` and `core/cndrv_core.c` of the driver, 5.10. Files there that act when
//! they are written, or ask the card, are left alone.

use nabi_domain::hardware::{Accelerator, Driver};

use crate::pci::Device;
use crate::tree::{Tree, number};

const CARDS: &str = "proc/driver/cambricon/mlus";
const RUNNING: &str = "CN_RUNNING";

pub(super) fn complete(tree: &Tree, device: &Device, accelerator: &mut Accelerator) {
    let folder = format!("{CARDS}/{}", device.address);
    let Driver::Works { name, .. } = &accelerator.driver else { return };
    match tree.text(&format!("{folder}/core_state")) {
        Some(state) if state != RUNNING => {
            let reason = format!(
                "the card is in the state {state}: restart the machine; if it stays, the card is broken"
            );
            accelerator.driver = Driver::Failed { name: name.clone(), reason };
        }
        _ => {}
    }
    let attributes = tree.text(&format!("{folder}/attr")).unwrap_or_default();
    accelerator.memory_bytes = memory_bytes(&attributes);
    for node in tree.names(&device.path("cambricon")) {
        accelerator.nodes.push(format!("dev/{node}"));
    }
}

/// `  GLOBAL_MEMORY_TOTAL_SIZE : 0xa59c MiB`.
fn memory_bytes(attributes: &str) -> Option<u64> {
    let line = attributes.lines().find(|line| line.contains("GLOBAL_MEMORY_TOTAL_SIZE"))?;
    let mib = number(line.split_once(':')?.1.trim().strip_suffix("MiB")?.trim())?;
    mib.checked_mul(1 << 20)
}

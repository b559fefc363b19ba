//! NVIDIA.
//!
//! Formats: `kernel-open/nvidia/nv-procfs.c` of NVIDIA/open-gpu-kernel-modules. The size of the memory
//! and the compute capability are in no file: NVML tells them, which is asked elsewhere and with a limit
//! of time. What is broken in a way that files show is not worth asking about.

use nabi_domain::hardware::{Accelerator, Driver};

use crate::pci::Device;
use crate::tree::Tree;

const GPUS: &str = "proc/driver/nvidia/gpus";
/// Every program opens these beside the card's own node.
const SHARED_NODES: [&str; 2] = ["dev/nvidiactl", "dev/nvidia-uvm"];
/// Where distributions and containers put the library, below the root folder; its real name ends in its
/// version.
pub const LIBRARIES: [&str; 6] = [
    "usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
    "usr/lib/x86_64-linux-gnu/nvidia/current/libnvidia-ml.so.1",
    "usr/lib/aarch64-linux-gnu/libnvidia-ml.so.1",
    "usr/lib/aarch64-linux-gnu/nvidia/current/libnvidia-ml.so.1",
    "usr/lib64/libnvidia-ml.so.1",
    "run/nvidia/driver/usr/lib64/libnvidia-ml.so.1",
];
const LIBRARY_NAME: &str = "libnvidia-ml.so.";
/// What all ones in the register of a card that does not answer are read as.
const WIDTHS_OF_NOTHING: [&str; 2] = ["63", "255"];
/// The driver's word for a card that its table does not have.
const UNKNOWN: &str = "Unknown";

pub(super) fn complete(tree: &Tree, device: &Device, accelerator: &mut Accelerator) {
    let Driver::Works { name, version } = &accelerator.driver else { return };
    let information = tree.text(&format!("{GPUS}/{}/information", device.address));
    let value = |key: &str| information.as_deref().and_then(|text| value(text, key));
    if let Some(model) = value("Model").filter(|&model| model != UNKNOWN) {
        accelerator.name = Some(model.to_owned());
    }
    if let Some(minor) = value("Device Minor").and_then(|minor| minor.parse::<u32>().ok()) {
        // They are made when somebody first asks for them.
        let shared = SHARED_NODES.map(str::to_owned);
        accelerator.nodes = std::iter::once(format!("dev/nvidia{minor}")).chain(shared).collect();
    }
    let width = tree.text_if_allowed(&device.path("current_link_width")).unwrap_or_default();
    let reason = if WIDTHS_OF_NOTHING.contains(&width.as_str()) {
        Some("it does not answer on the bus any more: switch the machine off and on; if it comes back, the card or its slot is broken".into())
    } else if information.is_none() {
        Some("its driver tells nothing of it: it was given up, or this container was not given it".into())
    } else if value("GPU Excluded") == Some("Yes") {
        Some("a setting of its driver excludes it (ExcludedGpus)".into())
    } else {
        version.as_deref().and_then(|version| mismatch(tree, version))
    };
    if let Some(reason) = reason {
        accelerator.driver = Driver::Failed { name: name.clone(), reason };
    }
}

/// A driver and a library of two versions refuse each other.
fn mismatch(tree: &Tree, driver: &str) -> Option<String> {
    let version = |path| tree.link(path)?.strip_prefix(LIBRARY_NAME).map(str::to_owned);
    // Debian's first path leads to its alternatives, whose name has no version.
    let library = LIBRARIES.into_iter().find_map(version)?;
    (library != driver).then(|| {
        format!("the driver in the kernel is {driver}, the library is {library}: restart the machine to load the other driver")
    })
}

/// Of lines such as `Model:   NVIDIA H100 80GB HBM3`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

//! Accelerators: devices on PCI whose maker and number are known, and what their drivers tell of them
//! in files. Nothing here opens a device or asks it: on a broken one that may wait for minutes, or
//! change it. Where each file is from is said beside it.

mod amd;
mod biren;
mod cambricon;
mod huawei;
mod intel;
mod kunlunxin;
mod maker;
mod nvidia;
mod products;

use nabi_domain::hardware::{Accelerator, Driver, Maker};

pub use nvidia::LIBRARIES as NVIDIA_LIBRARIES;

use crate::pci::{self, Device};
use crate::tree::Tree;

/// All of them, by address.
pub(crate) fn read(tree: &Tree) -> Vec<Accelerator> {
    let devices = pci::devices(tree);
    let mut found: Vec<(Device, Accelerator)> = devices
        .into_iter()
        .filter(|device| !tree.exists(&device.path("physfn")))
        .filter_map(|device| {
            let maker = maker::of(device.id, device.class)?;
            let accelerator = bare(tree, &device, maker);
            Some((device, accelerator))
        })
        .collect();
    for (device, accelerator) in &mut found {
        match accelerator.maker {
            Maker::Cambricon => cambricon::complete(tree, device, accelerator),
            Maker::Intel => intel::complete(tree, device, accelerator),
            Maker::Kunlunxin => kunlunxin::complete(tree, device, accelerator),
            Maker::Nvidia => nvidia::complete(tree, device, accelerator),
            // Their files tell nothing more, or what they tell is not published.
            Maker::Biren | Maker::Enflame | Maker::Iluvatar | Maker::Metax | Maker::MooreThreads => {}
            // One device may be several accelerators.
            Maker::Amd | Maker::Hygon | Maker::Huawei => {}
        }
    }
    amd::complete(tree, &mut found);
    huawei::complete(tree, &mut found);
    let mut accelerators: Vec<Accelerator> = found.into_iter().map(|(_, accelerator)| accelerator).collect();
    accelerators.extend(biren::read(tree));
    accelerators.sort_by(|a, b| (a.address, &a.nodes).cmp(&(b.address, &b.nodes)));
    accelerators
}

/// What the bus tells.
fn bare(tree: &Tree, device: &Device, maker: Maker) -> Accelerator {
    Accelerator {
        maker,
        address: Some(device.address),
        id: Some(device.id),
        name: products::name(device.id).map(str::to_owned),
        chip: None,
        memory_bytes: None,
        is_integrated: false,
        numa_node: device.numa_node,
        driver: driver(tree, device, maker),
        nodes: Vec::new(),
        links: Vec::new(),
        nvidia: None,
    }
}

/// Whether the kernel's driver has taken a device.
fn driver(tree: &Tree, device: &Device, maker: Maker) -> Driver {
    let wanted = maker::drivers(maker);
    match &device.driver {
        Some(name) if wanted.iter().any(|wanted| wanted.is(name)) => {
            let modules = wanted.iter().map(|wanted| wanted.module);
            let version =
                modules.into_iter().find_map(|module| tree.text(&format!("sys/module/{module}/version")));
            Driver::Works { name: name.clone(), version }
        }
        Some(name) => Driver::Other { name: name.clone(), wanted: wanted[0].module.to_owned() },
        None => match wanted.iter().find(|wanted| tree.exists(&format!("sys/module/{}", wanted.module))) {
            Some(loaded) => Driver::Failed {
                name: loaded.module.to_owned(),
                reason: "the driver is loaded but did not take this device: the kernel's log says why".into(),
            },
            None => Driver::Missing { wanted: wanted[0].module.to_owned() },
        },
    }
}

//! Who made a device, and which driver of the kernel it wants.
//!
//! Numbers of makers are the PCI-SIG's (<https://pci-ids.ucw.cz>). A class alone says nothing: the same
//! kind of device is a display for one maker, a coprocessor for another. And a maker's number alone
//! says nothing where it makes more than accelerators.

use nabi_domain::hardware::{Maker, PciId};

/// Base class and subclass, of the class code's upper two bytes.
const DISPLAY_VGA: u32 = 0x0300;
const DISPLAY_3D: u32 = 0x0302;
const DISPLAY_OTHER: u32 = 0x0380;
const SIGNAL_OTHER: u32 = 0x0780;
const COPROCESSOR: u32 = 0x0b40;
const PROCESSING_ACCELERATOR: u32 = 0x1200;

/// The maker of an accelerator; none for every other device.
pub(super) fn of(id: PciId, class: u32) -> Option<Maker> {
    let class = class >> 8;
    let is_display = matches!(class, DISPLAY_VGA | DISPLAY_3D | DISPLAY_OTHER);
    let computes = class == PROCESSING_ACCELERATOR;
    let (maker, is_one) = match id.vendor {
        0x10de => (Maker::Nvidia, is_display),
        0x1002 => (Maker::Amd, is_display || computes),
        // Hygon's processors have the same number.
        0x1d94 => (Maker::Hygon, class == DISPLAY_OTHER || class == COPROCESSOR),
        // Network cards, disks and a console of Huawei's too. Those whose number begins with 0xd are Ascend.
        0x19e5 => (Maker::Huawei, computes && id.device >> 12 == 0xd),
        0x8086 => (Maker::Intel, is_display),
        0x1ed5 => (Maker::MooreThreads, class == DISPLAY_VGA || class == DISPLAY_3D),
        // Others use this number without asking.
        0x9999 => (Maker::Metax, class == DISPLAY_OTHER && matches!(id.device, 0x4000..=0x40ff)),
        0xcabc => (Maker::Cambricon, computes),
        0x1e3e => (Maker::Iluvatar, computes),
        0x1d22 => (Maker::Kunlunxin, computes || class == SIGNAL_OTHER),
        0x1e36 => (Maker::Enflame, computes || is_display),
        _ => return None,
    };
    is_one.then_some(maker)
}

/// A driver: the name of its module, and of what it registers on PCI.
pub(super) struct Wanted {
    pub(super) module: &'static str,
    pci: &'static str,
}

impl Wanted {
    /// Whether a device has this driver. Cambricon's carries a version in its name.
    pub(super) fn is(&self, name: &str) -> bool {
        match self.pci.strip_suffix('*') {
            Some(begin) => name.starts_with(begin),
            None => name == self.pci,
        }
    }
}

const fn wanted(module: &'static str, pci: &'static str) -> Wanted {
    Wanted { module, pci }
}

/// Those that let it compute; the first is what is to be installed.
pub(super) fn drivers(maker: Maker) -> &'static [Wanted] {
    const NVIDIA: [Wanted; 1] = [wanted("nvidia", "nvidia")];
    const AMD: [Wanted; 1] = [wanted("amdgpu", "amdgpu")];
    // Some versions register as AMD's, from which they come.
    const HYGON: [Wanted; 4] = [
        wanted("hycu", "hycu"),
        wanted("hydcu", "hydcu"),
        wanted("hycu", "amdgpu"),
        wanted("hydcu", "amdgpu"),
    ];
    const HUAWEI: [Wanted; 1] = [wanted("drv_pcie_host", "devdrv_device_driver")];
    const INTEL: [Wanted; 2] = [wanted("xe", "xe"), wanted("i915", "i915")];
    const MOORE_THREADS: [Wanted; 1] = [wanted("mtgpu", "mtgpu")];
    const METAX: [Wanted; 2] = [wanted("metax", "METAX"), wanted("metax", "metax")];
    const CAMBRICON: [Wanted; 1] = [wanted("cambricon_drv", "cambricon-pci-drv*")];
    const ILUVATAR: [Wanted; 1] = [wanted("iluvatar", "iluvatar")];
    const KUNLUNXIN: [Wanted; 2] = [wanted("kunlun", "kunlun"), wanted("xpu_driver", "kunlun")];
    const ENFLAME: [Wanted; 1] = [wanted("enflame", "enflame")];
    const BIREN: [Wanted; 1] = [wanted("biren", "biren")];
    match maker {
        Maker::Nvidia => &NVIDIA,
        Maker::Amd => &AMD,
        Maker::Hygon => &HYGON,
        Maker::Huawei => &HUAWEI,
        Maker::Intel => &INTEL,
        Maker::MooreThreads => &MOORE_THREADS,
        Maker::Metax => &METAX,
        Maker::Cambricon => &CAMBRICON,
        Maker::Iluvatar => &ILUVATAR,
        Maker::Kunlunxin => &KUNLUNXIN,
        Maker::Enflame => &ENFLAME,
        Maker::Biren => &BIREN,
    }
}

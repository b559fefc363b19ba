//! What NVIDIA's library (NVML) tells of its cards: what is in no file of the kernel. It is opened while
//! this runs, so that nothing of it is needed where there is no card.
//! <https://docs.nvidia.com/deploy/nvml-api/>

use std::io;
use std::mem::ManuallyDrop;
use std::path::Path;

use nabi_domain::hardware::{Ecc, Mig, MigPart, Nvidia, NvidiaCard, PciAddress};
use nabi_hardware::NVIDIA_LIBRARIES;
use nabi_wire::probe::Probed;
use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError};
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id::NVML_FI_DEV_GET_GPU_RECOVERY_ACTION;
use nvml_wrapper::{Device, Nvml};

/// Links of a card, and more: newer headers have more of them.
const NVLINKS_MAX: u32 = 36;
/// As many parts as a card can be divided into, and more.
const PARTS_MAX: u32 = 16;
const RECOVERY_ACTION: FieldId = FieldId(NVML_FI_DEV_GET_GPU_RECOVERY_ACTION);
/// Whoever asks for a card needs it; where it is missing, the library says that there is no driver.
const CONTROL_NODE: &str = "/dev/nvidiactl";

const RESTART: &str = "the driver wants this card reset: restart the machine";
const POWER: &str =
    "switch the machine off and on; if that does not last, look at the card's power and cooling";

/// Tells of these cards, each when it is known: one that is lost leaves the others. Without a library
/// that is named, this machine's is asked.
pub(crate) fn tell(
    library: Option<&Path>,
    cards: &[PciAddress],
    mut tell: impl FnMut(Probed) -> io::Result<()>,
) -> io::Result<()> {
    let nvml = match open(library) {
        Ok(nvml) => nvml,
        Err(message) => return tell(Probed::Failed { message }),
    };
    for &address in cards {
        let card = card(&nvml, address).map(Box::new).map_err(|error| in_words(&error));
        tell(Probed::Nvidia(address, card))?;
    }
    Ok(())
}

/// Never closed: that could hang too, and the process ends anyway.
fn open(named: Option<&Path>) -> Result<ManuallyDrop<Nvml>, String> {
    let standard =
        || NVIDIA_LIBRARIES.iter().map(|path| Path::new("/").join(path)).find(|path| path.exists());
    let library = named.map(Path::to_owned).or_else(standard);
    let library = library.ok_or("libnvidia-ml.so.1 is not installed: it is part of NVIDIA's driver")?;
    if named.is_none() && !Path::new(CONTROL_NODE).exists() {
        return Err(format!(
            "there is no {CONTROL_NODE}: `nvidia-modprobe -c 0` as root makes the nodes of the cards"
        ));
    }
    let nvml = Nvml::builder().lib_path(library.as_os_str()).init();
    nvml.map(ManuallyDrop::new).map_err(|error| format!("{}: {}", library.display(), in_words(&error)))
}

/// What is not told of a card that answers is unknown, since older cards and drivers know less.
fn card(nvml: &Nvml, address: PciAddress) -> Result<NvidiaCard, NvmlError> {
    let device = nvml.device_by_pci_bus_id(address.to_string())?;
    let memory_bytes = known(device.memory_info())?.map(|memory| memory.total);
    let capability = known(device.cuda_compute_capability())?;
    let positive = |number: i32| u32::try_from(number).ok();
    let nvlinks_to = nvlinks(&device);
    let (unusable, wanted) = match recovery(&device) {
        Some(Recovery::Before(words)) => (Some(words.to_owned()), None),
        Some(Recovery::Soon(words)) => (None, Some(words.to_owned())),
        None => (None, None),
    };
    let nvlinks = nvlinks_to.len() as u32;
    Ok(NvidiaCard {
        name: known(device.name())?,
        memory_bytes,
        compute_capability: capability.and_then(|it| positive(it.major).zip(positive(it.minor))),
        unusable,
        about: Nvidia { ecc: ecc(&device)?, mig: mig(&device)?, nvlinks, wanted },
        nvlinks_to: nvlinks_to.into_iter().flatten().collect(),
    })
}

/// None where the card does not have such a thing. That it is lost is an error.
fn known<T>(told: Result<T, NvmlError>) -> Result<Option<T>, NvmlError> {
    match told {
        Ok(told) => Ok(Some(told)),
        Err(error @ (NvmlError::GpuLost | NvmlError::ResetRequired | NvmlError::DriverNotLoaded)) => {
            Err(error)
        }
        Err(_) => Ok(None),
    }
}

fn ecc(device: &Device<'_>) -> Result<Option<Ecc>, NvmlError> {
    let Some(mode) = known(device.is_ecc_enabled())? else { return Ok(None) };
    let errors = device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile);
    Ok(Some(Ecc { is_on: mode.currently_enabled, uncorrected_errors: known(errors)? }))
}

fn mig(device: &Device<'_>) -> Result<Option<Mig>, NvmlError> {
    let Some(mode) = known(device.mig_mode())? else { return Ok(None) };
    let is_on = mode.current == 1;
    let count = if is_on { known(device.mig_device_count())?.unwrap_or(0).min(PARTS_MAX) } else { 0 };
    // Places that have no part are not found.
    let parts = (0..count).filter_map(|place| device.mig_device_by_index(place).ok());
    let parts = parts.filter_map(|part| {
        let memory_bytes = part.memory_info().ok().map(|memory| memory.total);
        Some(MigPart { uuid: part.uuid().ok()?, memory_bytes })
    });
    Ok(Some(Mig { is_on, parts: parts.collect() }))
}

/// The other end of each link that is up, where it is told.
fn nvlinks(device: &Device<'_>) -> Vec<Option<PciAddress>> {
    let links = (0..NVLINKS_MAX).map(|number| device.link_wrapper_for(number));
    // Not every number is a link.
    let up = links.filter(|link| link.is_active().is_ok_and(|is_up| is_up));
    up.map(|link| link.remote_pci_info().ok().and_then(|other| other.bus_id.parse().ok())).collect()
}

/// What the driver wants done: before the card can be used, or soon.
enum Recovery {
    Before(&'static str),
    Soon(&'static str),
}

fn recovery(device: &Device<'_>) -> Option<Recovery> {
    let sample = device.field_values_for(&[RECOVERY_ACTION]).ok()?.pop()?.ok()?;
    let action = match sample.value.ok()? {
        SampleValue::U32(action) => u64::from(action),
        SampleValue::U64(action) => action,
        SampleValue::I64(action) => u64::try_from(action).ok()?,
        SampleValue::F64(_) => return None,
    };
    Some(match action {
        0 => return None,
        1 => Recovery::Before(RESTART),
        2 => Recovery::Before("the driver wants the machine restarted"),
        3 => Recovery::Soon("the driver wants what this card sends to others ended: restart the machine"),
        4 => Recovery::Soon("the driver wants this card reset when its work is done: restart the machine"),
        _ => Recovery::Soon("the driver wants this card recovered: restart the machine"),
    })
}

fn in_words(error: &NvmlError) -> String {
    match error {
        NvmlError::GpuLost => format!("it fell off the bus: {POWER}"),
        NvmlError::ResetRequired => RESTART.into(),
        NvmlError::InsufficientPower => "its power cables are not all plugged in".into(),
        NvmlError::DriverNotLoaded => "the driver in the kernel does not run".into(),
        NvmlError::LibRmVersionMismatch => {
            "the driver in the kernel and the library are of two versions: restart the machine".into()
        }
        NvmlError::NoPermission | NvmlError::OperatingSystem => {
            "the system does not let us ask: this container was not given the card".into()
        }
        // Its text has no more than "unknown": the number can be looked up.
        NvmlError::UnexpectedVariant(code) => format!("NVML's error {code}"),
        error => error.to_string(),
    }
}

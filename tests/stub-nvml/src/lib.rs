//! Stands in for NVIDIA's management library, `libnvidia-ml.so.1`: those of its functions that
//! `nabi-probe` calls, answered from a file `stub-nvml.json` beside it.
//! Signatures and numbers are of NVIDIA's `nvml.h`, by way of nvml-wrapper-sys.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlEccCounterType_t, nvmlEnableState_t, nvmlFieldValue_t, nvmlMemory_v2_t,
    nvmlMemoryErrorType_t, nvmlPciInfo_t, nvmlReturn_t,
};
use serde::Deserialize;

const SUCCESS: nvmlReturn_t = 0;
const INVALID_ARGUMENT: nvmlReturn_t = 2;
const NOT_SUPPORTED: nvmlReturn_t = 3;
const NOT_FOUND: nvmlReturn_t = 6;
const INSUFFICIENT_SIZE: nvmlReturn_t = 7;
const DRIVER_NOT_LOADED: nvmlReturn_t = 9;
/// NVML_VALUE_TYPE_UNSIGNED_INT
const UNSIGNED_INT: c_uint = 1;
/// NVML_FI_DEV_GET_GPU_RECOVERY_ACTION
const RECOVERY_ACTION: c_uint = 230;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Machine {
    /// What starting the library does.
    start: Start,
    #[serde(default)]
    cards: Vec<Card>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Start {
    Succeeds,
    Fails(nvmlReturn_t),
    Hangs,
    Crashes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Card {
    address: String,
    /// What asking for it answers, instead of the card.
    #[serde(default)]
    fails: Option<nvmlReturn_t>,
    /// Asking for it never ends.
    #[serde(default)]
    hangs: bool,
    name: Option<String>,
    memory_bytes: Option<u64>,
    compute_capability: Option<(c_int, c_int)>,
    /// Errors that were not corrected; none where it has no error correction.
    ecc_errors: Option<u64>,
    /// Places for parts; none where it cannot be divided.
    parts: Option<Vec<Option<Part>>>,
    /// The other ends; none for a link that is down.
    #[serde(default)]
    nvlinks: Vec<Option<String>>,
    recovery: Option<c_uint>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    uuid: String,
    memory_bytes: u64,
}

/// What a handle points to.
enum Handle {
    Card(&'static Card),
    Part(&'static Part),
}

static MACHINE: OnceLock<Option<Machine>> = OnceLock::new();

fn machine() -> Option<&'static Machine> {
    MACHINE.get_or_init(read).as_ref()
}

/// The probe is started as `nabi-probe nvidia --library FILE …`.
fn read() -> Option<Machine> {
    let library = std::env::args_os().skip_while(|argument| argument != "--library").nth(1)?;
    let text = fs::read_to_string(Path::new(&library).with_file_name("stub-nvml.json")).ok()?;
    serde_json::from_str(&text).ok()
}

fn handle(device: nvmlDevice_t) -> Option<&'static Handle> {
    // SAFETY: handles are made by `leak` alone, and live for ever.
    unsafe { device.cast::<Handle>().cast_const().as_ref() }
}

fn card(device: nvmlDevice_t) -> Option<&'static Card> {
    match handle(device)? {
        Handle::Card(card) => Some(card),
        Handle::Part(_) => None,
    }
}

fn leak(handle: Handle) -> nvmlDevice_t {
    std::ptr::from_mut(Box::leak(Box::new(handle))).cast()
}

/// Writes an answer where there is one.
///
/// # Safety
/// `to` is where the caller wants it.
unsafe fn answer<T>(value: Option<T>, to: *mut T) -> nvmlReturn_t {
    let Some(value) = value else { return NOT_SUPPORTED };
    // SAFETY: the caller's word.
    unsafe { to.write(value) };
    SUCCESS
}

/// Writes a text with its final zero.
///
/// # Safety
/// `to` has room for `length` bytes.
unsafe fn answer_text(text: Option<&str>, to: *mut c_char, length: c_uint) -> nvmlReturn_t {
    let Some(text) = text else { return NOT_SUPPORTED };
    if text.len() >= length as usize {
        return INSUFFICIENT_SIZE;
    }
    // SAFETY: the caller's word, and the length was looked at.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), to, text.len());
        to.add(text.len()).write(0);
    }
    SUCCESS
}

/// Starts the library.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> nvmlReturn_t {
    match machine().map(|machine| &machine.start) {
        None => DRIVER_NOT_LOADED,
        Some(Start::Succeeds) => SUCCESS,
        Some(Start::Fails(code)) => *code,
        Some(Start::Hangs) => hang(),
        Some(Start::Crashes) => std::process::abort(),
    }
}

fn hang() -> ! {
    // Libraries print where they like.
    println!("stub-nvml hangs");
    loop {
        std::thread::park();
    }
}

/// Ends it.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> nvmlReturn_t {
    SUCCESS
}

/// # Safety
/// As NVIDIA documents it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetDriverVersion(version: *mut c_char, length: c_uint) -> nvmlReturn_t {
    // SAFETY: the caller's word.
    unsafe { answer_text(Some("570.86.15"), version, length) }
}

/// # Safety
/// As NVIDIA documents it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByPciBusId_v2(
    address: *const c_char,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    // SAFETY: the caller's word.
    let address = unsafe { CStr::from_ptr(address) };
    let cards = machine().map(|machine| machine.cards.as_slice()).unwrap_or_default();
    let Some(card) = cards.iter().find(|card| card.address.as_bytes() == address.to_bytes()) else {
        return NOT_FOUND;
    };
    if card.hangs {
        hang();
    }
    if let Some(code) = card.fails {
        return code;
    }
    // SAFETY: the caller's word.
    unsafe { answer(Some(leak(Handle::Card(card))), device) }
}

/// # Safety
/// As NVIDIA documents it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetName(
    device: nvmlDevice_t,
    name: *mut c_char,
    length: c_uint,
) -> nvmlReturn_t {
    let text = card(device).and_then(|card| card.name.as_deref());
    // SAFETY: the caller's word.
    unsafe { answer_text(text, name, length) }
}

/// # Safety
/// As NVIDIA documents it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUUID(
    device: nvmlDevice_t,
    uuid: *mut c_char,
    length: c_uint,
) -> nvmlReturn_t {
    let text = match handle(device) {
        Some(Handle::Part(part)) => Some(part.uuid.as_str()),
        _ => None,
    };
    // SAFETY: the caller's word.
    unsafe { answer_text(text, uuid, length) }
}

/// # Safety
/// As NVIDIA documents it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(
    device: nvmlDevice_t,
    memory: *mut nvmlMemory_v2_t,
) -> nvmlReturn_t {
    let total = match handle(device) {
        Some(Handle::Card(card)) => card.memory_bytes,
        Some(Handle::Part(part)) => Some(part.memory_bytes),
        None => None,
    };
    let of = |total| nvmlMemory_v2_t { version: 2 << 24, total, reserved: 0, free: total, used: 0 };
    // SAFETY: the caller's word.
    unsafe { answer(total.map(of), memory) }
}

/// # Safety
/// As NVIDIA documents it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCudaComputeCapability(
    device: nvmlDevice_t,
    major: *mut c_int,
    minor: *mut c_int,
) -> nvmlReturn_t {
    let capability = card(device).and_then(|card| card.compute_capability);
    // SAFETY: the caller's word.
    unsafe {
        match answer(capability.map(|(major, _)| major), major) {
            SUCCESS => answer(capability.map(|(_, minor)| minor), minor),
            code => code,
        }
    }
}

/// # Safety
/// As NVIDIA documents it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetEccMode(
    device: nvmlDevice_t,
    current: *mut nvmlEnableState_t,
    pending: *mut nvmlEnableState_t,
) -> nvmlReturn_t {
    let on = card(device).and_then(|card| card.ecc_errors).map(|_| 1);
    // SAFETY: the caller's word.
    unsafe {
        match answer(on, current) {
            SUCCESS => answer(on, pending),
            code => code,
        }
    }
}

/// # Safety
/// As NVIDIA documents it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTotalEccErrors(
    device: nvmlDevice_t,
    _kind: nvmlMemoryErrorType_t,
    _counter: nvmlEccCounterType_t,
    count: *mut c_ulonglong,
) -> nvmlReturn_t {
    // SAFETY: the caller's word.
    unsafe { answer(card(device).and_then(|card| card.ecc_errors), count) }
}

/// # Safety
/// As NVIDIA documents it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMigMode(
    device: nvmlDevice_t,
    current: *mut c_uint,
    pending: *mut c_uint,
) -> nvmlReturn_t {
    let parts = card(device).and_then(|card| card.parts.as_ref());
    let on = parts.map(|parts| c_uint::from(!parts.is_empty()));
    // SAFETY: the caller's word.
    unsafe {
        match answer(on, current) {
            SUCCESS => answer(on, pending),
            code => code,
        }
    }
}

/// # Safety
/// As NVIDIA documents it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMaxMigDeviceCount(
    device: nvmlDevice_t,
    count: *mut c_uint,
) -> nvmlReturn_t {
    let parts = card(device).and_then(|card| card.parts.as_ref());
    // SAFETY: the caller's word.
    unsafe { answer(parts.and_then(|parts| parts.len().try_into().ok()), count) }
}

/// # Safety
/// As NVIDIA documents it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    device: nvmlDevice_t,
    index: c_uint,
    part: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    let parts = card(device).and_then(|card| card.parts.as_ref());
    match parts.and_then(|parts| parts.get(index as usize)) {
        // SAFETY: the caller's word.
        Some(Some(found)) => unsafe { answer(Some(leak(Handle::Part(found))), part) },
        Some(None) => NOT_FOUND,
        None => INVALID_ARGUMENT,
    }
}

fn link(device: nvmlDevice_t, number: c_uint) -> Option<&'static Option<String>> {
    card(device)?.nvlinks.get(number as usize)
}

/// # Safety
/// As NVIDIA documents it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetNvLinkState(
    device: nvmlDevice_t,
    number: c_uint,
    is_active: *mut nvmlEnableState_t,
) -> nvmlReturn_t {
    // SAFETY: the caller's word.
    unsafe { answer(link(device, number).map(|end| c_uint::from(end.is_some())), is_active) }
}

/// # Safety
/// As NVIDIA documents it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetNvLinkRemotePciInfo_v2(
    device: nvmlDevice_t,
    number: c_uint,
    pci: *mut nvmlPciInfo_t,
) -> nvmlReturn_t {
    let Some(Some(end)) = link(device, number) else { return NOT_SUPPORTED };
    let mut info = nvmlPciInfo_t {
        busIdLegacy: [0; 16],
        domain: 0,
        bus: 0,
        device: 0,
        pciDeviceId: 0,
        pciSubSystemId: 0,
        busId: [0; 32],
    };
    for (to, from) in info.busId.iter_mut().zip(end.bytes()) {
        *to = from as c_char;
    }
    // SAFETY: the caller's word.
    unsafe { answer(Some(info), pci) }
}

/// # Safety
/// As NVIDIA documents it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetFieldValues(
    device: nvmlDevice_t,
    count: c_int,
    values: *mut nvmlFieldValue_t,
) -> nvmlReturn_t {
    let recovery = card(device).and_then(|card| card.recovery);
    for place in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: the caller's word.
        let value = unsafe { &mut *values.add(place) };
        value.valueType = UNSIGNED_INT;
        match recovery {
            Some(action) if value.fieldId == RECOVERY_ACTION => {
                value.nvmlReturn = SUCCESS;
                value.value.uiVal = action;
            }
            _ => value.nvmlReturn = NOT_SUPPORTED,
        }
    }
    SUCCESS
}

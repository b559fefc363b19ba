//! Kunlunxin.
//!
//! Formats: `kl_main.c` and `kl2/` of the driver, 4.33. Every card of the first two generations has the
//! same number; that of its board tells the product. All files can be written by everybody, and one
//! writes registers when it is read: those that are named here are read, and no others.

use nabi_domain::hardware::{Accelerator, Driver, PciId};

use crate::pci::Device;
use crate::tree::Tree;

/// Of the driver until 4.x, and since 5.x.
const FOLDERS: [&str; 2] = ["proc/xpu", "proc/kunlun"];
const CARD: PciId = PciId { vendor: 0x1d22, device: 0x3684 };
const HEALTHY: [&str; 2] = ["RUNNING", "LOWPOWER"];

pub(super) fn complete(tree: &Tree, device: &Device, accelerator: &mut Accelerator) {
    if device.id == CARD {
        accelerator.name = product(device.board).map(str::to_owned);
    }
    let Driver::Works { name, .. } = &accelerator.driver else { return };
    let name = name.clone();
    for folder in FOLDERS {
        for number in tree.numbered(folder, "dev") {
            let file = |file: &str| tree.text(&format!("{folder}/dev{number}/{file}")).unwrap_or_default();
            if value(&file("info"), "DeviceAddr").is_none_or(|address| !is_at(address, device)) {
                continue;
            }
            accelerator.nodes.push(format!("dev/xpu{number}"));
            accelerator.memory_bytes = memory_bytes(&file("mminfo"));
            let state = file("state");
            if !HEALTHY.contains(&state.as_str()) {
                let reason = format!(
                    "the card is in the state {state:?}: restart the machine; if it stays, the card is broken"
                );
                accelerator.driver = Driver::Failed { name: name.clone(), reason };
            }
        }
    }
}

/// By the board's number.
fn product(board: Option<PciId>) -> Option<&'static str> {
    let board = board?;
    Some(match (board.vendor, board.device) {
        (0, 0) => "Kunlun K100 or K200",
        (2, 1) => "Kunlun R200",
        (2, 2) => "Kunlun R100",
        (2, 3) => "Kunlun R300",
        (2, 4 | 5) => "Kunlun R200-8F",
        (2, 6) => "Kunlun R420",
        (2, 7 | 8) => "Kunlun RG800",
        _ => return None,
    })
}

/// With or without the domain.
fn is_at(address: &str, device: &Device) -> bool {
    let whole = device.address.to_string();
    whole == address || whole.split_once(':').is_some_and(|(_, short)| short == address)
}

/// Of lines such as `DeviceAddr: 0000:3b:00.0`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| Some(line.trim().strip_prefix(key)?.trim_start().strip_prefix(':')?.trim()))
}

/// `MAIN: 0 / 15564 MB`.
fn memory_bytes(text: &str) -> Option<u64> {
    let mib: u64 = value(text, "MAIN")?.split_once('/')?.1.trim().strip_suffix("MB")?.trim().parse().ok()?;
    mib.checked_mul(1 << 20)
}

//! Network cards.
//! <https://docs.kernel.org/admin-guide/abi-testing.html#abi-file-testing-sysfs-class-net>

use nabi_domain::hardware::NetworkCard;

use crate::tree::Tree;

const NET: &str = "sys/class/net";

pub(crate) fn read(tree: &Tree) -> Vec<NetworkCard> {
    tree.names(NET).into_iter().filter_map(|name| card(tree, name)).collect()
}

/// None for what has no device: bridges, bonds, tunnels, the loop.
fn card(tree: &Tree, name: String) -> Option<NetworkCard> {
    let path = |file: &str| format!("{NET}/{name}/{file}");
    if !tree.exists(&path("device")) {
        return None;
    }
    // Both fail while the card is down, and speed is -1 where the driver does not know it.
    let has_link = tree.text_if_allowed(&path("carrier")).as_deref() == Some("1");
    let speed = tree.text_if_allowed(&path("speed")).and_then(|text| text.parse().ok());
    Some(NetworkCard {
        driver: tree.link(&path("device/driver")),
        mac: tree.text(&path("address")).filter(|mac| mac.bytes().any(|byte| !matches!(byte, b'0' | b':'))),
        has_link,
        mbit_per_s: speed.filter(|&speed: &u32| has_link && speed > 0),
        name,
    })
}

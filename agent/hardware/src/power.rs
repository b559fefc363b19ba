//! Power.
//! <https://docs.kernel.org/admin-guide/abi-testing.html#abi-file-testing-sysfs-class-power>
//! <https://docs.kernel.org/power/powercap/powercap.html>

use nabi_domain::hardware::{Power, PowerSupply, RaplDomain};

use crate::tree::Tree;

const SUPPLIES: &str = "sys/class/power_supply";
const RAPL: &str = "sys/class/powercap";

pub(crate) fn read(tree: &Tree) -> Power {
    Power { supplies: supplies(tree), rapl: rapl(tree) }
}

fn supplies(tree: &Tree) -> Vec<PowerSupply> {
    let supply = |name: String| {
        let file = |file: &str| tree.text_if_allowed(&format!("{SUPPLIES}/{name}/{file}"));
        // A keyboard's battery says nothing of the machine.
        if file("scope").as_deref() == Some("Device") {
            return None;
        }
        Some(PowerSupply {
            kind: file("type")?,
            is_online: file("online").map(|text| text != "0"),
            percent: file("capacity")
                .and_then(|text| text.parse().ok())
                .filter(|&percent: &u8| percent <= 100),
            status: file("status"),
            name,
        })
    };
    tree.names(SUPPLIES).into_iter().filter_map(supply).collect()
}

fn rapl(tree: &Tree) -> Vec<RaplDomain> {
    let domain = |zone: String| {
        Some(RaplDomain {
            name: tree.text(&format!("{RAPL}/{zone}/name"))?,
            is_readable: tree.text_if_allowed(&format!("{RAPL}/{zone}/energy_uj")).is_some(),
        })
    };
    let zones = tree.names(RAPL).into_iter().filter(|zone| zone.contains("-rapl:"));
    zones.filter_map(domain).collect()
}

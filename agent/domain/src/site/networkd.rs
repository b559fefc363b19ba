//! systemd-networkd's files for a site (systemd.network(5), systemd.netdev(5)).

use super::interface::{Addressing, BondMode, Interface, InterfaceKind, InterfaceRole};
use super::names::MacAddress;
use super::{Interfaces, Site, Time};

/// What all files of this module begin with, so that those of an earlier run are found.
pub const FILE_PREFIX: &str = "10-nabi-";

/// A file for a folder of the system's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedFile {
    /// Its name, without a folder.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// The files below `/run/systemd/network`.
pub fn render(site: &Site) -> Vec<RenderedFile> {
    let list = match &site.interfaces {
        Interfaces::EveryEthernet => {
            let addressing = Addressing { dhcp: true, ..Addressing::default() };
            let text = format!("[Match]\nType=ether\nKind=!*\n\n{}", network(site, &addressing, &[]));
            return vec![RenderedFile { name: format!("{FILE_PREFIX}ethernet.network"), text }];
        }
        Interfaces::Listed(list) => list,
    };
    let mut files = Vec::new();
    for interface in list {
        let name = &interface.name;
        if let Some(text) = netdev(interface, list) {
            files.push(RenderedFile { name: format!("{FILE_PREFIX}{name}.netdev"), text });
        }
        let vlans: Vec<&str> = list.iter().filter_map(|other| carried_by(interface, other)).collect();
        let text = match &interface.role {
            InterfaceRole::Member { bond } => {
                format!("{}[Network]\nBond={bond}\nLLDP=no\n", matching(interface))
            }
            InterfaceRole::Own(own) => matching(interface) + &network(site, own, &vlans),
        };
        files.push(RenderedFile { name: format!("{FILE_PREFIX}{name}.network"), text });
    }
    files
}

/// The name of `other`, if it is a VLAN within `interface`.
fn carried_by<'a>(interface: &Interface, other: &'a Interface) -> Option<&'a str> {
    match &other.kind {
        InterfaceKind::Vlan { parent, .. } if *parent == interface.name => Some(other.name.as_str()),
        _ => None,
    }
}

fn netdev(interface: &Interface, list: &[Interface]) -> Option<String> {
    let name = &interface.name;
    match &interface.kind {
        InterfaceKind::Port { .. } => None,
        InterfaceKind::Vlan { id, .. } => {
            Some(format!("[NetDev]\nName={name}\nKind=vlan\n\n[VLAN]\nId={id}\n"))
        }
        InterfaceKind::Bond { mode } => {
            // Else networkd makes one up, and switches and DHCP servers meet an address that no port has.
            let mac = list.iter().find_map(|other| mac_within(interface, other));
            let mac = mac.map(|mac| format!("MACAddress={mac}\n")).unwrap_or_default();
            // Without a watch on the link, a dead port is used on.
            let mut text = format!(
                "[NetDev]\nName={name}\nKind=bond\n{mac}\n[Bond]\nMode={}\nMIIMonitorSec=100ms\n",
                mode.as_str()
            );
            if matches!(mode, BondMode::Lacp | BondMode::Xor) {
                text += "TransmitHashPolicy=layer3+4\n";
            }
            Some(text)
        }
    }
}

/// The address of `other`, if it is a port of the bond `interface`, and the site gives it.
fn mac_within(interface: &Interface, other: &Interface) -> Option<MacAddress> {
    match (&other.role, &other.kind) {
        (InterfaceRole::Member { bond }, InterfaceKind::Port { mac }) if *bond == interface.name => *mac,
        _ => None,
    }
}

fn matching(interface: &Interface) -> String {
    match &interface.kind {
        // A VLAN or bond on it has the same address, hence the permanent one, of what has no kind.
        InterfaceKind::Port { mac: Some(mac) } => {
            format!("[Match]\nPermanentMACAddress={mac}\nKind=!*\n\n")
        }
        InterfaceKind::Port { mac: None } | InterfaceKind::Vlan { .. } | InterfaceKind::Bond { .. } => {
            format!("[Match]\nName={}\n\n", interface.name)
        }
    }
}

fn network(site: &Site, own: &Addressing, vlans: &[&str]) -> String {
    let mut text = String::from("[Network]\n");
    let mut line = |key: &str, value: &str| text.push_str(&format!("{key}={value}\n"));
    line("DHCP", yes(own.dhcp));
    line("IPv6AcceptRA", yes(own.dhcp));
    line("LinkLocalAddressing", if own.uses_ipv6() { "ipv6" } else { "no" });
    line("MulticastDNS", yes(site.mdns && !own.is_empty()));
    // What is not asked for is not sent, nor listened to.
    line("LLMNR", "no");
    line("LLDP", "no");
    for address in &own.addresses {
        line("Address", &address.to_string());
    }
    for gateway in &own.gateways {
        line("Gateway", &gateway.to_string());
    }
    for server in &own.dns {
        line("DNS", &server.to_string());
    }
    for vlan in vlans {
        line("VLAN", vlan);
    }
    if own.dhcp { text + &dhcp(site, own) } else { text }
}

/// What is taken from DHCP and router advertisements: addresses, routes, and what the site leaves open.
fn dhcp(site: &Site, own: &Addressing) -> String {
    let time = yes(site.time == Time::FromDhcp);
    let dns = yes(own.dns.is_empty());
    format!(
        "
[DHCPv4]
# Servers know reservations by the port's address, Windows' no other way.
ClientIdentifier=mac
UseDNS={dns}
UseNTP={time}
UseHostname=no

[DHCPv6]
UseDNS={dns}
UseNTP={time}
UseHostname=no

[IPv6AcceptRA]
UseDNS={dns}
"
    )
}

fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use super::super::Site;
    use super::render;

    /// All files, each after its name, as in the golden text.
    fn rendered(site: &str) -> String {
        let site = Site::parse(site).unwrap_or_else(|errors| panic!("{errors}"));
        render(&site).iter().map(|file| format!("==> {}\n{}", file.name, file.text)).collect()
    }

    #[test]
    fn without_interfaces_every_ethernet_port_asks() {
        assert_eq!(rendered(""), include_str!("tests/ethernet.networkd"));
    }

    #[test]
    fn what_is_listed_is_rendered_and_nothing_else() {
        assert_eq!(rendered(include_str!("tests/listed.toml")), include_str!("tests/listed.networkd"));
    }

    #[test]
    fn a_bond_has_no_address_but_that_of_one_of_its_own_ports() {
        let site = |port: &str| {
            rendered(&format!(
                "[[interface]]\nname = 'other'\nmac = '52:54:00:00:00:01'\n\
                 [[interface]]\nname = 'eno1'\n{port}\n\
                 [[interface]]\nname = 'bond0'\nbond.members = ['eno1']\n"
            ))
        };
        assert!(!site("").contains("\nMACAddress="));
        assert!(site("mac = '52:54:00:00:00:02'").contains("Kind=bond\nMACAddress=52:54:00:00:00:02\n"));
    }
}

//! Ports as one, and a VLAN on top.

use anyhow::{Result, ensure};
use nabi_machine::{Kind, Packet, Setup, packets};

use crate::lab::{self, Lab};

/// The bond has what QEMU's network leads to. Nobody is on the VLAN, where the time server is to be.
const SITE: &str = r#"hostname = "nabi.example"

[time]
servers = ["10.7.0.1"]

[network]
mdns = false

[[interface]]
name = "left"
mac = "52:54:00:6e:61:62"

[[interface]]
name = "bond0"
bond = { members = ["left"] }
addresses = ["10.0.2.15/24"]
gateways = ["10.0.2.2"]

[[interface]]
name = "ministry"
vlan = { id = 7, parent = "bond0" }
addresses = ["10.7.0.5/24", "fd07::5/64"]
"#;
const VLAN: u16 = 7;
const BOND_ADDRESS: &str = "10.0.2.15";
const TIME_SEARCH: &str = "10.7.0.5 → 10.7.0.1";

/// That the capture has anything shows that the bond has its port's address.
#[test]
fn a_bond_serves_and_what_goes_over_its_vlan_is_tagged() -> Result<()> {
    let lab = Lab::new("network")?;
    let computer = lab.computer(lab.flash(SITE)?)?;
    let operator = lab.operator(&computer)?;
    let file = lab.file("sent.pcap");
    let mut machine = computer.boot(&Setup::default())?;
    machine.capture(&file)?;
    let mut serving = lab::answering(machine, &computer, &operator)?;
    lab::check_answers(&mut serving, &operator)?;

    let is_search = |packet: &Packet| packet.kind == Kind::Arp && packet.summary.contains(TIME_SEARCH);
    let sent = serving.machine.wait_until("a search for the VLAN's time server", || {
        packets(&file).ok().filter(|sent| sent.iter().any(is_search))
    })?;
    ensure!(
        sent.iter().any(|packet| packet.kind == Kind::NeighbourDiscovery),
        "no IPv6, which the VLAN alone has: {sent:?}"
    );
    let due = |packet: &Packet| if packet.summary.contains(BOND_ADDRESS) { None } else { Some(VLAN) };
    let astray: Vec<_> = sent.iter().filter(|packet| packet.vlan != due(packet)).collect();
    ensure!(astray.is_empty(), "on the wrong network: {astray:?}");
    Ok(())
}

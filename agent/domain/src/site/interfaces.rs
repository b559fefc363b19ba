//! The interfaces of a site file: each for itself, then all together.

use std::collections::HashMap;
use std::net::IpAddr;

use toml::Spanned;

use super::check::{Check, address, address_in_network};
use super::error::Fault;
use super::interface::{Addressing, Interface, InterfaceKind, InterfaceRole, VLAN_ID_MAX, VLAN_ID_MIN};
use super::names::{InterfaceName, MacAddress};
use super::raw::{RawBond, RawInterface, RawVlan};
use super::{ADDRESSES_MAX, BOND_MEMBERS_MAX, INTERFACES_MAX, Interfaces, NAME_SERVERS_MAX};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Port,
    Vlan,
    Bond,
}

/// What the whole file says of its interfaces, by their names.
#[derive(Default)]
struct Relations {
    shapes: HashMap<InterfaceName, Shape>,
    vlans: HashMap<InterfaceName, Vec<(u16, InterfaceName)>>,
    /// From a member to its bond.
    bonds: HashMap<InterfaceName, InterfaceName>,
    macs: HashMap<MacAddress, InterfaceName>,
    addresses: HashMap<IpAddr, InterfaceName>,
    gateways: HashMap<&'static str, InterfaceName>,
}

pub(super) fn check(check: &mut Check<'_>, list: &[RawInterface]) -> Interfaces {
    if list.is_empty() {
        return Interfaces::EveryEthernet;
    }
    if let Some(excess) = list.get(INTERFACES_MAX) {
        let fault = Fault::TooMany { what: "interfaces", count: list.len(), max: INTERFACES_MAX };
        check.fault(excess.name.span(), fault);
    }
    let list = &list[..list.len().min(INTERFACES_MAX)];
    let mut relations = Relations::default();
    let named = relations.names(check, list);
    for (name, raw) in &named {
        relations.join_members(check, name, raw);
    }
    let kinds: Vec<Option<InterfaceKind>> =
        named.iter().map(|(name, raw)| relations.kind(check, name, raw)).collect();
    let mut interfaces = Vec::new();
    for ((name, raw), kind) in named.iter().zip(kinds) {
        let role = relations.role(check, name, raw);
        interfaces.extend(kind.map(|kind| Interface { name: name.clone(), kind, role }));
    }
    Interfaces::Listed(interfaces)
}

impl Relations {
    fn names<'r>(
        &mut self,
        check: &mut Check<'_>,
        list: &'r [RawInterface],
    ) -> Vec<(InterfaceName, &'r RawInterface)> {
        let mut named = Vec::new();
        for raw in list {
            let Some(name) = check.parsed(Some(&raw.name), InterfaceName::parse) else { continue };
            let shape = match (&raw.vlan, &raw.bond) {
                (None, None) => Shape::Port,
                (Some(_), _) => Shape::Vlan,
                (None, Some(_)) => Shape::Bond,
            };
            if self.shapes.insert(name.clone(), shape).is_some() {
                check.fault(raw.name.span(), Fault::InterfaceTwice(name.to_string()));
            }
            named.push((name, raw));
        }
        named
    }

    fn join_members(&mut self, check: &mut Check<'_>, bond: &InterfaceName, raw: &RawInterface) {
        let Some(RawBond { members, .. }) = &raw.bond else { return };
        if members.get_ref().is_empty() {
            check.fault(members.span(), Fault::NoMembers);
        }
        let limit = ("members of a bond", BOND_MEMBERS_MAX);
        for member in check.list(members.get_ref(), limit, InterfaceName::parse) {
            let name = member.get_ref();
            let fault = match (self.shapes.get(name), self.bonds.get(name)) {
                (None, _) => Fault::UnknownInterface(name.to_string()),
                (Some(Shape::Vlan | Shape::Bond), _) => Fault::MemberKind(name.to_string()),
                (Some(Shape::Port), Some(other)) => {
                    Fault::MemberTwice { name: name.to_string(), bond: other.to_string() }
                }
                (Some(Shape::Port), None) => {
                    self.bonds.insert(name.clone(), bond.clone());
                    continue;
                }
            };
            check.fault(member.span(), fault);
        }
    }

    fn kind(
        &mut self,
        check: &mut Check<'_>,
        name: &InterfaceName,
        raw: &RawInterface,
    ) -> Option<InterfaceKind> {
        let mac = check.parsed(raw.mac.as_ref(), MacAddress::parse);
        if let (Some(mac), Some(text)) = (mac, &raw.mac) {
            if raw.vlan.is_some() || raw.bond.is_some() {
                check.fault(text.span(), Fault::MacOfMade);
            } else if let Some(other) = self.macs.insert(mac, name.clone()) {
                check.fault(text.span(), Fault::MacTwice(other.to_string()));
            }
        }
        match (&raw.vlan, &raw.bond) {
            (None, None) => Some(InterfaceKind::Port { mac }),
            (None, Some(bond)) => Some(InterfaceKind::Bond { mode: bond.mode }),
            (Some(vlan), None) => self.vlan(check, name, vlan),
            (Some(_), Some(bond)) => {
                check.fault(bond.members.span(), Fault::VlanAndBond);
                None
            }
        }
    }

    fn vlan(&mut self, check: &mut Check<'_>, name: &InterfaceName, raw: &RawVlan) -> Option<InterfaceKind> {
        let id = u16::try_from(*raw.id.get_ref()).ok().filter(|id| (VLAN_ID_MIN..=VLAN_ID_MAX).contains(id));
        if id.is_none() {
            check.fault(raw.id.span(), Fault::VlanId(*raw.id.get_ref()));
        }
        let parent = check.parsed(Some(&raw.parent), InterfaceName::parse)?;
        let fault = match (self.shapes.get(&parent), self.bonds.get(&parent)) {
            (None, _) => Some(Fault::UnknownInterface(parent.to_string())),
            (Some(Shape::Vlan), _) => Some(Fault::VlanOfVlan(parent.to_string())),
            (Some(Shape::Port | Shape::Bond), Some(bond)) => {
                Some(Fault::InBond { name: parent.to_string(), bond: bond.to_string() })
            }
            (Some(Shape::Port | Shape::Bond), None) => None,
        };
        if let Some(fault) = fault {
            check.fault(raw.parent.span(), fault);
        }
        let id = id?;
        let siblings = self.vlans.entry(parent.clone()).or_default();
        if let Some((_, other)) = siblings.iter().find(|(other, _)| *other == id) {
            let (parent, other) = (parent.to_string(), other.to_string());
            check.fault(raw.id.span(), Fault::VlanTwice { id, parent, other });
        }
        siblings.push((id, name.clone()));
        Some(InterfaceKind::Vlan { id, parent })
    }

    fn role(&mut self, check: &mut Check<'_>, name: &InterfaceName, raw: &RawInterface) -> InterfaceRole {
        if let Some(bond) = self.bonds.get(name) {
            let own = [&raw.addresses, &raw.gateways, &raw.dns].into_iter().find_map(|list| list.first());
            if raw.dhcp == Some(true) || own.is_some() {
                let fault = Fault::InBond { name: name.to_string(), bond: bond.to_string() };
                check.fault(own.unwrap_or(&raw.name).span(), fault);
            }
            return InterfaceRole::Member { bond: bond.clone() };
        }
        let addressing = self.addressing(check, name, raw);
        if addressing.is_empty() && !self.vlans.contains_key(name) && raw.addresses.is_empty() {
            check.fault(raw.name.span(), Fault::Unused);
        }
        InterfaceRole::Own(addressing)
    }

    fn addressing(&mut self, check: &mut Check<'_>, name: &InterfaceName, raw: &RawInterface) -> Addressing {
        // What only carries VLANs need not be told to stay silent.
        let silent = !raw.addresses.is_empty() || self.vlans.contains_key(name);
        let addresses = check.list(&raw.addresses, ("addresses", ADDRESSES_MAX), address_in_network);
        for own in &addresses {
            let address = own.get_ref().addr();
            if let Some(other) = self.addresses.insert(address, name.clone()) {
                let other = other.to_string();
                check.fault(own.span(), Fault::AddressTwice { address, other });
            }
        }
        let mut addressing = Addressing {
            dhcp: raw.dhcp.unwrap_or(!silent),
            addresses: addresses.into_iter().map(Spanned::into_inner).collect(),
            ..Addressing::default()
        };
        let gateways = check.list(&raw.gateways, ("gateways", ADDRESSES_MAX), address);
        for gateway in &gateways {
            self.gateway(check, name, gateway, &addressing);
        }
        let dns = check.list(&raw.dns, ("name servers", NAME_SERVERS_MAX), address);
        addressing.gateways = gateways.into_iter().map(Spanned::into_inner).collect();
        addressing.dns = dns.into_iter().map(Spanned::into_inner).collect();
        addressing
    }

    fn gateway(
        &mut self,
        check: &mut Check<'_>,
        name: &InterfaceName,
        gateway: &Spanned<IpAddr>,
        addressing: &Addressing,
    ) {
        let (place, gateway) = (gateway.span(), *gateway.get_ref());
        let version = if gateway.is_ipv4() { "IPv4" } else { "IPv6" };
        if let Some(other) = self.gateways.insert(version, name.clone()) {
            check.fault(place.clone(), Fault::SecondGateway { version, other: other.to_string() });
        }
        // A router's link-local address lies in no network of ours, and is the usual one.
        let on_link =
            matches!(gateway, IpAddr::V6(v6) if v6.is_unicast_link_local()) && addressing.uses_ipv6();
        let networks = &addressing.addresses;
        if networks.iter().any(|network| network.addr() == gateway) {
            check.fault(place, Fault::GatewayIsOwn(gateway));
        } else if !on_link && !networks.iter().any(|network| network.contains(&gateway)) {
            check.fault(place, Fault::GatewayOutside { gateway, networks: networks.clone() });
        }
    }
}

//! A network interface of a site.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use super::names::{InterfaceName, MacAddress};

/// Smallest id of a VLAN.
pub const VLAN_ID_MIN: u16 = 1;
/// Largest id of a VLAN (IEEE 802.1Q).
pub const VLAN_ID_MAX: u16 = 4094;

/// A network interface of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// What it is called, in the site file and, unless it is found by its MAC address, by Linux.
    pub name: InterfaceName,
    /// What it is.
    pub kind: InterfaceKind,
    /// What it is for.
    pub role: InterfaceRole,
}

impl Interface {
    /// Its own addresses; none where a bond takes all that it has.
    pub fn addressing(&self) -> Option<&Addressing> {
        match &self.role {
            InterfaceRole::Member { .. } => None,
            InterfaceRole::Own(addressing) => Some(addressing),
        }
    }
}

/// What an interface is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterfaceKind {
    /// A network port, found by its address if it is given, else by its name.
    Port {
        /// Its address as its maker gave it.
        mac: Option<MacAddress>,
    },
    /// A virtual LAN within another interface (IEEE 802.1Q).
    Vlan {
        /// Its number.
        id: u16,
        /// The interface that carries it.
        parent: InterfaceName,
    },
    /// Several ports as one.
    Bond {
        /// How the ports are used.
        mode: BondMode,
    },
}

/// What an interface is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterfaceRole {
    /// A part of a bond.
    Member {
        /// The bond.
        bond: InterfaceName,
    },
    /// To be reached at addresses of its own; it has none if it only carries VLANs.
    Own(Addressing),
}

/// How an interface comes to its addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addressing {
    /// Whether it asks (DHCP, IPv6 router advertisements).
    pub dhcp: bool,
    /// Addresses, each with the length of its network.
    pub addresses: Vec<IpNet>,
    /// Routers to all other networks, at most one for each of IPv4 and IPv6.
    pub gateways: Vec<IpAddr>,
    /// Name servers; those of DHCP are not used if there are any.
    pub dns: Vec<IpAddr>,
}

impl Addressing {
    /// Whether nothing is given.
    pub fn is_empty(&self) -> bool {
        !self.dhcp && self.addresses.is_empty()
    }

    /// Whether the interface speaks IPv6. One with IPv4 addresses alone stays silent there.
    pub fn uses_ipv6(&self) -> bool {
        self.dhcp || self.addresses.iter().any(|address| address.addr().is_ipv6())
    }
}

/// How a bond uses its ports. The names are Linux's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum BondMode {
    /// One port works, the others stand by: needs nothing of the switch.
    #[default]
    #[serde(rename = "active-backup")]
    ActiveBackup,
    /// LACP: the switch must be set up for it.
    #[serde(rename = "802.3ad")]
    Lacp,
    /// Each packet on the next port.
    #[serde(rename = "balance-rr")]
    RoundRobin,
    /// The port by a hash of the addresses.
    #[serde(rename = "balance-xor")]
    Xor,
    /// Each packet on all ports.
    #[serde(rename = "broadcast")]
    Broadcast,
    /// What is sent is spread.
    #[serde(rename = "balance-tlb")]
    SendBalanced,
    /// What is sent and received is spread.
    #[serde(rename = "balance-alb")]
    Balanced,
}

impl BondMode {
    /// Linux's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ActiveBackup => "active-backup",
            Self::Lacp => "802.3ad",
            Self::RoundRobin => "balance-rr",
            Self::Xor => "balance-xor",
            Self::Broadcast => "broadcast",
            Self::SendBalanced => "balance-tlb",
            Self::Balanced => "balance-alb",
        }
    }
}

//! The site file: what an operator decides about a machine before its first boot. It is parsed whole
//! and checked whole: a [`Site`] is a proof that each field is valid and that all fit together.
//!
//! What the machine's services are told follows from it by pure functions: [`networkd`],
//! [`services`], [`nftables`]. docs/site.md describes each field, and a test compares the two.

mod admin_key;
mod check;
mod error;
mod interface;
mod interfaces;
mod names;
pub mod networkd;
pub mod nftables;
mod raw;
pub mod services;
mod text;

#[cfg(test)]
mod documented;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

pub use admin_key::{ADMIN_KEY_BYTES_MAX, ADMIN_KEYS_MAX, AdminKey, RSA_BITS_MIN, parse_admin_keys};
pub use error::{PROBLEMS_MAX, SiteErrors, SiteProblem};
pub use interface::{
    Addressing, BondMode, Interface, InterfaceKind, InterfaceRole, VLAN_ID_MAX, VLAN_ID_MIN,
};
pub use names::{HostName, InterfaceName, Language, MacAddress};
pub use text::decode;

use crate::name::ModelName;

/// Largest site file, and largest file of admin keys.
pub const SITE_FILE_BYTES_MAX: u64 = 64 << 10;
/// Time servers of a site: more than four agree no better.
pub const TIME_SERVERS_MAX: usize = 8;
/// Interfaces of a site.
pub const INTERFACES_MAX: usize = 64;
/// Addresses of an interface.
pub const ADDRESSES_MAX: usize = 16;
/// Name servers of an interface: systemd-resolved asks one after the other.
pub const NAME_SERVERS_MAX: usize = 8;
/// Interfaces that one bond joins.
pub const BOND_MEMBERS_MAX: usize = 8;
/// Models of a site.
pub const MODELS_MAX: usize = 32;
/// Most requests that one model's engine runs together.
pub const SEQUENCES_MAX: u32 = 256;
/// Shortest context of a model.
pub const CONTEXT_TOKENS_MIN: u32 = 128;
/// Longest context of a model.
pub const CONTEXT_TOKENS_MAX: u32 = 16 << 20;
/// Longest wait of a running answer.
pub const STREAM_GAP_MS_MAX: u32 = 60_000;

/// A valid site file. `Site::default()` is what a machine does that has none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Site {
    /// The machine's name.
    pub hostname: HostName,
    /// Language of the screens.
    pub language: Language,
    /// Where the time comes from.
    pub time: Time,
    /// Whether the machine answers to its name on the local network (multicast DNS).
    pub mdns: bool,
    /// Whether the machine answers to an ICMP echo request.
    pub answer_ping: bool,
    /// How it is on the network.
    pub interfaces: Interfaces,
    /// Whose SSH keys open the admin account, beside those that come in a file of their own.
    pub admin_keys: Vec<AdminKey>,
    /// What is served as soon as it is in the store.
    pub models: Vec<SiteModel>,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            hostname: HostName::default(),
            language: Language::default(),
            time: Time::FromDhcp,
            mdns: true,
            answer_ping: false,
            interfaces: Interfaces::EveryEthernet,
            admin_keys: Vec::new(),
            models: Vec::new(),
        }
    }
}

impl Site {
    /// Reads a site file's text, without a byte order mark: see [`decode`].
    ///
    /// # Errors
    /// Everything that was found, each with its place; of the form (TOML, unknown fields) the first.
    pub fn parse(text: &str) -> Result<Self, SiteErrors> {
        check::parse(text)
    }

    /// Whether some interface asks for its address.
    pub fn uses_dhcp(&self) -> bool {
        match &self.interfaces {
            Interfaces::EveryEthernet => true,
            Interfaces::Listed(list) => list.iter().filter_map(Interface::addressing).any(|a| a.dhcp),
        }
    }

    /// Whether some interface speaks IPv6.
    pub fn uses_ipv6(&self) -> bool {
        match &self.interfaces {
            Interfaces::EveryEthernet => true,
            Interfaces::Listed(list) => {
                list.iter().filter_map(Interface::addressing).any(Addressing::uses_ipv6)
            }
        }
    }
}

/// Where the time comes from. Nothing else is ever asked: no vendor's servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Time {
    /// The clock of the machine alone.
    Off,
    /// The servers that DHCP names, if it names any.
    FromDhcp,
    /// These.
    Servers(Vec<TimeServer>),
}

/// A time server (NTP).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TimeServer {
    /// By address.
    Address(IpAddr),
    /// By name, which must be looked up.
    Name(HostName),
}

/// The interfaces of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interfaces {
    /// Each Ethernet port asks for an address (DHCP, IPv6 router advertisements).
    EveryEthernet,
    /// These, at least one; others stay down.
    Listed(Vec<Interface>),
}

/// A model to serve, and how. What is absent is the appliance's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteModel {
    /// Its name in the store.
    pub name: ModelName,
    /// Requests that run together, 1 to [`SEQUENCES_MAX`].
    pub sequences: Option<u32>,
    /// Tokens of prompt and answer, [`CONTEXT_TOKENS_MIN`] to [`CONTEXT_TOKENS_MAX`].
    pub context_tokens: Option<u32>,
    /// How long a running answer may wait for others' prompts, 1 to [`STREAM_GAP_MS_MAX`].
    pub stream_gap_ms: Option<u32>,
}

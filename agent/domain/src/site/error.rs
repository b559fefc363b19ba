//! What may be wrong with a site file or with a file of keys: where, why, and what to do.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    ADMIN_KEY_BYTES_MAX, CONTEXT_TOKENS_MAX, CONTEXT_TOKENS_MIN, RSA_BITS_MIN, SEQUENCES_MAX,
    SITE_FILE_BYTES_MAX, STREAM_GAP_MS_MAX, VLAN_ID_MAX, VLAN_ID_MIN,
};
use crate::name::NameError;

/// Problems of one file that are told: a screen holds no more.
pub const PROBLEMS_MAX: usize = 20;

/// What is wrong at a place of a file. Shown as `line 3, column 12: reason: what to do`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {fault}")]
pub struct SiteProblem {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    pub(super) fault: Fault,
}

/// All that is wrong with a file, in the file's order; at least one, at most [`PROBLEMS_MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteErrors(Vec<SiteProblem>);

impl SiteErrors {
    /// Nothing, if nothing is wrong.
    pub(super) fn of(mut problems: Vec<SiteProblem>) -> Option<Self> {
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems.truncate(PROBLEMS_MAX);
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// One by one.
    pub fn problems(&self) -> &[SiteProblem] {
        &self.0
    }
}

impl From<SiteProblem> for SiteErrors {
    fn from(problem: SiteProblem) -> Self {
        Self(vec![problem])
    }
}

impl std::error::Error for SiteErrors {}

impl fmt::Display for SiteErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let line_feed = if index == 0 { "" } else { "\n" };
            write!(f, "{line_feed}{problem}")?;
        }
        Ok(())
    }
}

/// What is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error(
        "the file has more than {SITE_FILE_BYTES_MAX} bytes: keep what Nabi knows (docs/site.md), remove the rest"
    )]
    TooLarge,
    #[error("the text is UTF-16: save the file as UTF-8")]
    Utf16,
    #[error("this byte is not UTF-8: save the file as UTF-8")]
    NotUtf8,
    /// As the TOML reader says it.
    #[error("{0}")]
    Toml(String),
    #[error("{count} {what} are more than the {max} that are allowed: remove some")]
    TooMany { what: &'static str, count: usize, max: usize },
    #[error(
        "{0:?} is not a host name: use letters, digits and inner hyphens, at most 63 in each part between dots and 64 in all, and not digits alone"
    )]
    HostName(String),
    #[error("{0:?} is not a language tag: write it like en, fr, ko or pt-BR")]
    Language(String),
    #[error("{0:?} is not an interface's name: use 1 to 15 letters, digits, '-', '_' or '.', and not lo")]
    InterfaceName(String),
    #[error("{0:?} is not the MAC address of a network port: write it like 52:54:00:12:34:56")]
    Mac(String),
    #[error("{0:?} is not an IP address: write it like 10.0.0.1 or fd00::1")]
    Address(String),
    #[error("{0:?} is not an address with its network's length: write it like 10.0.0.5/24 or fd00::5/64")]
    Network(String),
    #[error(
        "{0} is no address that a machine can have: write the machine's own, not that of the network, of all machines or of this host"
    )]
    NotAHost(IpAddr),
    #[error("{0:?} is neither an address nor a host name: write it like 10.0.0.1 or time.example.org")]
    TimeServer(String),
    #[error("time servers are named, but the time is off: remove them, or remove enabled = false")]
    TimeOff,
    #[error(
        "{0:?} is a name, and no interface has DHCP or dns to look it up: give the address, or a name server"
    )]
    NoNameServer(String),
    #[error("the interface {0:?} is listed twice: keep one")]
    InterfaceTwice(String),
    #[error("the MAC address belongs to {0:?} already: each port has its own")]
    MacTwice(String),
    #[error("the address {address} is given to {other:?} already: each address belongs to one interface")]
    AddressTwice { address: IpAddr, other: String },
    #[error("{value} stands here twice: keep one")]
    Twice { value: String },
    #[error("the gateway {gateway} is in none of this interface's networks ({}): check it, or the addresses", in_words(.networks))]
    GatewayOutside { gateway: IpAddr, networks: Vec<IpNet> },
    #[error("the gateway {0} is the interface's own address: give the router's")]
    GatewayIsOwn(IpAddr),
    #[error("{version} has a gateway already, on {other:?}: keep one for each of IPv4 and IPv6")]
    SecondGateway { version: &'static str, other: String },
    #[error("no interface is named {0:?} in this file: add it as an [[interface]], or correct the name")]
    UnknownInterface(String),
    #[error("a VLAN's id is {VLAN_ID_MIN} to {VLAN_ID_MAX}, not {0}")]
    VlanId(u32),
    #[error("the VLAN {id} of {parent:?} is {other:?} already: keep one")]
    VlanTwice { id: u16, parent: String, other: String },
    #[error("{0:?} is itself a VLAN: give the port or the bond below it")]
    VlanOfVlan(String),
    #[error("{name:?} belongs to the bond {bond:?}: put this on the bond")]
    InBond { name: String, bond: String },
    #[error("{0:?} is no network port: a bond joins ports, not VLANs or bonds")]
    MemberKind(String),
    #[error("{name:?} is in the bond {bond:?} already: a port belongs to one bond")]
    MemberTwice { name: String, bond: String },
    #[error("a bond needs at least one member: name its ports")]
    NoMembers,
    #[error(
        "one interface cannot be both a VLAN and a bond: list the bond, and the VLAN with the bond as its parent"
    )]
    VlanAndBond,
    #[error("a VLAN or a bond is made and not found, so it is given no mac: remove it")]
    MacOfMade,
    #[error(
        "this interface has neither DHCP nor an address, and nothing is built on it: give it one, or remove it"
    )]
    Unused,
    #[error("{0}")]
    ModelName(#[from] NameError),
    #[error("{0:?} is listed twice: keep one")]
    ModelTwice(String),
    #[error("sequences is 1 to {SEQUENCES_MAX}, not {0}")]
    Sequences(u32),
    #[error("context_tokens is {CONTEXT_TOKENS_MIN} to {CONTEXT_TOKENS_MAX}, not {0}")]
    ContextTokens(u32),
    #[error("stream_gap_ms is 1 to {STREAM_GAP_MS_MAX}, not {0}")]
    StreamGap(u32),
    #[error(
        "this is a private key, which must never leave its owner: make a new pair, and give its public key (the file that ends with .pub)"
    )]
    PrivateKey,
    #[error(
        "this public key has the form of PuTTY (RFC 4716): give the one line that PuTTYgen shows for OpenSSH's authorized_keys"
    )]
    Rfc4716,
    #[error("a certificate is not accepted as an admin's key: give the public key itself")]
    Certificate,
    #[error(
        "{0:?} is no kind of key that is accepted: give ssh-ed25519, ecdsa-sha2-nistp256, -384 or -521, their sk- kinds, or ssh-rsa; options before a key are not accepted"
    )]
    KeyKind(String),
    #[error("the key is damaged ({0}): copy the whole line from its file, which ends with .pub")]
    KeyDamaged(String),
    #[error("the key has {bytes} bytes, more than the {ADMIN_KEY_BYTES_MAX} that are allowed: give another")]
    KeyTooLong { bytes: usize },
    #[error(
        "an RSA key of {bits} bits is too weak: give one of at least {RSA_BITS_MIN} bits, or better ssh-ed25519"
    )]
    RsaTooShort { bits: usize },
    #[error("this key is listed twice: keep one")]
    KeyTwice,
    #[error("there is no key here: give the line of a public key, whose file ends with .pub")]
    NoKey,
}

fn in_words(networks: &[IpNet]) -> String {
    if networks.is_empty() {
        return "it has none of its own".to_owned();
    }
    networks.iter().map(|network| network.trunc().to_string()).collect::<Vec<_>>().join(", ")
}

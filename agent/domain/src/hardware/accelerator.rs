//! Accelerators.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Nvidia;

/// A GPU or NPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accelerator {
    /// Who made it.
    pub maker: Maker,
    /// Where it is plugged in.
    pub address: Option<PciAddress>,
    /// What it says it is.
    pub id: Option<PciId>,
    /// The product, where it is known by its number or by its driver.
    pub name: Option<String>,
    /// What kernels are compiled for: `gfx942`, `910B`.
    pub chip: Option<String>,
    /// Its own memory.
    pub memory_bytes: Option<u64>,
    /// It uses the machine's memory.
    pub is_integrated: bool,
    /// The NUMA node that it is near to.
    pub numa_node: Option<u32>,
    /// Whether the kernel can use it.
    pub driver: Driver,
    /// Device nodes by which a program uses it, below the root folder.
    pub nodes: Vec<String>,
    /// Ways to others that are faster than PCI.
    pub links: Vec<Link>,
    /// What NVIDIA's library tells besides.
    pub nvidia: Option<Nvidia>,
}

/// Who makes accelerators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are names")]
pub enum Maker {
    Amd,
    Biren,
    Cambricon,
    Enflame,
    Huawei,
    Hygon,
    Iluvatar,
    Intel,
    Kunlunxin,
    Metax,
    MooreThreads,
    Nvidia,
}

/// Whether the kernel can use a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Driver {
    /// It has its driver.
    Works {
        /// The kernel's name of it.
        name: String,
        /// Its version, where it tells one.
        version: Option<String>,
    },
    /// It has none.
    Missing {
        /// What is to be installed.
        wanted: String,
    },
    /// It has one that cannot compute.
    Other {
        /// The one that it has.
        name: String,
        /// What is to be installed instead.
        wanted: String,
    },
    /// Its driver is there and gave it up.
    Failed {
        /// The kernel's name of the driver.
        name: String,
        /// What is wrong, and what to do.
        reason: String,
    },
}

/// A way between two accelerators.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Of what kind.
    pub kind: LinkKind,
    /// The other end.
    pub to: PciAddress,
}

/// Of what kind a way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    /// AMD's.
    Xgmi,
    /// NVIDIA's.
    Nvlink,
    /// Huawei's.
    Hccs,
}

/// A place on PCI: `0000:c1:00.0`. Some machines count domains beyond four digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PciAddress {
    /// The domain.
    pub domain: u32,
    /// The bus.
    pub bus: u8,
    /// The device, below 32.
    pub device: u8,
    /// The function, below 8.
    pub function: u8,
}

/// Not like `0000:c1:00.0`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address on PCI: it has the form 0000:c1:00.0, in hexadecimal")]
pub struct NoPciAddress(String);

impl FromStr for PciAddress {
    type Err = NoPciAddress;

    fn from_str(text: &str) -> Result<Self, NoPciAddress> {
        let hex = |digits: &str, min: usize, max: usize| -> Option<u32> {
            let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            let fits = (min..=max).contains(&digits.len()) && is_hex;
            fits.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
        };
        let address = || {
            let (domain, rest) = text.split_once(':')?;
            let (bus, rest) = rest.split_once(':')?;
            let (device, function) = rest.split_once('.')?;
            Some(Self {
                domain: hex(domain, 4, 8)?,
                bus: u8::try_from(hex(bus, 2, 2)?).ok()?,
                device: u8::try_from(hex(device, 2, 2)?).ok().filter(|&device| device < 32)?,
                function: u8::try_from(hex(function, 1, 1)?).ok().filter(|&function| function < 8)?,
            })
        };
        address().ok_or_else(|| NoPciAddress(text.chars().take(80).collect()))
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, bus, device, function } = self;
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function:x}")
    }
}

impl Serialize for PciAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PciAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a device says it is, by numbers of the PCI-SIG and of its maker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PciId {
    /// The maker.
    pub vendor: u16,
    /// The product.
    pub device: u16,
}

/// Not like `10de:2330`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no pair of PCI's numbers: it has the form 10de:2330, in hexadecimal")]
pub struct NoPciId(String);

impl FromStr for PciId {
    type Err = NoPciId;

    fn from_str(text: &str) -> Result<Self, NoPciId> {
        let sixteen = |digits: &str| {
            let is_hex = digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            is_hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
        };
        let id = || {
            let (vendor, device) = text.split_once(':')?;
            Some(Self { vendor: sixteen(vendor)?, device: sixteen(device)? })
        };
        id().ok_or_else(|| NoPciId(text.chars().take(80).collect()))
    }
}

impl fmt::Display for PciId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.device)
    }
}

impl Serialize for PciId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PciId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_shown() {
        for text in ["0000:c1:00.0", "0001:00:1f.7", "10000:e1:00.0"] {
            assert_eq!(text.parse::<PciAddress>().map(|address| address.to_string()).as_deref(), Ok(text));
        }
        for text in
            ["", "c1:00.0", "0000:c1:20.0", "0000:c1:00.8", "0000:c1:00", "0000:1:00.0", "+000:c1:00.0"]
        {
            assert!(text.parse::<PciAddress>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn ids_are_read_as_they_are_shown() {
        assert_eq!("10DE:2330".parse::<PciId>().map(|id| id.to_string()).as_deref(), Ok("10de:2330"));
        for text in ["", "10de", "10de:23", "10de:+330", "10de:2330:"] {
            assert!(text.parse::<PciId>().is_err(), "{text:?}");
        }
    }
}

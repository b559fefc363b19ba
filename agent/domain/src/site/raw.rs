//! The site file as TOML has it: each field that there is, with its place where more than its form
//! can be wrong.

use serde::Deserialize;
use toml::Spanned;

pub(super) type Text = Spanned<String>;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSite {
    pub(super) hostname: Option<Text>,
    pub(super) language: Option<Text>,
    pub(super) admin_keys: Vec<Text>,
    pub(super) time: RawTime,
    pub(super) network: RawNetwork,
    pub(super) interface: Vec<RawInterface>,
    pub(super) model: Vec<RawModel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTime {
    pub(super) enabled: bool,
    pub(super) servers: Vec<Text>,
}

impl Default for RawTime {
    fn default() -> Self {
        Self { enabled: true, servers: Vec::new() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawNetwork {
    pub(super) mdns: bool,
    pub(super) answer_ping: bool,
}

impl Default for RawNetwork {
    fn default() -> Self {
        Self { mdns: true, answer_ping: false }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawInterface {
    pub(super) name: Text,
    pub(super) mac: Option<Text>,
    pub(super) dhcp: Option<bool>,
    #[serde(default)]
    pub(super) addresses: Vec<Text>,
    #[serde(default)]
    pub(super) gateways: Vec<Text>,
    #[serde(default)]
    pub(super) dns: Vec<Text>,
    pub(super) vlan: Option<RawVlan>,
    pub(super) bond: Option<RawBond>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawVlan {
    pub(super) id: Spanned<u32>,
    pub(super) parent: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBond {
    pub(super) members: Spanned<Vec<Text>>,
    #[serde(default)]
    pub(super) mode: super::BondMode,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawModel {
    pub(super) name: Text,
    pub(super) sequences: Option<Spanned<u32>>,
    pub(super) context_tokens: Option<Spanned<u32>>,
    pub(super) stream_gap_ms: Option<Spanned<u32>>,
}

//! From the site file's form to its meaning: each fault is noted with its place, and the check goes on.

use std::collections::HashSet;
use std::hash::Hash;
use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;
use toml::Spanned;

use super::admin_key::{ADMIN_KEYS_MAX, AdminKey};
use super::error::{Fault, SiteErrors, SiteProblem};
use super::interface::{Addressing, Interface};
use super::raw::{RawModel, RawSite, RawTime, Text};
use super::text::problem_at;
use super::{
    CONTEXT_TOKENS_MAX, CONTEXT_TOKENS_MIN, HostName, Interfaces, Language, MODELS_MAX, SEQUENCES_MAX,
    SITE_FILE_BYTES_MAX, STREAM_GAP_MS_MAX, Site, SiteModel, TIME_SERVERS_MAX, Time, TimeServer, interfaces,
};
use crate::name::ModelName;

/// What was found so far.
pub(super) struct Check<'a> {
    text: &'a str,
    problems: Vec<SiteProblem>,
}

pub(super) fn parse(text: &str) -> Result<Site, SiteErrors> {
    if u64::try_from(text.len()).is_ok_and(|bytes| bytes > SITE_FILE_BYTES_MAX) {
        return Err(problem_at(text, 0..0, Fault::TooLarge).into());
    }
    let raw: RawSite = toml::from_str(text).map_err(|error| {
        let fault = Fault::Toml(error.message().trim_end().replace('\n', "; "));
        problem_at(text, error.span().unwrap_or_default(), fault)
    })?;
    let mut check = Check { text, problems: Vec::new() };
    let site = Site {
        hostname: check.parsed(raw.hostname.as_ref(), HostName::parse).unwrap_or_default(),
        language: check.parsed(raw.language.as_ref(), Language::parse).unwrap_or_default(),
        time: check.time(&raw.time),
        mdns: raw.network.mdns,
        answer_ping: raw.network.answer_ping,
        interfaces: interfaces::check(&mut check, &raw.interface),
        admin_keys: check.admin_keys(&raw.admin_keys),
        models: check.models(&raw.model),
    };
    check.lookup(&site.interfaces, &raw.time.servers);
    SiteErrors::of(check.problems).map_or(Ok(site), Err)
}

impl Check<'_> {
    /// Notes a fault.
    pub(super) fn fault(&mut self, place: Range<usize>, fault: Fault) {
        self.problems.push(problem_at(self.text, place, fault));
    }

    /// A value; nothing where it is absent or wrong.
    pub(super) fn parsed<T>(
        &mut self,
        text: Option<&Text>,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        let text = text?;
        parse(text.get_ref()).map_err(|fault| self.fault(text.span(), fault)).ok()
    }

    /// The values of a list, each once, at most so many. With them goes the place of each.
    pub(super) fn list<T: Clone + Eq + Hash>(
        &mut self,
        list: &[Text],
        (what, max): (&'static str, usize),
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Vec<Spanned<T>> {
        if let Some(excess) = list.get(max) {
            self.fault(excess.span(), Fault::TooMany { what, count: list.len(), max });
        }
        let (mut values, mut seen) = (Vec::new(), HashSet::new());
        for text in list.iter().take(max) {
            match parse(text.get_ref()) {
                Ok(value) if seen.insert(value.clone()) => values.push(Spanned::new(text.span(), value)),
                Ok(_) => self.fault(text.span(), Fault::Twice { value: text.get_ref().clone() }),
                Err(fault) => self.fault(text.span(), fault),
            }
        }
        values
    }

    fn time(&mut self, raw: &RawTime) -> Time {
        let servers = self.list(&raw.servers, ("time servers", TIME_SERVERS_MAX), time_server);
        match (raw.enabled, servers.first()) {
            (false, Some(first)) => {
                self.fault(first.span(), Fault::TimeOff);
                Time::Off
            }
            (false, None) => Time::Off,
            (true, None) => Time::FromDhcp,
            (true, Some(_)) => Time::Servers(servers.into_iter().map(Spanned::into_inner).collect()),
        }
    }

    /// A time server's name is of no use where nobody can be asked for its address.
    fn lookup(&mut self, interfaces: &Interfaces, servers: &[Text]) {
        let Interfaces::Listed(list) = interfaces else { return };
        let has_dns = |own: &Addressing| own.dhcp || !own.dns.is_empty();
        let by_name = servers.iter().find(|text| text.get_ref().parse::<IpAddr>().is_err());
        if let Some(text) = by_name
            && !list.iter().filter_map(Interface::addressing).any(has_dns)
        {
            self.fault(text.span(), Fault::NoNameServer(text.get_ref().clone()));
        }
    }

    fn admin_keys(&mut self, list: &[Text]) -> Vec<AdminKey> {
        if let Some(excess) = list.get(ADMIN_KEYS_MAX) {
            let (count, max) = (list.len(), ADMIN_KEYS_MAX);
            self.fault(excess.span(), Fault::TooMany { what: "admin_keys", count, max });
        }
        let mut keys = Vec::<AdminKey>::new();
        for line in list.iter().take(ADMIN_KEYS_MAX) {
            match AdminKey::parse(line.get_ref()) {
                Ok(key) if keys.iter().any(|known| known.fingerprint() == key.fingerprint()) => {
                    self.fault(line.span(), Fault::KeyTwice);
                }
                Ok(key) => keys.push(key),
                Err(fault) => self.fault(line.span(), fault),
            }
        }
        keys
    }

    fn models(&mut self, list: &[RawModel]) -> Vec<SiteModel> {
        if let Some(excess) = list.get(MODELS_MAX) {
            let (count, max) = (list.len(), MODELS_MAX);
            self.fault(excess.name.span(), Fault::TooMany { what: "models", count, max });
        }
        let mut models = Vec::<SiteModel>::new();
        for raw in list.iter().take(MODELS_MAX) {
            let Some(model) = self.model(raw) else { continue };
            if models.iter().any(|known| known.name == model.name) {
                self.fault(raw.name.span(), Fault::ModelTwice(model.name.to_string()));
            }
            models.push(model);
        }
        models
    }

    fn model(&mut self, raw: &RawModel) -> Option<SiteModel> {
        let gap = self.within(raw.stream_gap_ms.as_ref(), 1..=STREAM_GAP_MS_MAX, Fault::StreamGap);
        let context = CONTEXT_TOKENS_MIN..=CONTEXT_TOKENS_MAX;
        let context = self.within(raw.context_tokens.as_ref(), context, Fault::ContextTokens);
        let sequences = self.within(raw.sequences.as_ref(), 1..=SEQUENCES_MAX, Fault::Sequences);
        let name = raw.name.get_ref().parse::<ModelName>();
        let name = name.map_err(|error| self.fault(raw.name.span(), error.into())).ok()?;
        Some(SiteModel { name, sequences, context_tokens: context, stream_gap_ms: gap })
    }

    fn within(
        &mut self,
        value: Option<&Spanned<u32>>,
        range: std::ops::RangeInclusive<u32>,
        fault: fn(u32) -> Fault,
    ) -> Option<u32> {
        let value = value?;
        if !range.contains(value.get_ref()) {
            self.fault(value.span(), fault(*value.get_ref()));
        }
        Some(*value.get_ref())
    }
}

fn time_server(text: &str) -> Result<TimeServer, Fault> {
    let fault = |_| Fault::TimeServer(text.to_owned());
    match text.parse::<IpAddr>() {
        Ok(address) => one_host(address).map(TimeServer::Address),
        Err(_) => HostName::parse(text).map(TimeServer::Name).map_err(fault),
    }
}

/// An address of one machine.
pub(super) fn address(text: &str) -> Result<IpAddr, Fault> {
    text.parse().map_err(|_| Fault::Address(text.to_owned())).and_then(one_host)
}

/// An address of one machine, with the length of its network.
pub(super) fn address_in_network(text: &str) -> Result<IpNet, Fault> {
    let network: IpNet = text.parse().map_err(|_| Fault::Network(text.to_owned()))?;
    let address = one_host(network.addr())?;
    // In networks of one or two addresses (RFC 3021, RFC 6164) each is a machine's.
    let has_ends = network.max_prefix_len() - network.prefix_len() > 1;
    let is_end = address == network.network() || (address.is_ipv4() && address == network.broadcast());
    if (has_ends && is_end) || network.prefix_len() == 0 {
        return Err(Fault::NotAHost(address));
    }
    Ok(network)
}

fn one_host(address: IpAddr) -> Result<IpAddr, Fault> {
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() || is_broadcast {
        return Err(Fault::NotAHost(address));
    }
    Ok(address)
}

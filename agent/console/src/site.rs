//! `nabi site`: what a machine would do with a site file, said before it is flashed. Needs no
//! supervisor.

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Args, Subcommand};
use nabi_domain::site::{
    Addressing, AdminKey, Interface, InterfaceKind, InterfaceRole, Interfaces, SITE_FILE_BYTES_MAX, Site,
    SiteErrors, SiteModel, Time, TimeServer, decode, parse_admin_keys,
};

const EXAMPLE: &str = include_str!("../../../provisioning/site.toml");

#[derive(Subcommand)]
pub(crate) enum SiteVerb {
    /// Say what a machine would do with these files, or what is wrong with them
    Check(Check),
    /// Print a site file that shows every field
    Example,
}

#[derive(Args)]
pub(crate) struct Check {
    /// The site file; without it, a machine has every default
    #[arg(required_unless_present = "keys")]
    file: Option<PathBuf>,
    /// The file of administrators' public keys (admin.pub), if they are not in the site file
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
}

impl SiteVerb {
    /// What is to be printed.
    pub(crate) fn run(&self, json: bool) -> Result<String> {
        if json {
            bail!("`nabi site` prints text only: leave --json out");
        }
        match self {
            Self::Check(check) => check.run(),
            Self::Example => Ok(EXAMPLE.to_owned()),
        }
    }
}

impl Check {
    fn run(&self) -> Result<String> {
        let site = self.file.as_deref().map_or_else(|| Ok(Site::default()), |path| parsed(path, Site::parse));
        let keys = self.keys.as_deref().map_or_else(|| Ok(Vec::new()), |path| parsed(path, parse_admin_keys));
        let (site, keys) = match (site, keys) {
            (Ok(site), Ok(keys)) => (site, keys),
            (Err(site), Err(keys)) => bail!("{site:#}\n{keys:#}"),
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        if site.admin_keys.is_empty() && keys.is_empty() {
            bail!(
                "nobody could administer the machine: give admin_keys in the site file, or --keys admin.pub \
                 for those that lie beside it"
            );
        }
        Ok(description(&site, &keys))
    }
}

/// What a file says, or all that is wrong with it, each with the file's name as compilers have it.
fn parsed<T>(path: &Path, parse: impl Fn(&str) -> Result<T, SiteErrors>) -> Result<T> {
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let bounded = file.take(SITE_FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    bounded.with_context(|| format!("cannot read {}", path.display()))?;
    decode(&bytes).and_then(parse).map_err(|errors| {
        let lines = errors.problems().iter().map(|problem| format!("{}, {problem}", path.display()));
        anyhow!(lines.collect::<Vec<_>>().join("\n"))
    })
}

fn description(site: &Site, keys: &[AdminKey]) -> String {
    let mut rows = vec![
        ("name".to_owned(), name(site)),
        ("language".to_owned(), site.language.to_string()),
        ("time".to_owned(), time(&site.time)),
        ("ping".to_owned(), if site.answer_ping { "answered" } else { "not answered" }.to_owned()),
    ];
    match &site.interfaces {
        Interfaces::EveryEthernet => {
            rows.push(("network".to_owned(), "every Ethernet port by DHCP".to_owned()))
        }
        Interfaces::Listed(list) => {
            rows.extend(list.iter().map(|own| (format!("network {}", own.name), interface(own))));
        }
    }
    let keys = keys.iter().chain(&site.admin_keys);
    rows.extend(keys.map(|key| {
        let whose = [key.fingerprint(), key.kind(), key.comment()].join(" ");
        ("admin".to_owned(), whose.trim_end().to_owned())
    }));
    rows.extend(site.models.iter().map(|own| ("model".to_owned(), model(own))));
    let width = rows.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
    rows.iter().map(|(what, value)| format!("{what:width$}  {value}\n")).collect()
}

fn name(site: &Site) -> String {
    let first = site.hostname.as_str().split('.').next().unwrap_or_default();
    if site.mdns {
        format!("{} (on the local network {first}.local)", site.hostname)
    } else {
        site.hostname.to_string()
    }
}

fn time(time: &Time) -> String {
    match time {
        Time::Off => "asked of nobody".to_owned(),
        Time::FromDhcp => "from the servers that DHCP names, if any".to_owned(),
        Time::Servers(servers) => {
            let words = servers.iter().map(|server| match server {
                TimeServer::Address(address) => address.to_string(),
                TimeServer::Name(name) => format!("{name} (looked up)"),
            });
            format!("from {}", words.collect::<Vec<_>>().join(", "))
        }
    }
}

fn interface(interface: &Interface) -> String {
    let mut parts = Vec::new();
    match &interface.kind {
        InterfaceKind::Port { mac: Some(mac) } => parts.push(format!("the port {mac}")),
        InterfaceKind::Port { mac: None } => {}
        InterfaceKind::Vlan { id, parent } => parts.push(format!("VLAN {id} of {parent}")),
        InterfaceKind::Bond { mode } => parts.push(format!("a bond ({})", mode.as_str())),
    }
    match &interface.role {
        InterfaceRole::Member { bond } => parts.push(format!("part of {bond}")),
        InterfaceRole::Own(own) if own.is_empty() => parts.push("carries VLANs only".to_owned()),
        InterfaceRole::Own(own) => parts.extend(addressing(own)),
    }
    parts.join(", ")
}

fn addressing(own: &Addressing) -> Vec<String> {
    let list = |what: &str, addresses: &[IpAddr]| {
        let words: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        (!words.is_empty()).then(|| format!("{what} {}", words.join(" and ")))
    };
    let mut parts: Vec<String> = own.addresses.iter().map(ToString::to_string).collect();
    parts.extend(own.dhcp.then(|| "DHCP".to_owned()));
    parts.extend(list("gateway", &own.gateways));
    parts.extend(list("name server", &own.dns));
    parts
}

fn model(model: &SiteModel) -> String {
    let settings = [
        ("sequences", model.sequences),
        ("context_tokens", model.context_tokens),
        ("stream_gap_ms", model.stream_gap_ms),
    ];
    let settings = settings.iter().filter_map(|(name, value)| Some(format!(", {name} {}", (*value)?)));
    format!("{}{}", model.name, settings.collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Check, EXAMPLE, SiteVerb};

    fn fixture(name: &str) -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../domain/src/site/tests")).join(name)
    }

    fn check(file: Option<&str>, keys: Option<&str>) -> Result<String, String> {
        let check = Check { file: file.map(fixture), keys: keys.map(fixture) };
        check.run().map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_valid_file_is_told_as_what_the_machine_does() {
        assert_eq!(
            check(Some("listed.toml"), Some("accepted.pub")).as_deref(),
            Ok(include_str!("site/listed.txt"))
        );
    }

    #[test]
    fn a_key_without_a_site_file_is_enough() {
        let said = check(None, Some("accepted.pub")).expect("valid");
        assert!(said.contains("every Ethernet port by DHCP"), "{said}");
        let said = check(Some("listed.toml"), None).expect_err("no key");
        assert!(said.contains("--keys admin.pub"), "{said}");
    }

    #[test]
    fn all_that_is_wrong_is_told_with_file_and_line() {
        let said = check(Some("accepted.pub"), Some("refused.pub")).expect_err("neither is right");
        let starts = |name: &str, line: usize| {
            let start = format!("{}, line {line}, ", fixture(name).display());
            said.lines().any(|line| line.starts_with(&start))
        };
        assert!(starts("accepted.pub", 3) && starts("refused.pub", 3) && starts("refused.pub", 5), "{said}");
        let said = check(Some("absent"), None).expect_err("no file");
        assert!(said.contains("cannot open"), "{said}");
    }

    #[test]
    fn the_example_is_printed_and_json_is_not_pretended() {
        assert_eq!(SiteVerb::Example.run(false).expect("a text"), EXAMPLE);
        assert!(SiteVerb::Example.run(true).is_err());
    }
}

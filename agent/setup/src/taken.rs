//! What was taken from the operator and is kept: the texts as they were written, so that a later
//! version reads them by its own rules.

use nabi_domain::site::{AdminKey, Site, SiteErrors, parse_admin_keys};
use serde::{Deserialize, Serialize};

/// Largest file of what is kept: two files of 64 KiB, of which each byte may need six in JSON.
pub(crate) const TAKEN_BYTES_MAX: u64 = 1 << 20;

/// `taken.json`: as soon as it is there, the machine is set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Taken {
    /// The site file, if there was one.
    pub(crate) site: Option<String>,
    /// The file of admin keys, if there was one.
    pub(crate) keys: Option<String>,
}

/// A valid site, with at least one key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) site: Site,
    pub(crate) keys: Vec<AdminKey>,
}

/// Why the texts are no set-up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Faults of the site file, and of the file of keys.
    Faults { site: Option<SiteErrors>, keys: Option<SiteErrors> },
    /// Nobody could administer the machine.
    NoKey,
}

impl Taken {
    pub(crate) fn setup(&self) -> Result<Setup, Refused> {
        let site = self.site.as_deref().map_or_else(|| Ok(Site::default()), Site::parse);
        let keys = self.keys.as_deref().map_or_else(|| Ok(Vec::new()), parse_admin_keys);
        let (site, mut keys) = match (site, keys) {
            (Ok(site), Ok(keys)) => (site, keys),
            (site, keys) => return Err(Refused::Faults { site: site.err(), keys: keys.err() }),
        };
        for key in &site.admin_keys {
            if keys.iter().all(|known| known.fingerprint() != key.fingerprint()) {
                keys.push(key.clone());
            }
        }
        if keys.is_empty() { Err(Refused::NoKey) } else { Ok(Setup { site, keys }) }
    }
}

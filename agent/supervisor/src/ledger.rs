//! What the operator decided, kept over restarts: which keys there are, which models to serve.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use nabi_domain::{KeyName, ModelName};
use nabi_models::atomic_file;
use nabi_wire::config::{KeyHash, hex_32};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::places::Places;

/// Keys of one appliance. Each is compared with at every request.
pub(crate) const KEYS_MAX: usize = 1000;
/// Models served at once.
pub(crate) const SERVED_MODELS_MAX: usize = 16;
/// Random bytes of a key.
const KEY_BYTES: usize = 32;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    keys: BTreeMap<KeyName, Hash>,
    served: BTreeSet<ModelName>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
struct Hash(#[serde(with = "hex_32")] [u8; 32]);

/// The file `supervisor/operator.json` and its content.
pub(crate) struct Ledger {
    path: PathBuf,
    content: Content,
}

impl Ledger {
    pub(crate) fn open(places: &Places) -> Result<Self> {
        let path = places.private("operator.json");
        let content = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| {
                format!("{} is damaged: mend it, or move it away to begin anew", path.display())
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Content::default(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        Ok(Self { path, content })
    }

    /// Makes a key and keeps its hash. The key itself is known only to the caller from now on.
    pub(crate) fn add_key(&mut self, name: KeyName) -> Result<String> {
        ensure!(
            !self.content.keys.contains_key(&name),
            "there is a key {name} already: revoke it first, or choose another name"
        );
        ensure!(self.content.keys.len() < KEYS_MAX, "there are {KEYS_MAX} keys already: revoke one first");
        let mut random = [0; KEY_BYTES];
        getrandom::fill(&mut random).context("the system gives no random bytes")?;
        let key = format!("nabi-{}", hex::encode(random));
        let hash = Hash(Sha256::digest(&key).into());
        self.change(|content| {
            content.keys.insert(name, hash);
        })?;
        Ok(key)
    }

    pub(crate) fn revoke_key(&mut self, name: &KeyName) -> Result<()> {
        if !self.content.keys.contains_key(name) {
            bail!("there is no key {name}: `nabi key list` shows the names");
        }
        self.change(|content| {
            content.keys.remove(name);
        })
    }

    pub(crate) fn key_names(&self) -> Vec<KeyName> {
        self.content.keys.keys().cloned().collect()
    }

    pub(crate) fn key_hashes(&self) -> Vec<KeyHash> {
        let hash = |(name, hash): (&KeyName, &Hash)| KeyHash { name: name.clone(), sha256: hash.0 };
        self.content.keys.iter().map(hash).collect()
    }

    pub(crate) fn served(&self) -> &BTreeSet<ModelName> {
        &self.content.served
    }

    pub(crate) fn serve(&mut self, name: &ModelName) -> Result<()> {
        ensure!(
            self.content.served.len() < SERVED_MODELS_MAX || self.content.served.contains(name),
            "{SERVED_MODELS_MAX} models are served already: stop one first"
        );
        self.change(|content| {
            content.served.insert(name.clone());
        })
    }

    pub(crate) fn stop(&mut self, name: &ModelName) -> Result<()> {
        self.change(|content| {
            content.served.remove(name);
        })
    }

    /// On the disk first: what could not be written did not happen.
    fn change(&mut self, change: impl FnOnce(&mut Content)) -> Result<()> {
        let mut content = self.content.clone();
        change(&mut content);
        let text = serde_json::to_vec_pretty(&content).context("cannot write JSON")?;
        atomic_file::write(&self.path, &text, 0o600)
            .with_context(|| format!("cannot write {}: nothing was changed", self.path.display()))?;
        self.content = content;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_decided_is_found_again_and_no_key_is_on_the_disk() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let open = || {
            let places = Places::open(folder.path(), &folder.path().join("run")).expect("places");
            Ledger::open(&places).expect("ledger")
        };
        let name: KeyName = "ministry".parse().expect("name");
        let model: ModelName = "tiny".parse().expect("name");
        let mut ledger = open();
        let key = ledger.add_key(name.clone()).expect("new key");
        assert!(ledger.add_key(name.clone()).is_err(), "a name belongs to one key");
        ledger.serve(&model).expect("served");
        drop(ledger);

        let mut ledger = open();
        assert_eq!(ledger.key_hashes()[0].sha256, <[u8; 32]>::from(Sha256::digest(&key)));
        assert!(ledger.served().contains(&model));
        let text = fs::read_to_string(folder.path().join("supervisor/operator.json")).expect("file");
        assert!(!text.contains(&key), "the key itself must not be kept");
        ledger.revoke_key(&name).expect("revoked");
        assert!(ledger.revoke_key(&name).is_err());
        assert!(open().key_names().is_empty());
    }
}

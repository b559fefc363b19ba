//! What the operator decided, kept over restarts: which keys there are, which models to serve and
//! how, which aliases lead to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use nabi_domain::{KeyName, ModelName};
use nabi_models::atomic_file;
use nabi_wire::action::{KeyScope, ServeSettings};
use nabi_wire::config::{KeyHash, hex_32};
use nabi_wire::reply::{Alias, ListedKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::places::Places;

/// Keys of one appliance. Each is compared with at every request.
pub(crate) const KEYS_MAX: usize = 1000;
/// Models served at once.
pub(crate) const SERVED_MODELS_MAX: usize = 16;
/// Random bytes of a key.
const KEY_BYTES: usize = 32;

/// Aliases of one appliance.
pub(crate) const ALIASES_MAX: usize = 256;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Readable")]
struct Content {
    keys: BTreeMap<KeyName, Key>,
    served: BTreeMap<ModelName, ServeSettings>,
    /// What the site file wants served, and the operator does not.
    stopped: BTreeSet<ModelName>,
    /// From an alias to its model, which is one of `served`; no alias is one of them.
    aliases: BTreeMap<ModelName, ModelName>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    #[serde(with = "hex_32")]
    sha256: [u8; 32],
    scope: KeyScope,
}

/// What the file may hold: the first version had neither scopes, settings nor aliases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Readable {
    keys: BTreeMap<KeyName, ReadableKey>,
    served: ReadableServed,
    #[serde(default)]
    stopped: BTreeSet<ModelName>,
    #[serde(default)]
    aliases: BTreeMap<ModelName, ModelName>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ReadableKey {
    Scoped(Key),
    First(#[serde(with = "hex_32")] [u8; 32]),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ReadableServed {
    WithSettings(BTreeMap<ModelName, ServeSettings>),
    First(BTreeSet<ModelName>),
}

impl From<Readable> for Content {
    fn from(read: Readable) -> Self {
        let key = |(name, key)| match key {
            ReadableKey::Scoped(key) => (name, key),
            ReadableKey::First(sha256) => (name, Key { sha256, scope: KeyScope::Inference }),
        };
        let served = match read.served {
            ReadableServed::WithSettings(served) => served,
            ReadableServed::First(names) => {
                names.into_iter().map(|name| (name, ServeSettings::default())).collect()
            }
        };
        let (stopped, aliases) = (read.stopped, read.aliases);
        Self { keys: read.keys.into_iter().map(key).collect(), served, stopped, aliases }
    }
}

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
    pub(crate) fn add_key(&mut self, name: KeyName, scope: KeyScope) -> Result<String> {
        ensure!(
            !self.content.keys.contains_key(&name),
            "there is a key {name} already: revoke it first, or choose another name"
        );
        ensure!(self.content.keys.len() < KEYS_MAX, "there are {KEYS_MAX} keys already: revoke one first");
        let mut random = [0; KEY_BYTES];
        getrandom::fill(&mut random).context("the system gives no random bytes")?;
        let key = format!("nabi-{}", hex::encode(random));
        let kept = Key { sha256: Sha256::digest(&key).into(), scope };
        self.change(|content| {
            content.keys.insert(name, kept);
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

    pub(crate) fn keys(&self) -> Vec<ListedKey> {
        let listed = |(name, key): (&KeyName, &Key)| ListedKey { name: name.clone(), scope: key.scope };
        self.content.keys.iter().map(listed).collect()
    }

    pub(crate) fn key_hashes(&self) -> Vec<KeyHash> {
        let hash = |(name, key): (&KeyName, &Key)| KeyHash {
            name: name.clone(),
            sha256: key.sha256,
            scope: key.scope,
        };
        self.content.keys.iter().map(hash).collect()
    }

    pub(crate) fn served(&self) -> &BTreeMap<ModelName, ServeSettings> {
        &self.content.served
    }

    pub(crate) fn serve(&mut self, name: &ModelName, settings: ServeSettings) -> Result<()> {
        ensure!(
            self.content.served.len() < SERVED_MODELS_MAX || self.content.served.contains_key(name),
            "{SERVED_MODELS_MAX} models are served already: stop one first"
        );
        if let Some(model) = self.content.aliases.get(name) {
            bail!(
                "{name} is an alias of {model}: `nabi alias remove {name}` first, or import the model under another name"
            );
        }
        self.change(|content| {
            content.served.insert(name.clone(), settings);
            content.stopped.remove(name);
        })
    }

    /// What the operator stopped although the site file wants it served.
    pub(crate) fn stopped(&self) -> &BTreeSet<ModelName> {
        &self.content.stopped
    }

    /// `wished`: the site file wants it served, now and at each start.
    pub(crate) fn stop(&mut self, name: &ModelName, wished: bool) -> Result<()> {
        if !self.content.served.contains_key(name) {
            bail!("{name} is not served: `nabi status` shows what is");
        }
        if let Some((alias, _)) = self.content.aliases.iter().find(|(_, model)| *model == name) {
            bail!(
                "the alias {alias} leads to {name}: `nabi alias set {alias} MODEL` leads it to another model, \
                 `nabi alias remove {alias}` removes it; then stop {name}"
            );
        }
        self.change(|content| {
            content.served.remove(name);
            if wished {
                content.stopped.insert(name.clone());
            }
        })
    }

    pub(crate) fn aliases(&self) -> Vec<Alias> {
        let alias =
            |(name, model): (&ModelName, &ModelName)| Alias { name: name.clone(), model: model.clone() };
        self.content.aliases.iter().map(alias).collect()
    }

    /// Leads an alias to a served model; tells where it led before.
    pub(crate) fn set_alias(&mut self, alias: &Alias) -> Result<Option<ModelName>> {
        let Alias { name, model } = alias;
        let Content { served, aliases, .. } = &self.content;
        ensure!(
            !served.contains_key(name),
            "{name} is the name of a served model, which an alias must not hide: choose another name"
        );
        if let Some(further) = aliases.get(model) {
            bail!("{model} is an alias itself: lead {name} to {further}");
        }
        ensure!(
            served.contains_key(model),
            "{model} is not served, so that nothing would answer: `nabi model serve {model}` first"
        );
        ensure!(
            aliases.len() < ALIASES_MAX || aliases.contains_key(name),
            "there are {ALIASES_MAX} aliases already: remove one first"
        );
        let before = aliases.get(name).cloned();
        self.change(|content| {
            content.aliases.insert(name.clone(), model.clone());
        })?;
        Ok(before)
    }

    pub(crate) fn remove_alias(&mut self, name: &ModelName) -> Result<()> {
        if !self.content.aliases.contains_key(name) {
            bail!("there is no alias {name}: `nabi alias list` shows those that are");
        }
        self.change(|content| {
            content.aliases.remove(name);
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
    use crate::launch::Launcher;

    fn open(state: &std::path::Path) -> Ledger {
        let places = Places::open(state, &state.join("run"), Launcher::Child).expect("places");
        Ledger::open(&places).expect("ledger")
    }

    fn model(name: &str) -> ModelName {
        name.parse().expect("a name")
    }

    #[test]
    fn what_was_decided_is_found_again_and_no_key_is_on_the_disk() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let name: KeyName = "ministry".parse().expect("name");
        let tiny = model("tiny");
        let settings = ServeSettings { sequences: Some(16), ..ServeSettings::default() };
        let mut ledger = open(folder.path());
        let key = ledger.add_key(name.clone(), KeyScope::Metrics).expect("new key");
        assert!(ledger.add_key(name.clone(), KeyScope::Inference).is_err(), "a name belongs to one key");
        ledger.serve(&tiny, settings).expect("served");
        let alias = Alias { name: model("chat"), model: tiny.clone() };
        ledger.set_alias(&alias).expect("set");
        drop(ledger);

        let mut ledger = open(folder.path());
        assert_eq!(ledger.key_hashes()[0].sha256, <[u8; 32]>::from(Sha256::digest(&key)));
        assert_eq!(ledger.keys(), [ListedKey { name: name.clone(), scope: KeyScope::Metrics }]);
        assert_eq!(ledger.served().get(&tiny), Some(&settings));
        assert_eq!(ledger.aliases(), [alias]);
        let text = fs::read_to_string(folder.path().join("supervisor/operator.json")).expect("file");
        assert!(!text.contains(&key), "the key itself must not be kept");
        ledger.revoke_key(&name).expect("revoked");
        assert!(ledger.revoke_key(&name).is_err());
        drop(ledger);
        assert!(open(folder.path()).keys().is_empty());
    }

    #[test]
    fn what_an_earlier_version_wrote_is_read() {
        let folder = tempfile::tempdir().expect("temporary folder");
        drop(open(folder.path()));
        let sha256 = "ab".repeat(32);
        let earlier = format!(r#"{{"keys": {{"demo": "{sha256}"}}, "served": ["tiny"]}}"#);
        fs::write(folder.path().join("supervisor/operator.json"), earlier).expect("written");
        let ledger = open(folder.path());
        assert_eq!(ledger.key_hashes()[0].sha256, [0xab; 32]);
        assert_eq!(ledger.key_hashes()[0].scope, KeyScope::Inference);
        assert_eq!(ledger.served().get(&model("tiny")), Some(&ServeSettings::default()));
        assert!(ledger.aliases().is_empty());
    }

    #[test]
    fn a_model_that_was_stopped_against_the_site_file_stays_so_until_it_is_served() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut ledger = open(folder.path());
        let (wished, other) = (model("wished"), model("other"));
        for (name, is_wished) in [(&wished, true), (&other, false)] {
            ledger.serve(name, ServeSettings::default()).expect("served");
            ledger.stop(name, is_wished).expect("stopped");
        }
        drop(ledger);
        let mut ledger = open(folder.path());
        assert_eq!(ledger.stopped(), &BTreeSet::from([wished.clone()]));
        ledger.serve(&wished, ServeSettings::default()).expect("served");
        assert!(ledger.stopped().is_empty());
    }

    #[test]
    fn an_alias_leads_to_a_served_model_and_hides_none() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut ledger = open(folder.path());
        let (one, two, chat) = (model("one"), model("two"), model("chat"));
        let lead = |to: &ModelName| Alias { name: chat.clone(), model: to.clone() };
        let said = |outcome: Result<_>| outcome.expect_err("refused").to_string();
        assert!(said(ledger.set_alias(&lead(&one))).contains("nabi model serve one"));
        for name in [&one, &two] {
            ledger.serve(name, ServeSettings::default()).expect("served");
        }
        assert_eq!(ledger.set_alias(&lead(&one)).expect("set"), None);
        assert_eq!(ledger.set_alias(&lead(&two)).expect("swapped"), Some(one.clone()));
        let hiding = Alias { name: one.clone(), model: two.clone() };
        assert!(said(ledger.set_alias(&hiding)).contains("must not hide"));
        let chained = Alias { name: model("talk"), model: chat.clone() };
        assert!(said(ledger.set_alias(&chained)).contains("lead talk to two"));
        let served = ledger.serve(&chat, ServeSettings::default());
        assert!(served.expect_err("refused").to_string().contains("nabi alias remove chat"));

        let stopped = ledger.stop(&two, false).expect_err("refused").to_string();
        assert!(stopped.contains("nabi alias set chat MODEL"), "{stopped}");
        ledger.stop(&one, false).expect("no alias leads to it any more");
        ledger.remove_alias(&chat).expect("removed");
        assert!(ledger.remove_alias(&chat).is_err());
        ledger.stop(&two, false).expect("free");
    }
}

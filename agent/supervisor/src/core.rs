//! The one task that owns what the supervisor decides: which models are served, which keys
//! there are, and the configuration that the gateway gets. It waits for nothing that it supervises.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nabi_domain::{KeyName, ModelName};
use nabi_models::{Store, atomic_file};
use nabi_wire::action::{KeyScope, ServeSettings};
use nabi_wire::config::{GatewayConfig, GatewayLimits, ServedModel, SiteServe};
use nabi_wire::engine::ENGINE_WIRE_VERSION;
use nabi_wire::reply::{Alias, ListedKey, ProcessState, Reply, Version};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot, watch};

use crate::ca::{Ca, Leaf, Names};
use crate::engine::{Engine, Leaving, Published, Site, Wanted};
use crate::engine_config::{self, SELF_TEST_MODEL, SELF_TEST_SETTINGS};
use crate::gateway::{CONFIG_FILE, Gateway};
use crate::heartbeat::Heartbeat;
use crate::ledger::Ledger;
use crate::places::{CONFIG_MODE, Places};
use crate::rooms::Rooms;
use crate::wishes;

/// How often the leaf certificate is looked at.
const LEAF_CHECK_SECONDS: u64 = 60;
/// A gateway that does not take the configuration without a model keeps its engine so long.
const UNKNOWN_MS_MAX: u64 = 10_000;

/// What connections on the admin socket ask of the core. Each is answered at once.
pub(crate) enum Request {
    Snapshot(oneshot::Sender<Snapshot>),
    /// With what the operator now sets, beside what was set before. What gives no first token is left as it
    /// was, whether or not the operator waits for it.
    Serve(ModelName, ServeSettings, oneshot::Sender<Result<Serving>>),
    /// The generation of configuration from which on it is unknown to the gateway.
    Stop(ModelName, oneshot::Sender<Result<u64>>),
    /// A model was stored: serves it if the site file wants that, or if it is served but was not there.
    Stored(ModelName),
    /// The generation of configuration that has everything as it is now.
    Publish(oneshot::Sender<u64>),
    /// The new key, and the generation of configuration from which on it is accepted.
    AddKey(KeyName, KeyScope, oneshot::Sender<Result<(String, u64)>>),
    RevokeKey(KeyName, oneshot::Sender<Result<u64>>),
    Keys(oneshot::Sender<Vec<ListedKey>>),
    /// Where it led before, and the generation of configuration from which on it leads here.
    SetAlias(Alias, oneshot::Sender<Result<(Option<ModelName>, u64)>>),
    RemoveAlias(ModelName, oneshot::Sender<Result<u64>>),
    Ca(oneshot::Sender<Reply>),
}

/// A model that is served from now on.
pub(crate) struct Serving {
    pub(crate) published: watch::Receiver<Published>,
    /// With which settings it was served before, if it was.
    pub(crate) before: Option<ServeSettings>,
    pub(crate) settings: ServeSettings,
}

/// How everything is just now.
pub(crate) struct Snapshot {
    pub(crate) engines: Vec<(ModelName, ServeSettings, Published)>,
    pub(crate) aliases: Vec<Alias>,
}

/// What a supervisor is started with.
pub(crate) struct Settings {
    pub(crate) pack: PathBuf,
    pub(crate) drain_grace: Duration,
    /// The store of the self-test's model.
    pub(crate) self_test: Option<PathBuf>,
    /// What the site file wants served.
    pub(crate) wishes: Vec<SiteServe>,
    pub(crate) rooms: Rooms,
}

pub(crate) struct Core {
    places: Arc<Places>,
    settings: Settings,
    ledger: Ledger,
    ca: Ca,
    leaf: Leaf,
    site: Site,
    /// The self-test's among them.
    engines: BTreeMap<ModelName, Engine>,
    /// What an operator serves that gave no first token yet; with which settings it was served before, if it
    /// was.
    trials: BTreeMap<ModelName, Option<ServeSettings>>,
    /// The last that left of each model: the next waits for it.
    leaving: BTreeMap<ModelName, Leaving>,
    gateway: Gateway,
    generation: u64,
    changes: mpsc::Receiver<()>,
}

/// What the admin socket needs besides the core.
#[derive(Clone)]
pub(crate) struct GatewayView {
    pub(crate) state: watch::Receiver<nabi_wire::reply::ProcessState>,
    pub(crate) in_use: watch::Receiver<u64>,
}

impl Core {
    /// Starts the gateway, an engine for each model that was served before, one for each that the
    /// site file wants served, and that of the self-test.
    pub(crate) fn start(places: Arc<Places>, settings: Settings, listener: TcpListener) -> Result<Self> {
        let mut ledger = Ledger::open(&places)?;
        serve_wishes(&mut ledger, &settings.wishes, &places);
        let ca = Ca::open(&places)?;
        let leaf = ca.issue(Names::of_this_machine())?;
        let (changed, changes) = mpsc::channel(64);
        let site = Site {
            places: places.clone(),
            pack: settings.pack.clone(),
            drain_grace: settings.drain_grace,
            lives: Arc::new(AtomicU64::new(1)),
            changed,
            rooms: settings.rooms.clone(),
        };
        let wanted = |(name, settings): (&ModelName, &ServeSettings)| Wanted {
            name: name.clone(),
            store: places.models(),
            settings: *settings,
        };
        let served: Vec<_> = ledger.served().iter().map(wanted).collect();
        let start = |wanted: Wanted| (wanted.name.clone(), Engine::start(site.clone(), wanted, None));
        let engines: BTreeMap<_, _> = served.into_iter().chain(self_test(&settings)?).map(start).collect();
        let first = config(&ledger, &leaf, &engines, &settings, 1);
        write_config(&places, &first)?;
        let gateway = Gateway::start(places.clone(), listener, settings.drain_grace);
        let (trials, leaving) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self {
            places,
            settings,
            ledger,
            ca,
            leaf,
            site,
            engines,
            trials,
            leaving,
            gateway,
            generation: 1,
            changes,
        })
    }

    pub(crate) fn gateway_view(&self) -> GatewayView {
        GatewayView { state: self.gateway.state.clone(), in_use: self.gateway.in_use.clone() }
    }

    /// Answers until the requests end, which is the sign to drain.
    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<Request>) -> Self {
        let mut leaf_check = tokio::time::interval(Duration::from_secs(LEAF_CHECK_SECONDS));
        let mut heartbeat = Heartbeat::asked_for();
        loop {
            tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => {
                        // Who saw how an engine is finds what follows from it.
                        self.settle();
                        self.take(request);
                    }
                    None => return self,
                },
                Some(()) = self.changes.recv() => {
                    self.settle();
                    self.publish();
                }
                _ = leaf_check.tick() => self.renew_leaf(),
                () = heartbeat.beat() => {}
            }
        }
    }

    /// The gateway first, so that running answers can end; then the engines.
    pub(crate) async fn drain(self, hurry: impl Future<Output = ()>) {
        let engines = self.engines.values().map(|engine| &engine.hurry);
        let leaving = self.leaving.values().map(|engine| &engine.hurry);
        let tokens: Vec<_> = engines.chain(leaving).cloned().collect();
        let gateway_hurry = self.gateway.hurry.clone();
        let hurrying = async {
            hurry.await;
            gateway_hurry.cancel();
            tokens.iter().for_each(tokio_util::sync::CancellationToken::cancel);
            std::future::pending::<()>().await;
        };
        // Tasks tell of their changes; nobody reads them any more.
        drop(self.changes);
        let ending = async {
            self.gateway.stop().await;
            let leaving = self.engines.into_values().map(|engine| engine.leave(async {}));
            let leaving = leaving.chain(self.leaving.into_values());
            futures_util::future::join_all(leaving.map(Leaving::over)).await;
        };
        tokio::select! {
            () = hurrying => {}
            () = ending => {}
        }
    }

    fn take(&mut self, request: Request) {
        // A client that left does not want its answer.
        match request {
            Request::Snapshot(answer) => drop(answer.send(self.snapshot())),
            Request::Serve(name, settings, answer) => {
                let before = self.ledger.served().get(&name).copied().unwrap_or_default();
                let _ = answer.send(self.serve_on_trial(name, settings.or(before)));
            }
            Request::Stop(name, answer) => drop(answer.send(self.stop(&name))),
            Request::Stored(name) => self.stored(&name),
            Request::Publish(answer) => {
                self.publish();
                let _ = answer.send(self.generation);
            }
            Request::AddKey(name, scope, answer) => drop(answer.send(self.add_key(name, scope))),
            Request::RevokeKey(name, answer) => drop(answer.send(self.revoke_key(&name))),
            Request::Keys(answer) => drop(answer.send(self.ledger.keys())),
            Request::SetAlias(alias, answer) => drop(answer.send(self.set_alias(&alias))),
            Request::RemoveAlias(name, answer) => drop(answer.send(self.remove_alias(&name))),
            Request::Ca(answer) => {
                let (certificate_pem, sha256) =
                    (self.ca.certificate_pem().to_owned(), self.ca.sha256().to_owned());
                drop(answer.send(Reply::Ca { certificate_pem, sha256 }));
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        let published = |(name, engine): (&ModelName, &Engine)| {
            (name.clone(), engine.settings, engine.published.borrow().clone())
        };
        Snapshot { engines: self.engines.iter().map(published).collect(), aliases: self.ledger.aliases() }
    }

    fn serve_on_trial(&mut self, name: ModelName, settings: ServeSettings) -> Result<Serving> {
        let now = self.engines.get(&name).map(|engine| engine.settings);
        // What is itself on trial is nothing to go back to.
        let before = self.trials.get(&name).copied().unwrap_or(now);
        let serving = Serving { before, ..self.serve(name.clone(), settings)? };
        self.trials.insert(name, before);
        Ok(serving)
    }

    /// Ends the trials that have come to an end: what cannot be served is left as it was.
    fn settle(&mut self) {
        let mut failed = Vec::new();
        self.trials.retain(|name, before| match self.engines.get(name) {
            None => false,
            Some(engine) => match &engine.published.borrow().state {
                ProcessState::Starting { .. } | ProcessState::Stopping => true,
                ProcessState::Ready { .. } => false,
                ProcessState::Refused { reason } | ProcessState::Waiting { reason, .. } => {
                    tracing::warn!(model = %name, reason, "gave no first token: is left as it was before");
                    if *before != Some(engine.settings) {
                        failed.push((name.clone(), *before));
                    }
                    false
                }
            },
        });
        for (name, before) in failed {
            let left = match before {
                None => self.stop(&name).map(drop),
                Some(before) => self.serve(name.clone(), before).map(drop),
            };
            if let Err(error) = left {
                tracing::error!(model = %name, "cannot be left as it was before: {error:#}");
            }
        }
    }

    fn serve(&mut self, name: ModelName, settings: ServeSettings) -> Result<Serving> {
        ensure!(name.as_str() != SELF_TEST_MODEL, "{name} is the self-test's model, which is always served");
        let before = self.engines.get(&name).map(|engine| engine.settings);
        if before != Some(settings) || self.is_refused(&name) {
            let store = self.places.models();
            let stored = Store::open(&store)?.get(&name)?;
            // Before one that serves is ended for it.
            if let Some(room) = self.site.rooms.now_beside_others(&name) {
                engine_config::planned(&stored.manifest, settings, &room)?;
            }
            self.ledger.serve(&name, settings)?;
            let replaced = self.engines.remove(&name).map(|engine| engine.leave(async {}));
            let replaced = replaced.or_else(|| self.leaving.remove(&name));
            let wanted = Wanted { name: name.clone(), store, settings };
            self.engines.insert(name.clone(), Engine::start(self.site.clone(), wanted, replaced));
            self.publish();
        }
        let engine = self.engines.get(&name).context("the engine was just started")?;
        Ok(Serving { published: engine.published.clone(), before, settings })
    }

    /// What could not run without its files may run with those that are there now.
    fn stored(&mut self, name: &ModelName) {
        let again = self.engines.get(name).filter(|_| self.is_refused(name)).map(|engine| engine.settings);
        match again.map(|settings| self.serve(name.clone(), settings)) {
            Some(Ok(_)) => tracing::info!(model = %name, "is started again, with the files that were stored"),
            Some(Err(error)) => tracing::error!(model = %name, "cannot be started again: {error:#}"),
            None => self.serve_if_wished(name),
        }
    }

    fn is_refused(&self, name: &ModelName) -> bool {
        let refused =
            |engine: &Engine| matches!(engine.published.borrow().state, ProcessState::Refused { .. });
        self.engines.get(name).is_some_and(refused)
    }

    fn serve_if_wished(&mut self, name: &ModelName) {
        let (served, stopped) = (self.ledger.served(), self.ledger.stopped());
        let due = wishes::due(&self.settings.wishes, served, stopped, |stored| stored == name);
        for settings in due.into_iter().map(|wish| wish.settings).collect::<Vec<_>>() {
            tracing::info!(model = %name, "is served, as the site file wants");
            if let Err(error) = self.serve(name.clone(), settings) {
                tracing::error!(model = %name, "cannot be served as the site file wants: {error:#}");
            }
        }
    }

    fn stop(&mut self, name: &ModelName) -> Result<u64> {
        self.ledger.stop(name, self.settings.wishes.iter().any(|wish| wish.name == *name))?;
        if let Some(engine) = self.engines.remove(name) {
            self.publish();
            let unknown = unknown_to_gateway(self.gateway.in_use.clone(), self.generation);
            self.leaving.insert(name.clone(), engine.leave(unknown));
        }
        Ok(self.generation)
    }

    fn set_alias(&mut self, alias: &Alias) -> Result<(Option<ModelName>, u64)> {
        let model = &alias.model;
        if let Some(engine) = self.engines.get(model) {
            let ready = matches!(engine.published.borrow().state, ProcessState::Ready { .. });
            ensure!(
                ready,
                "{model} is not ready, and requests for {} would be refused: `nabi status` shows how it is",
                alias.name
            );
        }
        let before = self.ledger.set_alias(alias)?;
        self.publish();
        Ok((before, self.generation))
    }

    fn remove_alias(&mut self, name: &ModelName) -> Result<u64> {
        self.ledger.remove_alias(name)?;
        self.publish();
        Ok(self.generation)
    }

    fn add_key(&mut self, name: KeyName, scope: KeyScope) -> Result<(String, u64)> {
        let key = self.ledger.add_key(name, scope)?;
        self.publish();
        Ok((key, self.generation))
    }

    fn revoke_key(&mut self, name: &KeyName) -> Result<u64> {
        self.ledger.revoke_key(name)?;
        self.publish();
        Ok(self.generation)
    }

    fn renew_leaf(&mut self) {
        let names = Names::of_this_machine();
        if !self.leaf.is_due(&names, OffsetDateTime::now_utc()) {
            return;
        }
        match self.ca.issue(names) {
            Ok(leaf) => {
                tracing::info!("the gateway gets a new certificate");
                self.leaf = leaf;
                self.publish();
            }
            Err(error) => tracing::error!("the gateway's certificate could not be renewed: {error:#}"),
        }
    }

    /// Writes the gateway's configuration anew, and tells it.
    fn publish(&mut self) {
        self.generation += 1;
        let config = config(&self.ledger, &self.leaf, &self.engines, &self.settings, self.generation);
        match write_config(&self.places, &config) {
            Ok(()) => self.gateway.reload(self.generation),
            Err(error) => tracing::error!("{error:#}"),
        }
    }
}

fn config(
    ledger: &Ledger,
    leaf: &Leaf,
    engines: &BTreeMap<ModelName, Engine>,
    settings: &Settings,
    generation: u64,
) -> GatewayConfig {
    let served = |(name, engine): (&ModelName, &Engine)| ServedModel {
        name: name.clone(),
        created_unix_s: engine.created_unix_s,
        socket: engine.published.borrow().ready.as_ref().map(|ready| ready.socket.clone()),
    };
    GatewayConfig {
        generation,
        certificate_pem: leaf.certificate_pem.clone(),
        private_key_pem: leaf.private_key_pem.clone(),
        keys: ledger.key_hashes(),
        models: engines.iter().map(served).collect(),
        aliases: ledger.aliases(),
        drain_grace_ms: settings.drain_grace.as_millis() as u64,
        limits: GatewayLimits::default(),
    }
}

/// Serves from the start on what the site file wants and the store has.
fn serve_wishes(ledger: &mut Ledger, wishes: &[SiteServe], places: &Places) {
    let is_stored =
        |name: &ModelName| Store::open(&places.models()).and_then(|store| store.get(name)).is_ok();
    let due = wishes::due(wishes, ledger.served(), ledger.stopped(), is_stored);
    for wish in due {
        if let Err(error) = ledger.serve(&wish.name, wish.settings) {
            tracing::error!(model = %wish.name, "cannot be served as the site file wants: {error:#}");
        }
    }
}

fn self_test(settings: &Settings) -> Result<Option<Wanted>> {
    let wanted = |store: &PathBuf| {
        Ok(Wanted { name: SELF_TEST_MODEL.parse()?, store: store.clone(), settings: SELF_TEST_SETTINGS })
    };
    settings.self_test.as_ref().map(wanted).transpose()
}

/// Waits until the gateway sends an engine nothing new: one that is told to end refuses what comes.
/// A gateway that is down reads what is served when it starts.
async fn unknown_to_gateway(mut in_use: watch::Receiver<u64>, generation: u64) {
    let unknown = in_use.wait_for(|&now| now >= generation || now == 0);
    if tokio::time::timeout(Duration::from_millis(UNKNOWN_MS_MAX), unknown).await.is_err() {
        tracing::warn!("the gateway does not take its configuration: an engine that it may use is ended");
    }
}

fn write_config(places: &Places, config: &GatewayConfig) -> Result<()> {
    let path = places.for_gateway(CONFIG_FILE);
    let text = serde_json::to_vec_pretty(config).context("cannot write JSON")?;
    atomic_file::write(&path, &text, CONFIG_MODE).with_context(|| format!("cannot write {}", path.display()))
}

/// Of Nabi, its wire and the pack's manifest.
pub(crate) fn version(pack: &std::path::Path) -> Result<Version> {
    use nabi_domain::pack::{MANIFEST_FILE, PackManifest};
    let path = pack.join(MANIFEST_FILE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let manifest: PackManifest =
        toml::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
    Ok(Version {
        nabi: env!("CARGO_PKG_VERSION").to_owned(),
        engine_wire: ENGINE_WIRE_VERSION,
        pack: format!(
            "{}: llama.cpp {}, ggml {}",
            manifest.name, manifest.llama_version, manifest.ggml_version
        ),
    })
}

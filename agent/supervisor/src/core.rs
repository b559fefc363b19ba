//! The one task that owns what the supervisor decides: which models are served, which keys
//! there are, and the configuration that the gateway gets. It waits for nothing that it supervises.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nabi_domain::{KeyName, ModelName};
use nabi_models::atomic_file;
use nabi_wire::action::{Reply, Version};
use nabi_wire::config::{GatewayConfig, ServedModel};
use nabi_wire::engine::ENGINE_WIRE_VERSION;
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot, watch};

use crate::ca::{Ca, Leaf, Names};
use crate::engine::{Engine, Published, Site};
use crate::gateway::{CONFIG_FILE, Gateway};
use crate::ledger::Ledger;
use crate::places::Places;

/// How often the leaf certificate is looked at.
const LEAF_CHECK_SECONDS: u64 = 60;

/// What connections on the admin socket ask of the core. Each is answered at once.
pub(crate) enum Request {
    Snapshot(oneshot::Sender<Snapshot>),
    Serve(ModelName, oneshot::Sender<Result<Serving>>),
    /// The generation of configuration from which on it is unknown to the gateway.
    Stop(ModelName, oneshot::Sender<Result<u64>>),
    /// The generation of configuration that has everything as it is now.
    Publish(oneshot::Sender<u64>),
    /// The new key, and the generation of configuration from which on it is accepted.
    AddKey(KeyName, oneshot::Sender<Result<(String, u64)>>),
    RevokeKey(KeyName, oneshot::Sender<Result<u64>>),
    KeyNames(oneshot::Sender<Vec<KeyName>>),
    Ca(oneshot::Sender<Reply>),
}

/// A model that is served from now on.
pub(crate) struct Serving {
    pub(crate) published: watch::Receiver<Published>,
    /// Whether it was served before.
    pub(crate) already: bool,
}

/// How everything is just now.
pub(crate) struct Snapshot {
    pub(crate) engines: Vec<(ModelName, Published)>,
}

/// What a supervisor is started with.
pub(crate) struct Settings {
    pub(crate) pack: PathBuf,
    pub(crate) drain_grace: Duration,
}

pub(crate) struct Core {
    places: Arc<Places>,
    settings: Settings,
    ledger: Ledger,
    ca: Ca,
    leaf: Leaf,
    site: Site,
    engines: BTreeMap<ModelName, Engine>,
    gateway: Gateway,
    generation: u64,
    changes: mpsc::Receiver<()>,
}

/// What the admin socket needs besides the core.
#[derive(Clone)]
pub(crate) struct GatewayView {
    pub(crate) state: watch::Receiver<nabi_wire::action::ProcessState>,
    pub(crate) in_use: watch::Receiver<u64>,
}

impl Core {
    /// Starts the gateway, and an engine for each model that was served before.
    pub(crate) fn start(places: Arc<Places>, settings: Settings, listener: TcpListener) -> Result<Self> {
        let ledger = Ledger::open(&places)?;
        let ca = Ca::open(&places)?;
        let leaf = ca.issue(Names::of_this_machine())?;
        let (changed, changes) = mpsc::channel(64);
        let site = Site {
            places: places.clone(),
            pack: settings.pack.clone(),
            drain_grace: settings.drain_grace,
            lives: Arc::new(AtomicU64::new(1)),
            changed,
        };
        let engine = |name: &ModelName| (name.clone(), Engine::start(site.clone(), name.clone()));
        let engines: BTreeMap<_, _> = ledger.served().iter().map(engine).collect();
        let first = config(&ledger, &leaf, &engines, &settings, 1);
        write_config(&places, &first)?;
        let gateway = Gateway::start(places.clone(), listener, settings.drain_grace);
        Ok(Self { places, settings, ledger, ca, leaf, site, engines, gateway, generation: 1, changes })
    }

    pub(crate) fn gateway_view(&self) -> GatewayView {
        GatewayView { state: self.gateway.state.clone(), in_use: self.gateway.in_use.clone() }
    }

    /// Answers until the requests end, which is the sign to drain.
    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<Request>) -> Self {
        let mut leaf_check = tokio::time::interval(Duration::from_secs(LEAF_CHECK_SECONDS));
        loop {
            tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => self.take(request),
                    None => return self,
                },
                Some(()) = self.changes.recv() => self.publish(),
                _ = leaf_check.tick() => self.renew_leaf(),
            }
        }
    }

    /// The gateway first, so that running answers can end; then the engines.
    pub(crate) async fn drain(self, hurry: impl Future<Output = ()>) {
        let tokens: Vec<_> = self.engines.values().map(|engine| engine.hurry.clone()).collect();
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
            futures_util::future::join_all(self.engines.into_values().map(Engine::stop)).await;
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
            Request::Serve(name, answer) => drop(answer.send(self.serve(name))),
            Request::Stop(name, answer) => drop(answer.send(self.stop(&name))),
            Request::Publish(answer) => {
                self.publish();
                let _ = answer.send(self.generation);
            }
            Request::AddKey(name, answer) => drop(answer.send(self.add_key(name))),
            Request::RevokeKey(name, answer) => drop(answer.send(self.revoke_key(&name))),
            Request::KeyNames(answer) => drop(answer.send(self.ledger.key_names())),
            Request::Ca(answer) => {
                let (certificate_pem, sha256) =
                    (self.ca.certificate_pem().to_owned(), self.ca.sha256().to_owned());
                drop(answer.send(Reply::Ca { certificate_pem, sha256 }));
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        let published =
            |(name, engine): (&ModelName, &Engine)| (name.clone(), engine.published.borrow().clone());
        Snapshot { engines: self.engines.iter().map(published).collect() }
    }

    fn serve(&mut self, name: ModelName) -> Result<Serving> {
        let already = self.engines.contains_key(&name);
        if !already {
            nabi_models::Store::open(&self.places.models())?.get(&name)?;
            self.ledger.serve(&name)?;
            self.engines.insert(name.clone(), Engine::start(self.site.clone(), name.clone()));
            self.publish();
        }
        let engine = self.engines.get(&name).context("the engine was just started")?;
        Ok(Serving { published: engine.published.clone(), already })
    }

    fn stop(&mut self, name: &ModelName) -> Result<u64> {
        if !self.engines.contains_key(name) {
            bail!("{name} is not served: `nabi status` shows what is");
        }
        self.ledger.stop(name)?;
        if let Some(engine) = self.engines.remove(name) {
            self.publish();
            // Its running answers have the grace time.
            tokio::spawn(engine.stop());
        }
        Ok(self.generation)
    }

    fn add_key(&mut self, name: KeyName) -> Result<(String, u64)> {
        let key = self.ledger.add_key(name)?;
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
        drain_grace_ms: settings.drain_grace.as_millis() as u64,
    }
}

fn write_config(places: &Places, config: &GatewayConfig) -> Result<()> {
    let path = places.run(CONFIG_FILE);
    let text = serde_json::to_vec_pretty(config).context("cannot write JSON")?;
    atomic_file::write(&path, &text, 0o600).with_context(|| format!("cannot write {}", path.display()))
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

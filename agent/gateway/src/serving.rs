//! What is served, to whom: one version of the configuration, ready for use. A new version
//! replaces it whole; requests under way keep the one that they began with.

use std::sync::Arc;
use std::time::Duration;

use nabi_domain::ModelName;
use nabi_wire::config::{GatewayConfig, GatewayLimits, KeyHash, ServedModel};
use nabi_wire::reply::Alias;

use crate::engine::{Engine, Session};
use crate::tls::{self, TlsError};

/// Longest wait for engines that are ready, before a configuration is said to be in use.
const CONNECT_MS_MAX: u64 = 1_000;

/// One version of the configuration.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) generation: u64,
    pub(crate) tls: Arc<rustls::ServerConfig>,
    pub(crate) keys: Vec<KeyHash>,
    pub(crate) models: Vec<Model>,
    aliases: Vec<Alias>,
    pub(crate) limits: GatewayLimits,
    pub(crate) drain_grace: Duration,
}

/// A model that requests may name.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) name: ModelName,
    pub(crate) created_unix_s: u64,
    engine: Option<ConfiguredEngine>,
}

#[derive(Debug, Clone)]
struct ConfiguredEngine {
    socket: std::path::PathBuf,
    engine: Engine,
}

impl Model {
    /// The engine's session, once it is ready.
    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        self.engine.as_ref().and_then(|configured| configured.engine.session())
    }
}

impl Serving {
    /// Makes a configuration ready for use. Engines that `previous` talks to are kept; others are
    /// connected to, in the background.
    pub(crate) fn build(config: GatewayConfig, previous: Option<&Self>) -> Result<Self, TlsError> {
        // First what can fail, so that a bad configuration touches no engine.
        let tls = tls::server_config(&config.certificate_pem, &config.private_key_pem)?;
        let models = config.models.into_iter().map(|model| served(model, previous)).collect();
        Ok(Self {
            generation: config.generation,
            tls,
            keys: config.keys,
            models,
            aliases: config.aliases,
            limits: config.limits,
            drain_grace: Duration::from_millis(config.drain_grace_ms),
        })
    }

    /// Waits until every engine that is said to be ready is connected to: from then on requests
    /// find it. One that fails just now must not hold up the others for long.
    pub(crate) async fn connected(&self) {
        let engines = self.models.iter().filter_map(|model| model.engine.as_ref());
        let all = futures_util::future::join_all(engines.map(|configured| configured.engine.connected()));
        let _ = tokio::time::timeout(Duration::from_millis(CONNECT_MS_MAX), all).await;
    }

    /// The model that answers to this name: its own, or an alias.
    pub(crate) fn model(&self, name: &str) -> Option<&Model> {
        self.named(name).or_else(|| {
            let alias = self.aliases.iter().find(|alias| alias.name.as_str() == name)?;
            self.named(alias.model.as_str())
        })
    }

    fn named(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.name.as_str() == name)
    }

    /// Aliases, each with the model that it leads to.
    pub(crate) fn aliases(&self) -> impl Iterator<Item = (&ModelName, &Model)> {
        self.aliases.iter().filter_map(|alias| Some((&alias.name, self.named(alias.model.as_str())?)))
    }
}

fn served(model: ServedModel, previous: Option<&Serving>) -> Model {
    let engine = model.socket.map(|socket| {
        let known = previous.and_then(|previous| previous.named(model.name.as_str()));
        let kept = known.and_then(|known| known.engine.clone()).filter(|engine| engine.socket == socket);
        kept.unwrap_or_else(|| ConfiguredEngine { engine: Engine::connect(socket.clone()), socket })
    });
    Model { name: model.name, created_unix_s: model.created_unix_s, engine }
}

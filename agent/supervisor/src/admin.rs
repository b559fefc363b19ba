//! The admin socket: one connection, one action, its progress and its reply. Whoever may open the
//! socket is the operator: the folder that it lies in is closed to all others.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use nabi_domain::plan;
use nabi_domain::{ModelName, ModelSummary};
use nabi_models::{Manifest, Store, StoreError};
use nabi_wire::action::{Action, AliasAction, KeyAction, MediaAction, ModelAction, ServeSettings};
use nabi_wire::frame::{self, Reader, Writer};
use nabi_wire::reply::{
    Alarm, Alias, Answer, DamagedModel, ListedModel, ProcessState, Progress, Reply, Status, Unit,
};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::core::{GatewayView, Request, Serving, Snapshot, version};
use crate::engine;
use crate::engine_config::SELF_TEST_MODEL;
use crate::hardware::Hardware;
use crate::health::Health;
use crate::import::{self, Work};
use crate::logs;
use crate::media;
use crate::places::Places;

/// Operators at once.
const CONNECTIONS_MAX: usize = 32;
/// For the gateway to take a new configuration.
const RELOAD_MS_MAX: u64 = 5_000;

/// What an action needs.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) core: mpsc::Sender<Request>,
    pub(crate) gateway: GatewayView,
    pub(crate) places: Arc<Places>,
    pub(crate) pack: PathBuf,
    pub(crate) address: String,
    /// The folder of attached sticks and disks.
    pub(crate) media: PathBuf,
    pub(crate) hardware: Hardware,
    pub(crate) health: Health,
}

/// Answers operators until it is dropped, which interrupts what is under way.
pub(crate) async fn serve(listener: UnixListener, admin: Admin) -> Result<()> {
    let mut connections = JoinSet::new();
    let watcher = admin.clone();
    let mut watch = std::pin::pin!(watcher.health.watch(async || watcher.snapshot().await));
    loop {
        tokio::select! {
            outcome = &mut watch => return outcome,
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                let (stream, _) = accepted.context("cannot accept on the admin socket")?;
                connections.spawn(one_action(stream, admin.clone()));
            }
            Some(ended) = connections.join_next() => match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!("an operator's connection ended: {error:#}"),
                Err(error) => tracing::error!("an action failed: {error}"),
            },
        }
    }
}

/// Where an action's progress and reply go.
type Answers = Writer<OwnedWriteHalf, Answer>;

async fn one_action(stream: UnixStream, admin: Admin) -> Result<()> {
    let (read, write) = stream.into_split();
    let mut requests: Reader<OwnedReadHalf, Action> = frame::reader(read);
    let mut answers: Answers = frame::writer(write);
    // Who only looks whether somebody answers asks for nothing.
    let Some(action) = requests.next().await else { return Ok(()) };
    let action = action?;
    // The operator who closes the connection interrupts the action. What is served on trial goes on.
    let outcome = tokio::select! {
        outcome = admin.act(action, &mut answers) => outcome,
        _ = requests.next() => return Ok(()),
    };
    let last = match outcome {
        Ok(reply) => Answer::Done(reply),
        Err(error) => Answer::Failed { message: format!("{error:#}") },
    };
    Ok(answers.send(last).await?)
}

impl Admin {
    async fn act(&self, action: Action, answers: &mut Answers) -> Result<Reply> {
        match action {
            Action::Status => self.status().await,
            Action::Model(action) => self.model(action, answers).await,
            Action::Key(action) => self.key(action).await,
            Action::Alias(action) => self.alias(action).await,
            Action::Media(MediaAction::List) => media::list(&self.places, &self.media).await,
            Action::Hardware { record: false } => self.hardware.inventory().await.map(Reply::Hardware),
            Action::Hardware { record: true } => self.hardware.recording().await,
            Action::Capacity => self.capacity().await,
            Action::Ca => self.ask(Request::Ca).await,
            Action::SelfTest => Ok(Reply::SelfTest(self.health.self_test(&self.snapshot().await?).await)),
            Action::Boot => self.health.facts(&self.snapshot().await?).await.map(Reply::Boot),
            Action::Logs { process, lines } => {
                let logs = logs::tail(&self.places.logs(), process.as_deref(), lines)
                    .context("cannot read the logs")?;
                ensure!(
                    process.is_none() || !logs.is_empty(),
                    "there is no such process: supervisor, gateway, import, probe, or engine-MODEL"
                );
                Ok(Reply::Logs(logs))
            }
            Action::Version => version(&self.pack).map(Reply::Version),
        }
    }

    async fn status(&self) -> Result<Reply> {
        let gateway = self.gateway.state.borrow().clone();
        let mut engines = Vec::new();
        let snapshot = self.snapshot().await?;
        let alarms = self.health.alarms(&snapshot);
        for (name, settings, published) in snapshot.engines {
            engines.push(engine::status(name, settings, published).await);
        }
        let serves = |state: &ProcessState| matches!(state, ProcessState::Ready { .. });
        let ready =
            serves(&gateway) && !engines.is_empty() && engines.iter().all(|engine| serves(&engine.state));
        let self_test = engines.iter().position(|engine| engine.model.as_str() == SELF_TEST_MODEL);
        let self_test = self_test.map(|place| Box::new(engines.remove(place)));
        let (address, aliases) = (self.address.clone(), snapshot.aliases);
        Ok(Reply::Status(Status { address, ready, gateway, engines, self_test, aliases, alarms }))
    }

    async fn model(&self, action: ModelAction, answers: &mut Answers) -> Result<Reply> {
        match action {
            ModelAction::Import { path, name } => {
                let name = match name {
                    Some(name) => name,
                    None => ModelName::after(&path).with_context(|| {
                        format!("{} gives no name for the model: choose one with --name", path.display())
                    })?,
                };
                self.store(&name, Work::Import { source: &path, media: &self.media }, answers).await
            }
            ModelAction::List => self.list().await,
            ModelAction::Remove { name } => {
                let served = self.snapshot().await?;
                ensure!(
                    !served.engines.iter().any(|(served, ..)| *served == name),
                    "{name} is served: `nabi model stop {name}` first"
                );
                self.store(&name, Work::Remove, answers).await
            }
            ModelAction::Verify { name } => self.store(&name, Work::Verify, answers).await,
            ModelAction::Serve { name, settings } => self.serve(name, settings, answers).await,
            ModelAction::Stop { name } => {
                let generation = self.ask(|answer| Request::Stop(name.clone(), answer)).await??;
                self.in_use(generation).await?;
                Ok(Reply::Stopped(name))
            }
        }
    }

    async fn store(&self, name: &ModelName, work: Work<'_>, answers: &mut Answers) -> Result<Reply> {
        if self.places.models_are_away() {
            bail!(Alarm::ModelsDisk { folder: self.places.models() }.to_string());
        }
        let reply = import::run(&self.places, name, work, answers).await?;
        if let Reply::Imported(_) = reply {
            self.core
                .send(Request::Stored(name.clone()))
                .await
                .ok()
                .context("the supervisor is going down")?;
        }
        Ok(reply)
    }

    async fn list(&self) -> Result<Reply> {
        let served = self.snapshot().await?;
        let (mut stored, mut damaged) = (Vec::new(), Vec::new());
        let store = Store::open(&self.places.models())?;
        for model in store.list()? {
            match model {
                Ok(model) => {
                    let summary = model.manifest.summary;
                    let served = served.engines.iter().any(|(name, ..)| *name == summary.name);
                    stored.push(ListedModel { summary, served });
                }
                Err(StoreError::Manifest { name, source }) => {
                    damaged.push(DamagedModel { name, reason: format!("{:#}", anyhow::Error::new(source)) });
                }
                // Removed just now.
                Err(StoreError::Unknown { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Reply::Models { stored, damaged, unfinished: store.unfinished()? })
    }

    /// Of the machine as it is when nothing runs.
    async fn capacity(&self) -> Result<Reply> {
        let inventory = self.hardware.inventory().await?;
        let mut room = self.hardware.room(&inventory);
        room.read_bytes_per_s = self.hardware.read_bytes_per_s(room.threads).await?;
        let mut models = Vec::new();
        for model in Store::open(&self.places.models())?.list()?.into_iter().flatten() {
            let Manifest { summary, shape: Some(shape), .. } = &model.manifest else { continue };
            let ModelSummary { name, quantization, architecture, .. } = summary;
            models.push(plan::of_stored(name.as_str(), quantization, architecture, shape, &room));
        }
        models.extend(plan::catalogue().iter().map(|model| plan::of_published(model, &room)));
        Ok(Reply::Capacity { room: Box::new(room), models })
    }

    /// Serves a model, and waits for its first token. The core leaves one that gives none as it was.
    async fn serve(&self, name: ModelName, settings: ServeSettings, answers: &mut Answers) -> Result<Reply> {
        let Serving { mut published, before, settings } =
            self.ask(|answer| Request::Serve(name.clone(), settings, answer)).await??;
        loop {
            let now = published.borrow_and_update().clone();
            match &now.state {
                ProcessState::Ready { .. } => {
                    // The next request must find it.
                    self.in_use(self.ask(Request::Publish).await?).await?;
                    return Ok(Reply::Serving(Box::new(engine::status(name, settings, now).await)));
                }
                ProcessState::Starting { loaded_permille, .. } => {
                    let (what, done) = (format!("loading {name}"), u64::from(*loaded_permille));
                    let progress = Progress { what, done, total: 1000, unit: Unit::Permille };
                    answers.send(Answer::Progress(progress)).await?;
                }
                ProcessState::Refused { reason } | ProcessState::Waiting { reason, .. } => {
                    let is_back = before.is_some_and(|before| before != settings);
                    let rest = if is_back { " with these settings, and is served as before" } else { "" };
                    bail!("{name} cannot be served{rest}: {reason}");
                }
                ProcessState::Stopping => bail!("{name} is being stopped"),
            }
            published.changed().await.context("the engine was stopped")?;
        }
    }

    async fn alias(&self, action: AliasAction) -> Result<Reply> {
        match action {
            AliasAction::Set { name, model } => {
                let alias = Alias { name, model };
                let set = self.ask(|answer| Request::SetAlias(alias.clone(), answer)).await?;
                let (before, generation) = set?;
                self.in_use(generation).await?;
                Ok(Reply::AliasSet { alias, before })
            }
            AliasAction::List => Ok(Reply::Aliases(self.snapshot().await?.aliases)),
            AliasAction::Remove { name } => {
                let generation = self.ask(|answer| Request::RemoveAlias(name.clone(), answer)).await??;
                self.in_use(generation).await?;
                Ok(Reply::AliasRemoved(name))
            }
        }
    }

    async fn key(&self, action: KeyAction) -> Result<Reply> {
        match action {
            KeyAction::Add { name, scope } => {
                let added = self.ask(|answer| Request::AddKey(name.clone(), scope, answer)).await?;
                let (key, generation) = added?;
                self.in_use(generation).await?;
                Ok(Reply::KeyAdded { name, scope, key })
            }
            KeyAction::List => Ok(Reply::Keys(self.ask(Request::Keys).await?)),
            KeyAction::Revoke { name } => {
                let generation = self.ask(|answer| Request::RevokeKey(name.clone(), answer)).await??;
                self.in_use(generation).await?;
                Ok(Reply::Revoked(name))
            }
        }
    }

    /// Waits until the gateway uses a configuration at least that new. A gateway that is down
    /// reads it when it starts.
    async fn in_use(&self, generation: u64) -> Result<()> {
        let mut in_use = self.gateway.in_use.clone();
        let taken = in_use.wait_for(|&now| now >= generation || now == 0);
        match tokio::time::timeout(Duration::from_millis(RELOAD_MS_MAX), taken).await {
            Ok(_) => Ok(()),
            Err(_) => bail!(
                "the change is kept, but the gateway did not take it within {RELOAD_MS_MAX} ms: see `nabi logs gateway`"
            ),
        }
    }

    async fn snapshot(&self) -> Result<Snapshot> {
        self.ask(Request::Snapshot).await
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let down = "the supervisor is going down";
        self.core.send(request(answer)).await.ok().context(down)?;
        answered.await.context(down)
    }
}

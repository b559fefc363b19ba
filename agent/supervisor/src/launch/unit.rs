//! A transient unit of systemd, over D-Bus. Whose user it is and what it may do stands in drop-ins
//! of the image; here is only what changes from start to start.
//!
//! What is watched is the state, not the events: each change of a property is the occasion to look
//! anew. So nothing is missed, and nothing is polled.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures_util::StreamExt as _;
use nix::sys::signal::Signal;
use systemd_zbus::{ActiveState, ManagerProxy, Mode, ServiceProxy, UnitProxy};
use zbus::fdo::{PropertiesChangedStream, PropertiesProxy};
use zbus::proxy::{Builder, CacheProperties};
use zbus::zvariant::{Fd, OwnedObjectPath, Value};
use zbus::{Connection, connection};

use crate::launch::outcome::Outcome;
use crate::launch::{Spec, Standard};

/// systemd answers at once, unless it is stuck.
const CALL_MS_MAX: u64 = 30_000;
/// For a unit of an earlier life to be gone.
const CLEAR_MS_MAX: u64 = 30_000;
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
/// The load state of a unit that there is not.
const NOT_FOUND: &str = "not-found";

/// Dropped before its end, it is killed.
pub(super) struct Unit {
    target: Target,
    unit: UnitProxy<'static>,
    service: ServiceProxy<'static>,
    changes: PropertiesChangedStream,
    ended: bool,
}

/// Where signals go.
#[derive(Clone)]
pub(super) struct Target {
    manager: ManagerProxy<'static>,
    name: String,
}

/// How far a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Runs,
    Ended,
}

/// A connection for one unit alone: when it breaks, it is one unit that is lost, and systemd drops
/// what it kept for us.
pub(super) async fn connect() -> Result<Connection> {
    let builder = connection::Builder::system().context("cannot tell where systemd is")?;
    let connecting = builder.method_timeout(Duration::from_millis(CALL_MS_MAX)).build();
    // Its text has that of its source already.
    connecting.await.map_err(|error| anyhow!("cannot connect to systemd: {error}"))
}

impl Unit {
    /// Starts it, and gives its process.
    pub(super) async fn start(
        connection: &Connection,
        program: &Path,
        spec: Spec<'_>,
        standard: Standard,
    ) -> Result<(Self, u32)> {
        let name = spec.part.unit();
        let starting = || format!("cannot start {name}");
        let manager: ManagerProxy<'static> =
            uncached(ManagerProxy::builder(connection)).await.with_context(starting)?;
        manager.subscribe().await.with_context(starting)?;
        clear(&manager, &name).await?;
        let properties = properties(program, &spec, &standard)?;
        let started = manager.start_transient_unit(&name, Mode::Fail, &properties, &[]).await;
        started.with_context(starting)?;
        let target = Target { manager, name: name.clone() };
        let mut unit = Self::watch(connection, target).await.with_context(starting)?;
        unit.until(|phase| phase != Phase::Starting).await.with_context(starting)?;
        let pid = unit.service.exec_main_pid().await.with_context(starting)?;
        Ok((unit, pid))
    }

    async fn watch(connection: &Connection, target: Target) -> Result<Self> {
        let path: OwnedObjectPath = target.manager.get_unit(&target.name).await?;
        let unit = uncached(UnitProxy::builder(connection).path(path.clone())?).await?;
        let service = uncached(ServiceProxy::builder(connection).path(path.clone())?).await?;
        let properties = PropertiesProxy::builder(connection);
        let properties = properties.destination("org.freedesktop.systemd1")?.path(path)?;
        let changes = uncached(properties).await?.receive_properties_changed().await?;
        Ok(Self { target, unit, service, changes, ended: false })
    }

    pub(super) fn target(&self) -> Target {
        self.target.clone()
    }

    /// Waits for the end. May be given up and called again.
    pub(super) async fn wait(&mut self) -> Outcome {
        let waited = match self.until(|phase| phase == Phase::Ended).await {
            Ok(()) => self.outcome().await.context("its result cannot be read"),
            Err(error) => Err(error),
        };
        self.ended = waited.is_ok();
        waited.unwrap_or_else(|error| Outcome::lost(&error))
    }

    /// From now on systemd may forget the unit, and close its ends of the pipes.
    async fn outcome(&self) -> Result<Outcome> {
        let (result, code) = (self.service.result().await?, self.service.exec_main_code().await?);
        let status = self.service.exec_main_status().await?;
        self.target.manager.unref_unit(&self.target.name).await?;
        Ok(Outcome::of_unit(&result, code, status))
    }

    async fn until(&mut self, reached: fn(Phase) -> bool) -> Result<()> {
        loop {
            let (job, _) = self.unit.job().await?;
            if reached(phase(self.unit.active_state().await?, job != 0)) {
                return Ok(());
            }
            self.changes.next().await.context("systemd closed the connection")?;
        }
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        if let (false, Ok(runtime)) = (self.ended, tokio::runtime::Handle::try_current()) {
            let target = self.target();
            runtime.spawn(target.kill_and_forget());
        }
    }
}

impl Target {
    /// To its main process.
    pub(super) async fn send(&self, signal: Signal) {
        self.tell("main", signal).await;
    }

    /// All its processes.
    pub(super) async fn kill(&self) {
        self.tell("all", Signal::SIGKILL).await;
    }

    async fn kill_and_forget(self) {
        self.kill().await;
        // It may be forgotten already.
        let _ = self.manager.unref_unit(&self.name).await;
    }

    async fn tell(&self, whom: &str, signal: Signal) {
        if let Err(error) = self.manager.kill_unit(&self.name, whom, signal as i32).await {
            // It may just have ended.
            tracing::debug!(unit = self.name, %signal, "cannot be sent: {error}");
        }
    }
}

fn phase(active: ActiveState, has_job: bool) -> Phase {
    match (active, has_job) {
        (ActiveState::Activating, _) | (ActiveState::Inactive | ActiveState::Failed, true) => Phase::Starting,
        (ActiveState::Inactive | ActiveState::Failed, false) => Phase::Ended,
        _ => Phase::Runs,
    }
}

/// Ends a unit of this name that an earlier supervisor left. One that is ours has our reference, and
/// stays.
async fn clear(manager: &ManagerProxy<'static>, name: &str) -> Result<()> {
    let clearing = async {
        let mut removed = manager.receive_unit_removed().await?;
        while let Some(unit) = loaded(manager, name).await? {
            ensure!(unit.refs().await?.is_empty(), "it runs already: try again when it has ended");
            tracing::warn!(unit = name, "is there from an earlier life: ending it");
            // Each of them may find nothing to do.
            let _ = manager.kill_unit(name, "all", Signal::SIGKILL as i32).await;
            let _ = manager.stop_unit(name, Mode::Replace).await;
            let _ = manager.reset_failed_unit(name).await;
            while let Some(signal) = removed.next().await {
                if signal.args()?.id == name {
                    break;
                }
            }
        }
        anyhow::Ok(())
    };
    match tokio::time::timeout(Duration::from_millis(CLEAR_MS_MAX), clearing).await {
        Ok(cleared) => cleared.with_context(|| format!("cannot start {name}")),
        Err(_) => bail!("cannot start {name}: an earlier one does not end within {CLEAR_MS_MAX} ms"),
    }
}

/// The unit of this name. One that others only name is none.
async fn loaded(manager: &ManagerProxy<'static>, name: &str) -> Result<Option<UnitProxy<'static>>> {
    let path = match manager.get_unit(name).await {
        Ok(path) => path,
        Err(zbus::Error::MethodError(error, ..)) if error == NO_SUCH_UNIT => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let unit: UnitProxy<'_> = uncached(UnitProxy::builder(manager.inner().connection()).path(path)?).await?;
    Ok((unit.load_state().await? != NOT_FOUND).then_some(unit))
}

fn properties<'a>(
    program: &'a Path,
    spec: &'a Spec<'_>,
    standard: &'a Standard,
) -> Result<Vec<(&'static str, Value<'a>)>> {
    let program = text(program.as_os_str())?;
    let arguments = spec.arguments.iter().map(|argument| text(argument));
    let command: Vec<&str> = [Ok(program)].into_iter().chain(arguments).collect::<Result<_>>()?;
    let mut environment = Vec::new();
    for (name, value) in &spec.environment {
        environment.push(format!("{name}={}", text(value)?));
    }
    let mut properties = vec![
        // Started when the program is executed, so that a missing one is told.
        ("Type", Value::from("exec")),
        // In a plain ExecStart, `$` in arguments would stand for variables.
        ("ExecStartEx", Value::from(vec![(program, command, vec!["no-env-expand"])])),
        ("Environment", Value::from(environment)),
        ("StandardInputFileDescriptor", handle(standard.input.as_fd())),
        ("StandardErrorFileDescriptor", handle(standard.error.as_fd())),
        // Kept until we have read how it ended, and no longer.
        ("AddRef", Value::from(true)),
        ("CollectMode", Value::from("inactive-or-failed")),
    ];
    properties.push(match &standard.output {
        Some(output) => ("StandardOutputFileDescriptor", handle(output.as_fd())),
        None => ("StandardOutput", Value::from("null")),
    });
    if let Some(socket) = &spec.socket {
        properties.push(("ExtraFileDescriptors", Value::from(vec![(Fd::from(socket.as_fd()), "socket")])));
    }
    Ok(properties)
}

fn handle(descriptor: BorrowedFd<'_>) -> Value<'_> {
    Value::Fd(Fd::from(descriptor))
}

/// D-Bus knows only UTF-8.
fn text(value: &OsStr) -> Result<&str> {
    value.to_str().with_context(|| format!("{} is not UTF-8", value.display()))
}

/// What is read is as it is now.
async fn uncached<'a, T: From<zbus::Proxy<'a>>>(builder: Builder<'a, T>) -> zbus::Result<T> {
    builder.cache_properties(CacheProperties::No).build().await
}

//! A simulated systemd: its part of the wire, over a socket pair. What a unit executes runs as a
//! child of the test.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};

use command_fds::{CommandFdExt as _, FdMapping};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use zbus::object_server::SignalEmitter;
use zbus::zvariant::{Array, ObjectPath, OwnedObjectPath, OwnedValue, Value};
use zbus::{Connection, DBusError, Guid, ObjectServer, connection, interface};

const MANAGER: &str = "/org/freedesktop/systemd1";

/// What there is and was.
#[derive(Default)]
pub(super) struct Record {
    units: BTreeMap<String, Kept>,
    /// The properties of the last start.
    pub(super) properties: Vec<String>,
    /// Whom which signal was sent to.
    pub(super) signals: Vec<(String, i32)>,
}

#[derive(Debug, Clone, Default)]
struct Kept {
    referred: bool,
    job: u32,
    active: &'static str,
    pid: u32,
    result: &'static str,
    code: i32,
    status: i32,
}

#[derive(Clone, Default)]
pub(super) struct Systemd {
    record: Arc<Mutex<Record>>,
}

#[derive(Debug, DBusError)]
#[zbus(prefix = "org.freedesktop.systemd1")]
enum Refusal {
    #[zbus(error)]
    ZBus(zbus::Error),
    NoSuchUnit(String),
    UnitExists(String),
}

impl Systemd {
    /// Starts one; gives our end of a connection, and its own, which must be kept.
    pub(super) async fn start() -> (Self, Connection, Connection) {
        let (ours, its) = UnixStream::pair().expect("a socket pair");
        let systemd = Self::default();
        let manager = Manager { systemd: systemd.clone() };
        let server = connection::Builder::unix_stream(its).server(Guid::generate()).expect("an id").p2p();
        let server = server.serve_at(MANAGER, manager).expect("a path").build();
        let client = connection::Builder::unix_stream(ours).p2p().build();
        let (server, client) = tokio::join!(server, client);
        (systemd, client.expect("our end"), server.expect("its end"))
    }

    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("nobody panicked")
    }

    fn kept(&self, name: &str) -> Kept {
        self.record().units.get(name).cloned().unwrap_or_default()
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Kept)) {
        self.record().units.get_mut(name).map(change);
    }

    /// Changes a unit, and says so.
    async fn announce(&self, server: &ObjectServer, name: &str, change: impl FnOnce(&mut Kept)) {
        self.change(name, change);
        let unit = server.interface::<_, Unit>(path(name)).await.expect("the unit's object");
        let told = unit.get().await.active_state_changed(unit.signal_emitter()).await;
        told.expect("told");
    }

    /// Forgets a unit that has ended and that nobody holds.
    async fn collect(&self, server: &ObjectServer, name: &str) {
        let unit = self.kept(name);
        if unit.referred || unit.job != 0 || !matches!(unit.active, "inactive" | "failed") {
            return;
        }
        self.record().units.remove(name);
        server.remove::<Unit, _>(path(name)).await.expect("removed");
        server.remove::<Service, _>(path(name)).await.expect("removed");
        let emitter = server.interface::<_, Manager>(MANAGER).await.expect("the manager's object");
        let told = Manager::unit_removed(emitter.signal_emitter(), name, path(name).into()).await;
        told.expect("told");
    }

    /// The whole life of a unit.
    async fn run(self, server: ObjectServer, name: String, mut command: Command) {
        self.announce(&server, &name, |unit| unit.active = "activating").await;
        let status = match command.spawn() {
            Ok(child) => {
                drop(command);
                self.accompany(&server, &name, child).await
            }
            Err(_) => ExitStatus::from_raw(203 << 8),
        };
        let (code, number) = match (status.code(), status.signal()) {
            (Some(code), _) => (1, code),
            (None, signal) => (2, signal.unwrap_or_default()),
        };
        let ended = |unit: &mut Kept| {
            unit.job = 0;
            (unit.code, unit.status) = (code, number);
            (unit.active, unit.result) = match (code, number) {
                (1, 0) => ("inactive", "success"),
                (1, _) => ("failed", "exit-code"),
                _ => ("failed", "signal"),
            };
        };
        self.announce(&server, &name, ended).await;
        self.collect(&server, &name).await;
    }

    async fn accompany(&self, server: &ObjectServer, name: &str, mut child: Child) -> ExitStatus {
        let pid = child.id().expect("it was just started");
        let runs = |unit: &mut Kept| (unit.job, unit.active, unit.pid) = (0, "active", pid);
        self.announce(server, name, runs).await;
        child.wait().await.expect("waited for")
    }
}

/// Where a unit's object is.
fn path(name: &str) -> OwnedObjectPath {
    let escaped: String = name.bytes().map(|byte| format!("_{byte:02x}")).collect();
    format!("{MANAGER}/unit/{escaped}").try_into().expect("a path")
}

struct Manager {
    systemd: Systemd,
}

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    fn subscribe(&self) {}

    fn get_unit(&self, name: &str) -> Result<OwnedObjectPath, Refusal> {
        let known = self.systemd.record().units.contains_key(name);
        known.then(|| path(name)).ok_or_else(|| Refusal::NoSuchUnit(name.to_owned()))
    }

    async fn start_transient_unit(
        &self,
        name: String,
        mode: String,
        properties: Vec<(String, OwnedValue)>,
        aux: Vec<(String, Vec<(String, OwnedValue)>)>,
        #[zbus(object_server)] server: &ObjectServer,
    ) -> Result<OwnedObjectPath, Refusal> {
        assert!(mode == "fail" && aux.is_empty());
        if self.systemd.record().units.contains_key(&name) {
            return Err(Refusal::UnitExists(name));
        }
        let referred = properties.iter().any(|(property, _)| property == "AddRef");
        let kept = Kept { referred, job: 1, active: "inactive", result: "success", ..Kept::default() };
        {
            let mut record = self.systemd.record();
            record.properties = properties.iter().map(|(name, _)| name.clone()).collect();
            record.units.insert(name.clone(), kept);
        }
        let (systemd, unit) = (self.systemd.clone(), name.clone());
        server.at(path(&name), Unit { systemd, name: unit }).await?;
        server.at(path(&name), Service { systemd: self.systemd.clone(), name: name.clone() }).await?;
        let command = command(properties);
        tokio::spawn(self.systemd.clone().run(server.clone(), name, command));
        Ok(path("job"))
    }

    fn kill_unit(&self, name: String, whom: String, signal: i32) -> Result<(), Refusal> {
        let Kept { pid, .. } = self.systemd.kept(&name);
        if pid == 0 {
            return Err(Refusal::NoSuchUnit(name));
        }
        self.systemd.record().signals.push((whom, signal));
        let signal = Signal::try_from(signal).expect("a signal");
        // It may have ended.
        let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
        Ok(())
    }

    fn stop_unit(&self, name: &str, mode: &str) -> Result<OwnedObjectPath, Refusal> {
        assert_eq!(mode, "replace");
        self.get_unit(name)?;
        Ok(path("job"))
    }

    fn reset_failed_unit(&self, _name: &str) {}

    async fn unref_unit(&self, name: &str, #[zbus(object_server)] server: &ObjectServer) {
        self.systemd.change(name, |unit| unit.referred = false);
        self.systemd.collect(server, name).await;
    }

    #[zbus(signal)]
    async fn unit_removed(emitter: &SignalEmitter<'_>, id: &str, unit: ObjectPath<'_>) -> zbus::Result<()>;
}

/// What the properties of a unit want executed.
fn command(properties: Vec<(String, OwnedValue)>) -> Command {
    let mut values: BTreeMap<_, _> = properties.into_iter().collect();
    let mut take = |name: &str| values.remove(name);
    type Execution = Vec<(String, Vec<String>, Vec<String>)>;
    let execution: Execution = take("ExecStartEx").expect("a command").try_into().expect("a command");
    let (program, arguments, flags) = &execution[0];
    // Else a real one would look for variables in the arguments.
    assert_eq!(flags[..], ["no-env-expand"]);
    let mut command = Command::new(program);
    command.args(&arguments[1..]).env_clear().kill_on_drop(true);
    let environment = take("Environment").map(|value| Vec::<String>::try_from(value).expect("strings"));
    for variable in environment.unwrap_or_default() {
        let (name, value) = variable.split_once('=').expect("NAME=VALUE");
        command.env(name, value);
    }
    let mut handle =
        |name: &str| take(name).map_or_else(Stdio::null, |value| Stdio::from(descriptor(value.into())));
    command.stdin(handle("StandardInputFileDescriptor"));
    command.stdout(handle("StandardOutputFileDescriptor"));
    command.stderr(handle("StandardErrorFileDescriptor"));
    if let Some(passed) = take("ExtraFileDescriptors") {
        let passed = Array::try_from(passed).expect("descriptors");
        let [Value::Structure(passed)] = &passed[..] else { panic!("one descriptor with its name") };
        let parent_fd = descriptor(passed.fields()[0].try_clone().expect("a copy"));
        let mapping = FdMapping { parent_fd, child_fd: 3 };
        command.env("LISTEN_FDS", "1").fd_mappings(vec![mapping]).expect("no collision");
    }
    command
}

fn descriptor(value: Value<'static>) -> OwnedFd {
    let Value::Fd(fd) = value else { panic!("{value:?} is no descriptor") };
    fd.try_into().expect("owned")
}

struct Unit {
    systemd: Systemd,
    name: String,
}

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl Unit {
    #[zbus(property)]
    fn active_state(&self) -> String {
        self.systemd.kept(&self.name).active.to_owned()
    }

    #[zbus(property)]
    fn load_state(&self) -> String {
        "loaded".to_owned()
    }

    #[zbus(property)]
    fn job(&self) -> (u32, OwnedObjectPath) {
        (self.systemd.kept(&self.name).job, path("job"))
    }

    #[zbus(property)]
    fn refs(&self) -> Vec<String> {
        self.systemd.kept(&self.name).referred.then(|| ":1.1".to_owned()).into_iter().collect()
    }
}

struct Service {
    systemd: Systemd,
    name: String,
}

#[interface(name = "org.freedesktop.systemd1.Service")]
impl Service {
    #[zbus(property)]
    fn result(&self) -> String {
        self.systemd.kept(&self.name).result.to_owned()
    }

    #[zbus(property)]
    fn exec_main_code(&self) -> i32 {
        self.systemd.kept(&self.name).code
    }

    #[zbus(property)]
    fn exec_main_status(&self) -> i32 {
        self.systemd.kept(&self.name).status
    }

    #[zbus(property, name = "ExecMainPID")]
    fn exec_main_pid(&self) -> u32 {
        self.systemd.kept(&self.name).pid
    }
}

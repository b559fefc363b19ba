//! The gateway's task: starts it, tells it of new configurations, starts it again.
//!
//! The listening socket stays with the supervisor: while a gateway is down, clients wait in the
//! socket's queue instead of being refused.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nabi_domain::restart::Failures;
use nabi_wire::reply::ProcessState;
use nix::sys::signal::Signal;
use tokio::net::UnixDatagram;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::launch::{End, Part, Spec};
use crate::places::{Places, bind_shared};

/// The file name of its configuration.
pub(crate) const CONFIG_FILE: &str = "gateway.json";
const NOTIFY_SOCKET: &str = "notify";
/// A notification is some lines of text.
const NOTIFY_BYTES_MAX: usize = 4096;

/// The rest of the supervisor's hold on the gateway.
pub(crate) struct Gateway {
    pub(crate) state: watch::Receiver<ProcessState>,
    /// The generation of the configuration that the gateway says it uses.
    pub(crate) in_use: watch::Receiver<u64>,
    wanted: watch::Sender<u64>,
    stop: CancellationToken,
    pub(crate) hurry: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Gateway {
    /// The configuration must have been written.
    pub(crate) fn start(places: Arc<Places>, listener: TcpListener, drain_grace: Duration) -> Self {
        let (publish, state) = watch::channel(ProcessState::Starting { pid: 0, loaded_permille: 1000 });
        let (using, in_use) = watch::channel(0);
        let (wanted, wants) = watch::channel(0);
        let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
        let life =
            Life { places, listener, drain_grace, publish, using, stop: stop.clone(), hurry: hurry.clone() };
        Self { state, in_use, wanted, stop, hurry, task: tokio::spawn(life.run(wants)) }
    }

    /// Says that a configuration of this generation was written.
    pub(crate) fn reload(&self, generation: u64) {
        self.wanted.send_replace(generation);
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

struct Life {
    places: Arc<Places>,
    listener: TcpListener,
    drain_grace: Duration,
    publish: watch::Sender<ProcessState>,
    using: watch::Sender<u64>,
    stop: CancellationToken,
    hurry: CancellationToken,
}

impl Life {
    async fn run(self, mut wants: watch::Receiver<u64>) {
        let mut failures = Failures::default();
        loop {
            let began = Instant::now();
            let end = match self.one_process(&mut wants).await {
                Ok(Some(end)) => end,
                Ok(None) => return,
                Err(error) => End { refused: false, reason: format!("{error:#}") },
            };
            tracing::error!(reason = end.reason, "the gateway ended");
            self.using.send_replace(0);
            failures = failures.after_end(began.elapsed());
            let wait = failures.wait();
            self.publish.send_replace(ProcessState::Waiting {
                restart_in_ms: wait.as_millis() as u64,
                failures: failures.in_a_row(),
                reason: end.reason,
            });
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// From start to end; none when it was stopped.
    async fn one_process(&self, wants: &mut watch::Receiver<u64>) -> Result<Option<End>> {
        let notify_path = self.places.for_gateway(NOTIFY_SOCKET);
        let _ = std::fs::remove_file(&notify_path);
        let notifications = bind_shared(&notify_path, |path| UnixDatagram::bind(path))?;
        let config = self.places.for_gateway(CONFIG_FILE);
        let socket: OwnedFd = self.listener.try_clone().context("cannot copy the listening socket")?.into();
        let spec = Spec {
            part: Part::Gateway,
            arguments: vec!["--config".as_ref(), config.as_os_str()],
            environment: vec![("NOTIFY_SOCKET", notify_path.as_os_str())],
            socket: Some(socket),
            stdout: false,
            logs: &self.places.logs(),
        };
        let mut process = self.places.launcher().start(spec).await?;
        let mut text = [0; NOTIFY_BYTES_MAX];
        loop {
            tokio::select! {
                end = process.wait() => return Ok(Some(end)),
                received = notifications.recv(&mut text) => {
                    let length = received.context("cannot receive notifications")?;
                    self.notified(&String::from_utf8_lossy(&text[..length]), process.pid);
                    // It may have read the file before our last change.
                    if *self.using.borrow() != 0 && *self.using.borrow() < *wants.borrow() {
                        process.signal(Signal::SIGHUP).await;
                    }
                }
                // Before its first notification it does not listen for the signal yet.
                Ok(()) = wants.changed() => if *self.using.borrow() != 0 {
                    process.signal(Signal::SIGHUP).await;
                },
                () = self.stop.cancelled() => {
                    self.publish.send_replace(ProcessState::Stopping);
                    process.end(self.drain_grace, self.hurry.cancelled()).await;
                    return Ok(None);
                }
            }
        }
    }

    /// `READY=1` with `X_NABI_GENERATION=n`, as the gateway sends after its start and each reload.
    fn notified(&self, text: &str, pid: u32) {
        let mut lines = text.lines();
        let generation = lines.find_map(|line| line.strip_prefix("X_NABI_GENERATION=")?.parse().ok());
        if let Some(generation) = generation {
            self.using.send_replace(generation);
            self.publish.send_if_modified(|state| {
                let ready = ProcessState::Ready { pid };
                let changed = *state != ready;
                *state = ready;
                changed
            });
        }
    }
}

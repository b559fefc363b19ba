//! `nabi-supervisor`: starts the gateway and the engines, proves first tokens, watches, and
//! answers the operator. It parses nothing that came from a network.

mod admin;
mod ca;
mod core;
mod engine;
mod engine_config;
mod first_token;
mod gateway;
mod hardware;
mod health;
mod heartbeat;
mod helper;
mod import;
mod launch;
mod ledger;
mod logs;
mod media;
mod places;
mod rooms;
mod self_test;
mod wishes;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use listenfd::ListenFd;
use nabi_domain::pack::MANIFEST_FILE;
use nabi_wire::config::{self, SiteConfig};
use nabi_wire::lifeline;
use sd_notify::NotifyState;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::admin::Admin;
use crate::core::{Core, Settings};
use crate::hardware::Hardware;
use crate::health::Health;
use crate::launch::Launcher;
use crate::logs::Log;
use crate::places::{Places, bind_shared};
use crate::rooms::Rooms;

/// A gateway whose supervisor was killed needs a moment to leave its port.
const BIND_TRIES_MAX: u32 = 30;
const BIND_WAIT_MS: u64 = 100;

/// Supervises the gateway and the engines
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Folder for models, keys, certificates and logs
    #[arg(long)]
    state: PathBuf,
    /// Folder for sockets, emptied at each start [default: STATE/run]
    #[arg(long)]
    run: Option<PathBuf>,
    /// Where to listen for API clients, unless a socket is passed by LISTEN_FDS
    #[arg(long, default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// How to start the gateway and the engines
    #[arg(long, value_enum, default_value_t = Launcher::Child)]
    launcher: Launcher,
    /// What the site file says, as nabi-setup writes it
    #[arg(long)]
    site: Option<PathBuf>,
    /// A read-only store whose model nabi-self-test is always served, with its known tokens
    #[arg(long)]
    self_test: Option<PathBuf>,
    /// The folder in which attached sticks and disks appear
    #[arg(long, default_value = "/run/nabi-media")]
    media: PathBuf,
    /// The root folder below which the machine is read; another, or a recording, is another machine
    #[arg(long, default_value = "/")]
    hardware_root: PathBuf,
    /// NVIDIA's library, if not this machine's
    #[arg(long, hide = true)]
    nvidia_library: Option<PathBuf>,
    /// The kernel pack's folder
    #[arg(long)]
    pack: PathBuf,
    /// How long running answers may go on when asked to end
    #[arg(long, default_value_t = 10_000)]
    drain_grace_ms: u64,
}

impl Arguments {
    fn run_folder(&self) -> PathBuf {
        self.run.clone().unwrap_or_else(|| self.state.join("run"))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let problem = arguments.run_folder().join(lifeline::PROBLEM_FILE);
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // For the operator, who reaches nobody else. It goes with the next start that goes well.
            let _ = std::fs::write(problem, format!("{error:#}\n"));
            lifeline::refuse(&error)
        }
    }
}

#[tokio::main(worker_threads = 2)]
async fn run(arguments: Arguments) -> Result<()> {
    // Build.
    let run_folder = arguments.run_folder();
    let site: SiteConfig =
        arguments.site.as_deref().map_or_else(|| Ok(SiteConfig::default()), config::read)?;
    let places = Arc::new(Places::open(&arguments.state, &run_folder, arguments.launcher)?);
    log_to_file_and_stderr(&places);
    if arguments.launcher == Launcher::Child {
        lifeline::exit_with_parent().context("cannot watch standard input")?;
    }
    let mut signals = Signals::new()?;
    let pack = std::path::absolute(&arguments.pack).context("--pack is not a path")?;
    ensure!(
        pack.join(MANIFEST_FILE).exists(),
        "there is no kernel pack in {}: build it with `make pack`",
        pack.display()
    );
    let listener =
        match ListenFd::from_env().take_tcp_listener(0).context("the passed socket is of no use")? {
            Some(passed) => passed,
            None => bind(arguments.listen).await?,
        };
    let address = listener.local_addr().context("cannot tell the listening address")?;
    let hardware_root =
        std::path::absolute(&arguments.hardware_root).context("--hardware-root is not a path")?;
    let hardware = Hardware::new(places.clone(), hardware_root, arguments.nvidia_library);
    let settings = Settings {
        pack: pack.clone(),
        drain_grace: Duration::from_millis(arguments.drain_grace_ms),
        self_test: arguments.self_test.clone(),
        wishes: site.serve,
        rooms: Rooms::look(&hardware),
    };
    let core = Core::start(places.clone(), settings, listener)?;
    // Who finds the socket finds somebody who answers.
    let admin_listener = bind_shared(&places.admin_socket(), |path| UnixListener::bind(path))?;
    let (ask, asked) = mpsc::channel(64);
    let admin = Admin {
        core: ask,
        gateway: core.gateway_view(),
        places: places.clone(),
        pack,
        address: url(address, &site.hostname),
        media: std::path::absolute(&arguments.media).context("--media is not a path")?,
        hardware,
        health: Health::new(places.clone(), arguments.self_test),
    };
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "the supervisor runs");
    heartbeat::tell(&[NotifyState::Ready, NotifyState::Status("serves")]);

    // Run. When the admin socket is dropped, the core's requests end.
    let serving = async {
        tokio::select! {
            outcome = admin::serve(admin_listener, admin) => outcome,
            () = signals.next() => Ok(()),
        }
    };
    let (outcome, core) = tokio::join!(serving, core.run(asked));

    // Drain.
    tracing::info!("draining");
    heartbeat::tell(&[NotifyState::Stopping, NotifyState::Status("running answers have their grace")]);
    core.drain(signals.next()).await;
    places.clear_run();
    outcome
}

/// Where clients find us: by the machine's name, where we listen on every address.
fn url(address: SocketAddr, hostname: &str) -> String {
    match (address.ip().is_unspecified(), hostname, address.port()) {
        (false, ..) | (true, "", _) => format!("https://{address}"),
        (true, name, 443) => format!("https://{name}"),
        (true, name, port) => format!("https://{name}:{port}"),
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    let mut tries = 0;
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < BIND_TRIES_MAX => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(BIND_WAIT_MS)).await;
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(error).with_context(|| {
                    format!(
                        "another program listens on {address}: stop it, or choose another port with --listen"
                    )
                });
            }
            bound => {
                return bound
                    .with_context(|| format!("cannot listen on {address}: choose another with --listen"));
            }
        }
    }
}

fn log_to_file_and_stderr(places: &Places) {
    let log = Arc::new(Mutex::new(Log::new(&places.logs(), "supervisor")));
    let writer = move || Tee { log: log.clone() };
    tracing_subscriber::fmt().json().flatten_event(true).with_writer(writer).init();
}

/// Each line to the log and to standard error. Failures of either must not stop the service.
struct Tee {
    log: Arc<Mutex<Log>>,
}

impl Write for Tee {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().write_all(line);
        if let Ok(mut log) = self.log.lock() {
            let _ = log.write_all(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_a_name_where_there_is_no_one_address() {
        for (address, hostname, expected) in [
            ("127.0.0.1:8443", "nabi", "https://127.0.0.1:8443"),
            ("[::]:443", "nabi", "https://nabi"),
            ("0.0.0.0:8443", "nabi", "https://nabi:8443"),
            ("[::]:443", "", "https://[::]:443"),
        ] {
            assert_eq!(url(address.parse().expect("an address"), hostname), expected);
        }
    }
}

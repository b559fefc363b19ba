//! What the machine has. `nabi-probe` looks: a broken device, or what its maker wrote, may hang or crash
//! whoever asks.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt as _;
use nabi_domain::hardware::{Inventory, PciAddress};
use nabi_domain::plan::Room;
use nabi_wire::frame::Reader;
use nabi_wire::probe::Probed;
use nabi_wire::reply::Reply;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::helper;
use crate::launch::Part;
use crate::places::Places;
use crate::rooms;

/// For one question. Cards that nobody used since the start take some seconds each.
const PROBE_MS_MAX: u64 = 30_000;

/// The machine, at which one looks at a time: those who hang would pile up.
#[derive(Clone)]
pub(crate) struct Hardware {
    places: Arc<Places>,
    /// Below it the machine is read.
    root: PathBuf,
    /// Instead of this machine's.
    nvidia_library: Option<PathBuf>,
    looks: Arc<Mutex<()>>,
    read_bytes_per_s: Arc<AtomicU64>,
}

impl Hardware {
    pub(crate) fn new(places: Arc<Places>, root: PathBuf, nvidia_library: Option<PathBuf>) -> Self {
        Self { places, root, nvidia_library, looks: Arc::default(), read_bytes_per_s: Arc::default() }
    }

    /// Reads the machine. Dropped, it ends the process that looks.
    pub(crate) async fn inventory(&self) -> Result<Box<Inventory>> {
        let mut inventory = self.below(&self.root).await?;
        self.ask_nvidia(&mut inventory).await;
        Ok(inventory)
    }

    /// What this machine has, whatever root was given: engines run on it.
    pub(crate) async fn this_machine(&self) -> Result<Box<Inventory>> {
        self.below(Path::new("/")).await
    }

    async fn below(&self, root: &Path) -> Result<Box<Inventory>> {
        let asked = self.first(&["inventory".as_ref(), "--root".as_ref(), root.as_os_str()]).await?;
        let Probed::Inventory(inventory) = asked else { bail!("nabi-probe answers something else") };
        Ok(inventory)
    }

    /// What a machine has for models that is this one, or only recorded.
    pub(crate) fn room(&self, inventory: &Inventory) -> Room {
        if self.root.as_os_str() == "/" {
            rooms::of_this_machine(inventory)
        } else {
            rooms::of_another(inventory)
        }
    }

    /// What so many threads read of memory in a second: the most of what was measured so far, since whatever
    /// else runs takes its part. None of a machine that is only recorded.
    pub(crate) async fn read_bytes_per_s(&self, threads: u32) -> Result<Option<u64>> {
        if self.root.as_os_str() != "/" {
            return Ok(None);
        }
        let asked =
            self.first(&["bandwidth".as_ref(), "--threads".as_ref(), threads.to_string().as_ref()]).await?;
        let Probed::Bandwidth(measured) = asked else { bail!("nabi-probe answers something else") };
        Ok(Some(self.read_bytes_per_s.fetch_max(measured, Ordering::Relaxed).max(measured)))
    }

    /// All that is read for an inventory.
    pub(crate) async fn recording(&self) -> Result<Reply> {
        let asked = self.first(&["record".as_ref(), "--root".as_ref(), self.root.as_os_str()]).await?;
        let Probed::Recording(recording) = asked else { bail!("nabi-probe answers something else") };
        Ok(Reply::Recording(recording))
    }

    /// What the library does not tell is a problem of the inventory: all else in it holds.
    async fn ask_nvidia(&self, inventory: &mut Inventory) {
        // A recording has no library: what lies below its root is anybody's.
        let has_library = self.root.as_os_str() == "/" || self.nvidia_library.is_some();
        let mut cards = inventory.nvidia_cards();
        if cards.is_empty() || !has_library {
            return;
        }
        if let Err(error) = self.nvidia_cards(inventory, &mut cards).await {
            let of = cards.first().map(|card| format!(" (of {card} first)")).unwrap_or_default();
            inventory.without_nvidia_library(format!("{error:#}{of}"));
        }
    }

    /// Adds what is told, and takes those out of `cards`.
    async fn nvidia_cards(&self, inventory: &mut Inventory, cards: &mut Vec<PciAddress>) -> Result<()> {
        let named: Vec<String> = cards.iter().map(ToString::to_string).collect();
        let mut arguments: Vec<&OsStr> = vec!["nvidia".as_ref()];
        if let Some(library) = &self.nvidia_library {
            arguments.extend(["--library".as_ref(), library.as_os_str()]);
        }
        arguments.extend(named.iter().map(AsRef::<OsStr>::as_ref));
        self.ask(&arguments, async |told| {
            while !cards.is_empty() {
                let Some(Probed::Nvidia(address, card)) = next(told).await? else { return Ok(None) };
                cards.retain(|&other| other != address);
                inventory.add_nvidia_card(address, card.map(|card| *card));
            }
            Ok(Some(()))
        })
        .await
    }

    async fn first(&self, arguments: &[&OsStr]) -> Result<Probed> {
        self.ask(arguments, async |told| next(told).await).await
    }

    /// Starts a process that looks, and takes from its answers what is wanted; none where it ended before.
    async fn ask<T>(
        &self,
        arguments: &[&OsStr],
        take: impl AsyncFnOnce(&mut Reader<Receiver, Probed>) -> Result<Option<T>>,
    ) -> Result<T> {
        let limit = Duration::from_millis(PROBE_MS_MAX);
        let Ok(turn) = timeout(limit, self.looks.clone().lock_owned()).await else {
            bail!("the last look at this machine still hangs: a device does not answer");
        };
        let part = Part::Probe(number());
        let (mut process, mut told) = helper::start(&self.places, part, arguments.to_vec()).await?;
        let answer = timeout(limit, async {
            match take(&mut told).await? {
                Some(answer) => Ok(answer),
                None => bail!("nabi-probe {}", process.wait().await.reason),
            }
        });
        if let Ok(answer) = answer.await {
            return answer;
        }
        // It may be where no signal reaches it. Nobody looks until it has ended.
        tokio::spawn(async move {
            process.kill().await;
            process.wait().await;
            drop(turn);
        });
        bail!("no answer within {} s: a device hangs; restart the machine", PROBE_MS_MAX / 1000)
    }
}

async fn next(told: &mut Reader<Receiver, Probed>) -> Result<Option<Probed>> {
    match told.next().await.transpose().context("nabi-probe speaks another version")? {
        Some(Probed::Failed { message }) => bail!(message),
        told => Ok(told),
    }
}

/// Of a process: an earlier supervisor's may still be there.
fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    u64::from(std::process::id()) << 32 | NEXT.fetch_add(1, Ordering::Relaxed)
}

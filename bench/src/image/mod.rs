//! The image: its size, the memory that it takes, and how soon it serves.
//!
//! Both sides are the same disk: one boots as it is, its peer without our services, as a plain Debian
//! with an SSH server would. The screen's timeline comes from a boot of its own, since it costs.

mod appliance;
mod inside;
mod reach;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::Common;
use crate::pairs::{self, Side};
use crate::report::{Figure, Goal, Machine, Report, Row};
use appliance::Appliance;

const MB: f64 = 1e6;
const SIZE: Figure = Figure { measure: "image as zstd", unit: "MB", goal: Goal::AtMost(240.0) };
const FIRST_BOOT: Figure =
    Figure { measure: "first boot, until the CA is read over SSH", unit: "s", goal: Goal::None };
const BOOT: Figure = Figure {
    measure: "from switching on to the first token over HTTPS",
    unit: "s",
    goal: Goal::RatioAtMost(1.3),
};
const PEER: &str = "same image without our services, to the SSH banner";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Where `make image` left its files
    #[arg(long)]
    folder: PathBuf,
}

/// A Debian package or a file, as it is in the image.
#[derive(Deserialize)]
struct Part {
    part: String,
    bytes: f64,
}

pub(crate) async fn run(arguments: &Arguments) -> Result<Report> {
    let machine = Machine::here();
    let pairs = arguments.common.pairs();
    let file = |end: &str| arguments.folder.join(format!("nabi_{}.{end}", env!("CARGO_PKG_VERSION")));
    let compressed = file("raw.zst");
    let size = fs::metadata(&compressed).with_context(|| format!("no image {}", compressed.display()))?;
    let mut rows = vec![SIZE.alone(&[size.len() as f64 / MB])];

    let appliance = Appliance::settle(&file("raw"))?;
    rows.push(FIRST_BOOT.alone(&[appliance.first_boot_s]));
    rows.extend(inside::rows(&appliance)?);
    let values = pairs::run(pairs, async |side, pair| {
        let seconds = match side {
            Side::Nabi => reach::first_token(&appliance).await?,
            Side::Peer => reach::ssh_banner(&appliance).await?,
        };
        eprintln!("  {pair} {side:?} {seconds:.1} s");
        Ok(vec![seconds])
    });
    let values = values.await?;
    rows.push(BOOT.of_pairs(&values.nabi[0], &values.peer[0], PEER));
    rows.extend(largest(&file("parts.json"))?);
    Ok(Report { machine, pairs, smoke: arguments.common.smoke, rows })
}

fn largest(file: &Path) -> Result<Vec<Row>> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let parts: Vec<Part> = serde_json::from_slice(&text).with_context(|| format!("in {}", file.display()))?;
    let row = |part: Part| Row::plain(format!("part: {}", part.part), "MB", part.bytes / MB);
    Ok(parts.into_iter().map(row).collect())
}

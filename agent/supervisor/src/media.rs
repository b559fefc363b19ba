//! What is on attached sticks and disks. `nabi-import` looks, since the supervisor reads nothing that
//! came from elsewhere.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use futures_util::StreamExt as _;
use nabi_wire::import::ImportEvent;
use nabi_wire::reply::Reply;

use crate::helper;
use crate::launch::Part;
use crate::places::Places;

/// Numbers the processes that look, since two operators may at once.
static LOOKS: AtomicU64 = AtomicU64::new(1);

/// Lists the folder of media. Dropped, it ends the process that looks.
pub(crate) async fn list(places: &Places, folder: &Path) -> Result<Reply> {
    let part = Part::Media(LOOKS.fetch_add(1, Ordering::Relaxed));
    let arguments = vec!["media".as_ref(), "--media".as_ref(), folder.as_os_str()];
    let (mut process, mut events) = helper::start(places, part, arguments).await?;
    let last = events.next().await.transpose().context("nabi-import speaks another version")?;
    let end = process.wait().await;
    match last {
        Some(ImportEvent::Media(media)) => Ok(Reply::Media(media)),
        Some(ImportEvent::Failed { message }) => bail!(message),
        _ => bail!("nabi-import {}: try again", end.reason),
    }
}

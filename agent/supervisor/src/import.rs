//! Running `nabi-import`, the sole writer of the model store, for one action.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use nabi_domain::ModelName;
use nabi_wire::frame::Writer;
use nabi_wire::import::ImportEvent;
use nabi_wire::reply::{Answer, Progress, Reply, Unit};
use tokio::net::unix::OwnedWriteHalf;

use crate::engine_config::SELF_TEST_MODEL;
use crate::helper;
use crate::launch::Part;
use crate::places::Places;

/// What the store is asked for.
pub(crate) enum Work<'a> {
    /// Files that are not beside the source are looked for in the folder of media.
    Import {
        source: &'a Path,
        media: &'a Path,
    },
    Remove,
    Verify,
}

/// Does the work, telling its progress. Dropped, it ends the process, whose partial copy stays.
pub(crate) async fn run(
    places: &Places,
    name: &ModelName,
    work: Work<'_>,
    answers: &mut Writer<OwnedWriteHalf, Answer>,
) -> Result<Reply> {
    if let Work::Import { .. } = work {
        ensure!(
            name.as_str() != SELF_TEST_MODEL,
            "{name} is the self-test's model: choose another name with --name"
        );
    }
    let store = places.models();
    let (verb, doing) = match work {
        Work::Import { .. } => ("import", "copying"),
        Work::Remove => ("remove", "removing"),
        Work::Verify => ("verify", "hashing"),
    };
    let mut arguments: Vec<&OsStr> =
        vec![verb.as_ref(), "--store".as_ref(), store.as_os_str(), "--name".as_ref(), name.as_str().as_ref()];
    if let Work::Import { source, media } = work {
        arguments.extend(["--source".as_ref(), source.as_os_str(), "--media".as_ref(), media.as_os_str()]);
    }
    let (mut process, mut events) = helper::start(places, Part::Import(name), arguments).await?;
    let mut last = None;
    while let Some(event) = events.next().await {
        match event.context("nabi-import speaks another version")? {
            ImportEvent::Progress { file, done_bytes, total_bytes } => {
                let what = format!("{doing} {file}");
                let progress = Progress { what, done: done_bytes, total: total_bytes, unit: Unit::Bytes };
                answers.send(Answer::Progress(progress)).await?;
            }
            event => last = Some(event),
        }
    }
    let end = process.wait().await;
    match last {
        Some(ImportEvent::Done(summary)) => Ok(Reply::Imported(summary)),
        Some(ImportEvent::Removed) => Ok(Reply::Removed(name.clone())),
        Some(ImportEvent::Verified { files, bytes }) => {
            Ok(Reply::Verified { name: name.clone(), files, bytes })
        }
        Some(ImportEvent::Failed { message }) => bail!(message),
        Some(ImportEvent::Progress { .. } | ImportEvent::Media(_)) | None => {
            bail!("nabi-import {}; what it copied is kept: try again", end.reason)
        }
    }
}

//! Programs that run for one action, and tell by frames on their standard output what they do.

use std::ffi::OsStr;

use anyhow::Result;
use nabi_wire::frame::{self, Reader};
use serde::de::DeserializeOwned;
use tokio::net::unix::pipe::Receiver;

use crate::launch::{Part, Process, Spec};
use crate::places::Places;

/// Starts one. Dropped, the process is killed.
pub(crate) async fn start<T: DeserializeOwned>(
    places: &Places,
    part: Part<'_>,
    arguments: Vec<&OsStr>,
) -> Result<(Process, Reader<Receiver, T>)> {
    let logs = places.logs();
    let spec = Spec { part, arguments, environment: Vec::new(), socket: None, stdout: true, logs: &logs };
    let mut process = places.launcher().start(spec).await?;
    let told = frame::reader(process.take_stdout()?);
    Ok((process, told))
}

//! Compares a model with the hashes of its import.

use std::io::{self, Write};
use std::path::Path;

use nabi_models::regular_file::{self, FileError};
use nabi_models::{StoredFile, StoredModel};
use nabi_wire::import::ImportEvent;

use crate::error::ImportError;
use crate::hash;
use crate::places::Places;
use crate::report::{Progress, Reporter};

/// Hashes every file and names all that differ.
pub(crate) fn verify(
    places: &Places,
    reporter: &mut Reporter<impl Write>,
) -> Result<ImportEvent, ImportError> {
    let StoredModel { folder, manifest } = places.store.get(&places.name)?;
    let total_bytes = manifest.files.iter().map(|file| file.bytes).sum();
    let mut progress = reporter.progress(total_bytes);
    let mut differences = Vec::new();
    let mut done_bytes = 0;
    for file in &manifest.files {
        progress.begin(&file.name, done_bytes);
        if let Some(difference) = difference(&folder, file, &mut progress)? {
            differences.push(format!("{} {difference}", file.name));
        }
        done_bytes += file.bytes;
    }
    if differences.is_empty() {
        return Ok(ImportEvent::Verified { files: manifest.files.len() as u32, bytes: total_bytes });
    }
    Err(ImportError::Differs { name: places.name.clone(), files: manifest.files.len(), differences })
}

fn difference(
    folder: &Path,
    file: &StoredFile,
    progress: &mut Progress<'_, impl Write>,
) -> Result<Option<&'static str>, ImportError> {
    let path = folder.join(&file.name);
    let (opened, metadata) = match regular_file::open(&path) {
        Ok(opened) => opened,
        Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(Some("is missing"));
        }
        Err(_) => return Ok(Some("cannot be opened")),
    };
    if metadata.len() != file.bytes {
        return Ok(Some("has another size"));
    }
    match hash::prefix(&opened, &path, file.bytes, progress) {
        Ok(hasher) if hash::to_hex(hasher.clone()) == file.sha256 => Ok(None),
        Ok(_) => Ok(Some("has another content")),
        // A bad sector is a finding, and the other files are still worth a look.
        Err(ImportError::Read { .. }) => Ok(Some("cannot be read")),
        Err(other) => Err(other),
    }
}

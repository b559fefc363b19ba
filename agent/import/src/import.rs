//! Copies a model into the store.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nabi_domain::{ModelFormat, ModelSummary};
use nabi_models::manifest::Manifest;
use nabi_models::regular_file;
use nabi_models::{Inspected, Parts, StoreError, StoredFile, StoredModel, inspect, inspect_among};

use crate::copy::copy;
use crate::error::{ImportError, in_words};
use crate::hash;
use crate::journal::{JOURNAL_NAME, Journal, State};
use crate::media;
use crate::places::Places;
use crate::remove;
use crate::report::Reporter;
use crate::space;

/// What is to be imported.
pub(crate) struct Source<'a> {
    path: &'a Path,
    /// Where further parts of a split model may lie.
    elsewhere: Parts,
}

impl<'a> Source<'a> {
    /// A path on a medium must lead to that medium: whoever made it does not choose what is read.
    pub(crate) fn new(path: &'a Path, media: Option<&Path>) -> Result<Self, ImportError> {
        let Some(media) = media else { return Ok(Self { path, elsewhere: Parts::default() }) };
        if path.starts_with(media) && !absolute(path)?.starts_with(absolute(media)?) {
            return Err(ImportError::LeavesMedia { path: path.to_owned() });
        }
        Ok(Self { path, elsewhere: Parts::below(&media::folders(media)?) })
    }
}

fn absolute(path: &Path) -> Result<PathBuf, ImportError> {
    fs::canonicalize(path).map_err(|source| ImportError::read(path, source))
}

/// Imports what is at `source`. Running it again after a success changes nothing and succeeds.
pub(crate) fn import(
    places: &Places,
    source: &Source<'_>,
    reporter: &mut Reporter<impl Write>,
) -> Result<ModelSummary, ImportError> {
    remove::finish_removal(places)?;
    refuse_own_files(places, source.path)?;
    let inspected = inspect_among(source.path, &source.elsewhere)?;
    if inspected.remote_code {
        tracing::warn!(
            "{}: the model's own Python code (auto_map) is left behind; it runs only where an engine knows {}",
            source.path.display(),
            inspected.architecture
        );
    }
    match places.store.check_unchanged(&places.name) {
        Ok(stored) => return same_as_stored(stored, &inspected, reporter),
        Err(StoreError::Unknown { .. }) if !places.model.exists() => {}
        Err(StoreError::Unknown { .. }) => {
            return Err(ImportError::NameTaken { name: places.name.clone() });
        }
        Err(other) => return Err(other.into()),
    }
    let mut journal = Journal::plan(&inspected, &Journal::read(&places.partial));
    space::check(&places.store_folder, journal.missing_bytes())?;
    prepare(places, &journal)?;
    copy_all(places, &mut journal, reporter)?;
    publish(places, &inspected, &journal)
}

/// The store is not a source: a model in it may be removed in the middle of its copy.
fn refuse_own_files(places: &Places, source: &Path) -> Result<(), ImportError> {
    if absolute(source)?.starts_with(absolute(&places.store_folder)?) {
        return Err(ImportError::InsideStore { path: source.to_owned() });
    }
    Ok(())
}

/// The name is taken: good if by the same content.
fn same_as_stored(
    stored: StoredModel,
    inspected: &Inspected,
    reporter: &mut Reporter<impl Write>,
) -> Result<ModelSummary, ImportError> {
    let manifest = stored.manifest;
    let taken = || ImportError::NameTaken { name: manifest.summary.name.clone() };
    // Both are in the order of the inspection.
    let pairs = || manifest.files.iter().zip(&inspected.files);
    let alike = pairs().all(|(stored, file)| stored.name == file.name && stored.bytes == file.bytes);
    if manifest.files.len() != inspected.files.len() || !alike {
        return Err(taken());
    }
    let mut progress = reporter.progress(inspected.bytes());
    let mut done_bytes = 0;
    for (stored, file) in pairs() {
        let (opened, _) = regular_file::open(&file.path)?;
        progress.begin(&file.name, done_bytes);
        let hasher = hash::prefix(&opened, &file.path, file.bytes, &mut progress)?;
        if hash::to_hex(hasher) != stored.sha256 {
            return Err(taken());
        }
        done_bytes += file.bytes;
    }
    tracing::info!("{} was already imported, with the same content", manifest.summary.name);
    Ok(manifest.summary)
}

/// Makes the partial folder, without files of an earlier source.
fn prepare(places: &Places, journal: &Journal) -> Result<(), ImportError> {
    let write = |source| ImportError::write(&places.partial, source);
    fs::create_dir_all(&places.partial).map_err(write)?;
    let planned: HashSet<_> = journal.files.iter().map(|file| file.name.as_str()).collect();
    for entry in fs::read_dir(&places.partial).map_err(write)? {
        let entry = entry.map_err(write)?;
        let wanted = entry.file_name().to_str().is_some_and(|name| planned.contains(name));
        if !wanted && entry.file_name() != JOURNAL_NAME {
            fs::remove_file(entry.path()).map_err(write)?;
        }
    }
    journal.write(&places.partial)
}

fn copy_all(
    places: &Places,
    journal: &mut Journal,
    reporter: &mut Reporter<impl Write>,
) -> Result<(), ImportError> {
    let total_bytes = journal.files.iter().map(|file| file.bytes).sum();
    let mut progress = reporter.progress(total_bytes);
    let mut done_bytes = 0;
    for index in 0..journal.files.len() {
        let file = journal.files[index].clone();
        progress.begin(&file.name, done_bytes);
        done_bytes += file.bytes;
        if is_complete(&places.partial.join(&file.name), file.bytes, &file.state) {
            continue;
        }
        let sha256 = copy(&file, &places.partial, &mut progress, |checkpoint| {
            journal.files[index].state = State::Partial(checkpoint);
            journal.write(&places.partial)
        })?;
        journal.files[index].state = State::Complete { sha256 };
        journal.write(&places.partial)?;
    }
    Ok(())
}

/// A journal may promise a file that somebody deleted.
fn is_complete(path: &Path, bytes: u64, state: &State) -> bool {
    let there = || fs::symlink_metadata(path).is_ok_and(|file| file.is_file() && file.len() == bytes);
    matches!(state, State::Complete { .. }) && there()
}

/// Turns a finished copy into a model.
fn publish(places: &Places, inspected: &Inspected, journal: &Journal) -> Result<ModelSummary, ImportError> {
    check_copy(places, inspected)?;
    let summary = inspected.summary(places.name.clone());
    let mut files = Vec::new();
    for file in &journal.files {
        let path = places.partial.join(&file.name);
        let (_, metadata) = regular_file::open(&path)?;
        let State::Complete { sha256 } = &file.state else {
            return Err(ImportError::CopyDiffers { path });
        };
        files.push(StoredFile {
            name: file.name.clone(),
            bytes: metadata.len(),
            sha256: sha256.clone(),
            mtime_ns: regular_file::mtime_ns(&metadata),
        });
    }
    Manifest::new(summary.clone(), inspected.shape.clone(), files).write(&places.partial)?;
    let renamed = places.rename(&places.partial, &places.model);
    renamed.map_err(|source| ImportError::write(&places.model, source))?;
    // Only now: a kill before the rename must find the journal, or all is copied again.
    match fs::remove_file(places.model.join(JOURNAL_NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "the journal of a finished import stays");
        }
        _ => {}
    }
    Ok(summary)
}

/// Reads the headers of the copy: what was checked is what is stored.
fn check_copy(places: &Places, inspected: &Inspected) -> Result<(), ImportError> {
    let entry = match (inspected.format, inspected.files.first()) {
        (ModelFormat::Gguf, Some(first)) => places.partial.join(&first.name),
        _ => places.partial.clone(),
    };
    let names = |of: &Inspected| of.files.iter().map(|file| file.name.clone()).collect::<Vec<_>>();
    let summary = |of: &Inspected| of.summary(places.name.clone());
    match inspect(&entry) {
        Ok(stored) if names(&stored) == names(inspected) && summary(&stored) == summary(inspected) => {
            return Ok(());
        }
        Ok(stored) => tracing::error!("the copy is {:?}", summary(&stored)),
        Err(error) => tracing::error!("the copy cannot be read: {}", in_words(&error)),
    }
    // The next run must not trust what this one took for complete.
    let journal = places.partial.join(JOURNAL_NAME);
    fs::remove_file(&journal).map_err(|source| ImportError::write(&journal, source))?;
    Err(ImportError::CopyDiffers { path: entry })
}

//! Deletes a model. It is renamed first, so that a kill leaves no half model.

use std::fs;
use std::io;
use std::path::Path;

use nabi_models::StoreError;

use crate::error::ImportError;
use crate::places::Places;

/// Deletes a model, and what an unfinished import or removal of it left.
pub(crate) fn remove(places: &Places) -> Result<(), ImportError> {
    let leftovers = finish_removal(places)?;
    let partial = delete(&places.partial)?;
    match places.rename(&places.model, &places.removed) {
        Ok(()) => finish_removal(places).map(drop),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if leftovers || partial {
                return Ok(());
            }
            Err(StoreError::Unknown { name: places.name.clone() }.into())
        }
        Err(source) => Err(ImportError::write(&places.model, source)),
    }
}

/// Deletes what a killed removal left. Says whether there was anything.
pub(crate) fn finish_removal(places: &Places) -> Result<bool, ImportError> {
    delete(&places.removed)
}

fn delete(folder: &Path) -> Result<bool, ImportError> {
    match fs::remove_dir_all(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(ImportError::write(folder, source)),
    }
}

//! A folder of this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;

use crate::{OpenError, StoreError};

/// Opens the folder, and creates it if it does not exist.
pub(crate) fn open(url: &str, folder: &Path) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let unusable = |source| OpenError::Folder { url: url.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(|error| unusable(error.into()))?;
    // The row that records the file is committed after the write, so the write must survive a power cut: fsync.
    let store = LocalFileSystem::new_with_prefix(folder).map_err(|error| unusable(error.into()))?.with_fsync(true);
    Ok(Arc::new(store))
}

pub(crate) fn must_exist(url: &str, folder: &Path) -> Result<(), OpenError> {
    match std::fs::read_dir(folder) {
        Ok(_) => Ok(()),
        Err(error) => Err(OpenError::Folder { url: url.to_owned(), source: error.into() }),
    }
}

/// Removes what earlier writers of this file left when they were killed; nothing else does. A writer that is still alive
/// has lost its job to this one: its rename fails, and it gets an error.
pub(crate) fn remove_unfinished(folder: &Path, name: &str) {
    for number in 1_u32.. {
        if std::fs::remove_file(folder.join(format!("{name}#{number}"))).is_err() {
            return;
        }
    }
}

/// Files that a writer started `age` ago or earlier and never renamed. `object_store` names them `<name>#<number>` and
/// does not list them.
pub(crate) fn unfinished(folder: &PathBuf, age: Duration) -> Result<Vec<String>, StoreError> {
    let of_folder = |error: std::io::Error| StoreError::Failed(error.into());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(of_folder)? {
        let entry = entry.map_err(of_folder)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_upload = name.rsplit_once('#').is_some_and(|(_, number)| number.parse::<u32>().is_ok());
        // A file that is gone by now was an upload in progress.
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let is_old = modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|elapsed| elapsed >= age));
        if is_upload && is_old {
            names.push(name);
        }
    }
    Ok(names)
}

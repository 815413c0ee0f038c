//! Files that an operator may change while the server runs.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// How often they are looked at: a renewed certificate or a revoked key has effect this soon.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What tells one state of a file from another: its time, size and inode. `None` while it is
/// not there, as it may be for a moment when it is replaced.
type State = Option<(SystemTime, u64, u64)>;

/// Some files, and how they were when somebody last looked.
pub(super) struct WatchedFiles {
    files: Mutex<Vec<(PathBuf, State)>>,
}

impl WatchedFiles {
    pub(super) fn new<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        let files = paths.into_iter().map(|path| (path.clone(), state(path)));
        Self {
            files: Mutex::new(files.collect()),
        }
    }

    /// Whether any of them is another than the last time. Looks at the disk.
    pub(super) fn have_changed(&self) -> bool {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        for (path, seen) in files.iter_mut() {
            let now = state(path);
            changed |= now.is_some() && now != *seen;
            *seen = now.or(*seen);
        }
        changed
    }
}

fn state(path: &PathBuf) -> State {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_replaced_or_written_is_noticed_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, "one").unwrap();
        let files = WatchedFiles::new([&path]);
        assert!(!files.have_changed());
        fs::write(&path, "three").unwrap();
        assert!(files.have_changed());
        assert!(!files.have_changed());
        fs::remove_file(&path).unwrap();
        assert!(!files.have_changed(), "somebody is about to replace it");
        let other = folder.path().join("other");
        fs::write(&other, "other").unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(files.have_changed());
    }
}

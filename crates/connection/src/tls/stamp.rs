//! Whether files have changed, as seen from outside.

use std::{fs, path::Path, time::SystemTime};

use super::TlsSettings;

/// What all files of the settings look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamps(Vec<Option<Stamp>>);

impl Stamps {
    pub(super) fn of(settings: &TlsSettings) -> Self {
        Self(settings.files().map(Stamp::of).collect())
    }
}

/// What one file looks like; another one after a symbolic link on the way to it was swapped.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    /// Device, number and time of change of the inode: a copy that keeps length and time is still another file.
    #[cfg(unix)]
    inode: (u64, u64, i64, i64),
}

impl Stamp {
    /// `None` where there is no file, or none that can be seen.
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            modified: metadata.modified().ok(),
            length: metadata.len(),
            #[cfg(unix)]
            inode: {
                use std::os::unix::fs::MetadataExt;
                (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
            },
        })
    }
}

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{self, Path, PathBuf},
};

/// A socket's file, known by more than its name.
#[derive(Debug)]
pub(super) struct SocketFile {
    /// Absolute: the working directory may be another one at the end.
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// The socket at `path`; `None` if what is there is none.
    pub(super) fn at(path: &Path) -> io::Result<Option<Self>> {
        // Not what a link points to: whoever placed a link there meant something by it.
        let metadata = fs::symlink_metadata(path)?;
        if !metadata.file_type().is_socket() {
            return Ok(None);
        }
        let (device, inode) = (metadata.dev(), metadata.ino());
        Ok(Some(Self { path: path::absolute(path)?, device, inode }))
    }

    /// Removes it, unless another has taken its place. It may be gone already.
    pub(super) fn remove(&self) -> io::Result<()> {
        let removed = Self::at(&self.path).and_then(|there| match there {
            Some(there) if (there.device, there.inode) == (self.device, self.inode) => fs::remove_file(&self.path),
            _ => Ok(()),
        });
        removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
    }
}

/// The file of a socket of ours, which goes with it.
#[derive(Debug)]
pub(super) struct OwnFile(SocketFile);

impl OwnFile {
    /// That of the socket which was just bound to `path`.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        SocketFile::at(path)?.map(Self).ok_or(io::ErrorKind::NotFound.into())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0.path
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        // Whoever listens there next replaces it.
        let _ = self.0.remove();
    }
}

//! Writing the whole resource to a path, complete or not at all.

mod disk;
mod target;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use self::disk::{Disk, RealDisk};
use self::target::{Existing, Target};
use super::BufferHandle;
use crate::core::lent::Found;
use crate::core::memory::Pieces;
use crate::error::Error;
use crate::store::threads::Spawner;

/// The most bytes that are written at a time. They are enough to make the way to a disk thread cheap, and few
/// enough to let the progress move while a slow source arrives.
const STEP: u64 = 256 * 1024;

impl BufferHandle {
    /// Loads the rest and writes the whole resource to `path`; returns its size in bytes.
    ///
    /// The file is complete or not there at all: bytes are written to a temporary file in the directory of
    /// `path` while the rest arrives, synced to disk, and then named `path`. Then the directory is synced
    /// too. If anything fails before that, or the future is dropped, `path` is left as it was and the
    /// temporary file is removed. A save of an endless stream does not return, and fills the disk.
    /// [`max_disk`](crate::Builder::max_disk) does not limit the file. Bytes that were discarded are fetched
    /// again where that is possible; otherwise the save fails with
    /// [`Discarded`](crate::ErrorKind::Discarded).
    ///
    /// A file that exists at `path` is replaced:
    /// - It keeps its permission bits, without set-user-ID and set-group-ID. It does not keep its owner,
    ///   access control lists or extended attributes. A read-only file is replaced too; only its directory
    ///   must be writable.
    /// - A symbolic link is followed, and the file that it leads to is replaced, or made if it does not
    ///   exist. The link stays.
    /// - Other hard links to the replaced file keep the old bytes.
    ///
    /// Use [`save_new`](Self::save_new) to replace nothing.
    ///
    /// # Temporary files
    ///
    /// On Linux, the temporary file has no name, so a process that is killed during a save leaves nothing
    /// behind. To replace a file, it has a name between two system calls, just before the rename. On other
    /// systems, on file systems without unnamed files (`O_TMPFILE`), such as FAT and NFS, and where
    /// `/proc` is not mounted, it is named `.streamspool-` and six characters from the start. A process that
    /// ends during the save may leave it there.
    ///
    /// # Errors
    ///
    /// [`Save`](crate::ErrorKind::Save) if the file can't be written. An empty path, a directory, a path in
    /// a directory that does not exist or can't be written to, and an existing `path` that is not a
    /// regular file are refused before anything is loaded. On Linux, so is a file that the system lets no program
    /// replace: a file of another user in a sticky directory such as `/tmp`, an immutable or append-only file,
    /// and a mount point, such as a single file that is mounted into a container. On other systems, such a file is
    /// refused only at the end, after everything was loaded. If the last step fails, syncing the directory, then
    /// `path` is complete, but may be lost in a crash of the system.
    ///
    /// Otherwise as [`read`](Self::read).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; see [the type](Self#cancel-safety). A write that is under way on a disk thread is
    /// finished first, then the temporary file is removed; only a rename that is under way is carried
    /// through, and `path` is the whole resource then.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("song.mp3");
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// assert_eq!(buffer.save(&path).await?, 10);
    /// assert_eq!(std::fs::read(&path)?, b"0123456789");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn save(&self, path: impl AsRef<Path> + Send) -> Result<u64, Error> {
        self.save_with(path, |_| {}).await
    }

    /// As [`save`](Self::save), and calls `on_written` with the number of bytes written so far, again and
    /// again.
    ///
    /// # Errors
    ///
    /// As [`save`](Self::save).
    ///
    /// # Cancel safety
    ///
    /// As [`save`](Self::save).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("song.mp3");
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// let mut last = 0;
    /// buffer.save_with(&path, |written| last = written).await?;
    /// assert_eq!(last, 10);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn save_with(
        &self,
        path: impl AsRef<Path> + Send,
        on_written: impl FnMut(u64) + Send,
    ) -> Result<u64, Error> {
        self.save_to(path.as_ref(), Existing::Replace, RealDisk, on_written).await
    }

    /// Loads the rest and writes the whole resource to a new file; returns its size in bytes.
    ///
    /// As [`save`](Self::save), but replaces nothing: a `path` that exists, be it a file, a directory or a
    /// symbolic link that leads nowhere, is refused and left as it is. If it exists at the start, it is refused
    /// before anything is loaded. If it was made since, it is refused at the end: the check and the naming are one
    /// step of the system. On Linux with unnamed files, no temporary name exists at any time.
    ///
    /// # Errors
    ///
    /// As [`save`](Self::save). If `path` exists, the kind of [`Error::io_error`] is
    /// [`AlreadyExists`](std::io::ErrorKind::AlreadyExists).
    ///
    /// # Cancel safety
    ///
    /// As [`save`](Self::save).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("song.mp3");
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// assert_eq!(buffer.save_new(&path).await?, 10);
    ///
    /// let error = buffer.save_new(&path).await.unwrap_err();
    /// let kind = error.io_error().map(std::io::Error::kind);
    /// assert_eq!(kind, Some(std::io::ErrorKind::AlreadyExists));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn save_new(&self, path: impl AsRef<Path> + Send) -> Result<u64, Error> {
        self.save_new_with(path, |_| {}).await
    }

    /// As [`save_new`](Self::save_new), and calls `on_written` with the number of bytes written so far,
    /// again and again.
    ///
    /// # Errors
    ///
    /// As [`save_new`](Self::save_new).
    ///
    /// # Cancel safety
    ///
    /// As [`save`](Self::save).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("song.mp3");
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// let mut last = 0;
    /// buffer.save_new_with(&path, |written| last = written).await?;
    /// assert_eq!(last, 10);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn save_new_with(
        &self,
        path: impl AsRef<Path> + Send,
        on_written: impl FnMut(u64) + Send,
    ) -> Result<u64, Error> {
        self.save_to(path.as_ref(), Existing::Refuse, RealDisk, on_written).await
    }

    async fn save_to(
        &self,
        path: &Path,
        existing: Existing,
        disk: impl Disk,
        mut on_written: impl FnMut(u64) + Send,
    ) -> Result<u64, Error> {
        let (path, spawner) = (path.to_path_buf(), self.lender.spawner().clone());
        let mut saving = Saving { disk, path, spawner, open: None, written: 0 };
        saving = on_thread(saving, move |saving| saving.begin(existing)).await?;
        loop {
            // The reply may hold fewer bytes than asked for; none means that the stream ends here.
            let pieces = match self.ask_exact(saving.written, STEP).await? {
                Found::Bytes(pieces) if pieces.len() == 0 => break,
                Found::Bytes(pieces) => pieces,
                Found::Lent(lent) => match self.wait_for_slice(lent).await? {
                    Some(bytes) => Pieces::One(bytes),
                    None => continue,
                },
            };
            let write =
                |saving: &mut Saving<_>| pieces.into_iter().try_for_each(|piece| saving.write_all(&piece));
            saving = on_thread(saving, write).await?;
            on_written(saving.written);
        }
        // A step of its own, so that a save that is dropped while the disk is busy with it does not go on
        // to name the file.
        saving = on_thread(saving, Saving::sync).await?;
        saving = on_thread(saving, Saving::publish).await?;
        Ok(saving.written)
    }
}

/// A save under way. Its steps block, so each runs on a disk thread.
struct Saving<D: Disk> {
    disk: D,
    /// The path as the caller wrote it, for messages.
    path: PathBuf,
    spawner: Spawner,
    /// From the first step to the last.
    open: Option<(D::Draft, Target)>,
    written: u64,
}

impl<D: Disk> Saving<D> {
    fn begin(&mut self, existing: Existing) -> io::Result<()> {
        let target = Target::new(&self.path, existing)?;
        let replaced = target.replaced()?;
        #[cfg(target_os = "linux")]
        if replaced.is_some() {
            target.refuse_protected()?;
        }
        let draft = self.disk.create(&target, replaced.as_ref())?;
        self.open = Some((draft, target));
        Ok(())
    }

    /// Not that of `std`, which does not tell at which byte it failed.
    fn write_all(&mut self, mut rest: &[u8]) -> io::Result<()> {
        let Some((draft, _)) = &mut self.open else { return Ok(()) };
        while !rest.is_empty() {
            match self.disk.write(draft, rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    self.written += taken as u64;
                    rest = rest.get(taken..).unwrap_or_default();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Brings the file to disk. If it were named before that, it could be empty after a crash.
    fn sync(&mut self) -> io::Result<()> {
        let Some((draft, target)) = &self.open else { return Ok(()) };
        // Look at the target again, because loading may have taken long.
        if let Some(permissions) = target.replaced()? {
            self.disk.set_permissions(draft, &permissions)?;
        }
        self.disk.sync(draft)
    }

    fn publish(&mut self) -> io::Result<()> {
        let Some((draft, target)) = self.open.take() else { return Ok(()) };
        self.disk.publish(draft, &target)?;
        match self.disk.sync_dir(target.dir()) {
            Err(error) if !cannot_sync_dir(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Whether this error means that a directory can't be synced at all here: it can't be opened (it may be
/// written but not read, or the system is Windows), or its file system has no such operation.
fn cannot_sync_dir(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidInput | ErrorKind::Unsupported)
}

impl<D: Disk> Drop for Saving<D> {
    /// Removing a large file takes long, so a disk thread does it.
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            drop(self.spawner.drop_later(open));
        }
    }
}

/// Runs one step on a disk thread.
async fn on_thread<D: Disk>(
    mut saving: Saving<D>,
    step: impl FnOnce(&mut Saving<D>) -> io::Result<()> + Send + 'static,
) -> Result<Saving<D>, Error> {
    let (path, spawner, offset) = (saving.path.clone(), saving.spawner.clone(), saving.written);
    let job = spawner.spawn(move || {
        let result = step(&mut saving);
        (saving, result)
    });
    match job.await {
        Ok((saving, Ok(()))) => Ok(saving),
        Ok((saving, Err(error))) => Err(Error::save(&path, saving.written, error)),
        Err(error) => Err(Error::save(&path, offset, error)),
    }
}

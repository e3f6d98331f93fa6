//! Writing the whole resource to a path, complete or not at all.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::BufferHandle;
use crate::core::memory::Pieces;
use crate::error::Error;
use crate::store::{no_file_in, threads};

/// How many bytes are written at a time, each time on a blocking thread: enough to make that cheap,
/// little enough that a bar moves while a slow source arrives.
const STEP: u64 = 256 * 1024;

impl BufferHandle {
    /// Loads the rest and writes the whole resource to `path`; returns its size in bytes.
    ///
    /// Complete or not at all: it is written to a temporary file beside `path`, brought to disk, and
    /// renamed, which replaces what was there. If anything fails, or the future is dropped, `path`
    /// is left as it was and the temporary file is removed. A directory that can't be written to is
    /// told at once, and bytes are written while the rest arrives.
    ///
    /// # Errors
    ///
    /// [`Save`](crate::ErrorKind::Save) if the file can't be written; otherwise as
    /// [`read`](Self::read).
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime: the file is written on its blocking threads.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; see [the type](Self#cancel-safety). A write that is under way on a blocking
    /// thread is finished first, then the temporary file is removed; only a rename that is under way
    /// is carried through, and `path` is the whole resource then.
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

    /// The same, telling again and again how many bytes have been written so far.
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
        mut on_written: impl FnMut(u64) + Send,
    ) -> Result<u64, Error> {
        let path = path.as_ref().to_path_buf();
        let mut saving = Saving { file: None, path, written: 0 };
        saving = on_thread(saving, Saving::begin).await?;
        loop {
            let pieces = self.ask_exact(saving.written, STEP).await?;
            if pieces.len() == 0 {
                return Ok(on_thread(saving, Saving::finish).await?.written);
            }
            saving = on_thread(saving, move |saving| saving.write(&pieces)).await?;
            on_written(saving.written);
        }
    }
}

struct Saving {
    /// From the first step to the last.
    file: Option<NamedTempFile>,
    path: PathBuf,
    written: u64,
}

impl Saving {
    fn begin(&mut self) -> io::Result<()> {
        self.file = Some(beside(&self.path)?);
        Ok(())
    }

    fn write(&mut self, pieces: &Pieces) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            for piece in pieces.as_slice() {
                file.as_file_mut().write_all(piece)?;
                self.written += piece.len() as u64;
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        if let Some(file) = self.file.take() {
            // Renamed before its bytes are on disk, it could be found empty after a crash.
            file.as_file().sync_all()?;
            file.persist(&self.path)?;
        }
        Ok(())
    }
}

/// A temporary file in the directory of `path`, so that a rename moves no bytes.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".streamspool-");
    #[cfg(unix)]
    {
        // A temporary file is for its owner alone; a saved one gets what the umask allows.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(dir).map_err(|error| no_file_in(dir, &error))
}

/// Runs one step on a thread that may block.
async fn on_thread(
    mut saving: Saving,
    step: impl FnOnce(&mut Saving) -> io::Result<()> + Send + 'static,
) -> Result<Saving, Error> {
    let (path, offset) = (saving.path.clone(), saving.written);
    let job = threads::spawn(move || {
        let result = step(&mut saving);
        (saving, result)
    });
    match job.await {
        Ok((saving, Ok(()))) => Ok(saving),
        Ok((saving, Err(error))) => Err(Error::save(&path, saving.written, error)),
        Err(error) => Err(Error::save(&path, offset, error)),
    }
}

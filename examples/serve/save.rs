//! Saves a resource to disk while clients read it.

use std::io::ErrorKind;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};
use streamspool::Error;
use tokio::task::AbortHandle;

use crate::http::{App, FromThePage};
use crate::report::explain;
use crate::resource::{Resource, Run};

/// The last number that is put before a name that is taken. Then the save fails.
const LAST_NUMBER: u32 = 999;

/// The progress of a save.
pub(crate) enum Saving {
    /// The path of the next save. A file that is made there before the save ends is not replaced.
    Idle {
        target: PathBuf,
    },
    Running {
        task: AbortHandle,
        target: PathBuf,
        written: u64,
    },
    Saved {
        target: PathBuf,
        path: PathBuf,
        size: u64,
    },
    Failed {
        target: PathBuf,
        error: String,
    },
}

impl Saving {
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Idle { target } => json!({ "state": "idle", "target": target }),
            Self::Running { target, written, .. } => {
                json!({ "state": "running", "target": target, "written": written })
            }
            Self::Saved { target, path, size } => {
                json!({ "state": "saved", "target": target, "path": path, "size": size })
            }
            Self::Failed { target, error } => json!({ "state": "failed", "target": target, "error": error }),
        }
    }
}

/// Starts to save, unless a save is running.
pub(crate) async fn start(
    State(app): State<App>,
    Path(name): Path<String>,
    _: FromThePage,
) -> Result<StatusCode, StatusCode> {
    let resource = app.find(&name)?;
    let run = resource.run();
    run.saving.send_if_modified(|saving| {
        if matches!(saving, Saving::Running { .. }) {
            return false;
        }
        let target = free_path(&resource.save_to, &run.name);
        let task = tokio::spawn(save(Arc::clone(&resource), Arc::clone(&run)));
        *saving = Saving::Running { task: task.abort_handle(), target, written: 0 };
        true
    });
    Ok(StatusCode::ACCEPTED)
}

async fn save(resource: Arc<Resource>, run: Arc<Run>) {
    let saved = save_to_free_name(&run, &resource.save_to).await;
    let target = free_path(&resource.save_to, &run.name);
    run.saving.send_replace(match saved {
        Ok((path, size)) => Saving::Saved { target, path: path.canonicalize().unwrap_or(path), size },
        Err(error) => Saving::Failed { target, error: explain(&error) },
    });
}

/// The names that a save tries in this order.
fn names(dir: &FilePath, name: &str) -> impl Iterator<Item = PathBuf> {
    let numbered = (2..=LAST_NUMBER).map(move |number| format!("{number}-{name}"));
    std::iter::once(name.to_owned()).chain(numbered).map(|name| dir.join(name))
}

/// The first path that nothing has now.
pub(crate) fn free_path(dir: &FilePath, name: &str) -> PathBuf {
    let free = names(dir, name).find(|path| path.symlink_metadata().is_err());
    free.unwrap_or_else(|| dir.join(name))
}

/// Saves to the first name that nothing has. `save_new` replaces nothing, so a name that is taken, at
/// the start or while the save runs, only means that the next one is tried.
async fn save_to_free_name(run: &Run, dir: &FilePath) -> Result<(PathBuf, u64), Error> {
    let tell = |so_far| {
        run.saving.send_modify(|saving| {
            if let Saving::Running { written, .. } = saving {
                *written = so_far;
            }
        });
    };
    let mut paths = names(dir, &run.name);
    let mut path = paths.next().unwrap_or_default();
    loop {
        let saved = run.buffer.save_new_with(&path, tell).await;
        match (&saved, paths.next()) {
            (Err(error), Some(next)) if exists_already(error) => path = next,
            _ => return saved.map(|size| (path, size)),
        }
    }
}

fn exists_already(error: &Error) -> bool {
    error.io_error().is_some_and(|cause| cause.kind() == ErrorKind::AlreadyExists)
}

/// Stops the save. Dropping its future is enough: no file remains, and no reader is affected.
pub(crate) async fn cancel(
    State(app): State<App>,
    Path(name): Path<String>,
    _: FromThePage,
) -> Result<StatusCode, StatusCode> {
    let resource = app.find(&name)?;
    resource.run().saving.send_if_modified(|saving| {
        let Saving::Running { task, .. } = saving else { return false };
        task.abort();
        *saving = Saving::Idle { target: free_path(&resource.save_to, &resource.name) };
        true
    });
    Ok(StatusCode::NO_CONTENT)
}

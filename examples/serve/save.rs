//! Saves a resource to disk while clients read it.

use std::io::ErrorKind;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use streamspool::Error;
use tokio::task::AbortHandle;

use crate::explain;
use crate::http::App;
use crate::resource::Resource;

/// The last number that is put before a name that is taken. Then the save fails.
const LAST_NUMBER: u32 = 999;

/// The progress of a save.
pub(crate) enum Saving {
    Idle,
    Running { task: AbortHandle, written: u64 },
    Saved { path: PathBuf, size: u64 },
    Failed(String),
}

impl Saving {
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Idle => json!({ "state": "idle" }),
            Self::Running { written, .. } => json!({ "state": "running", "written": written }),
            Self::Saved { path, size } => json!({ "state": "saved", "path": path, "size": size }),
            Self::Failed(error) => json!({ "state": "failed", "error": error }),
        }
    }
}

/// Starts to save, unless a save is running. A page of another site cannot start it: because of the header,
/// the browser first asks this server for permission, and the server does not grant it.
pub(crate) async fn start(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, StatusCode> {
    if !headers.contains_key("x-streamspool") {
        return Err(StatusCode::FORBIDDEN);
    }
    let resource = app.find(&name)?;
    resource.saving.send_if_modified(|saving| {
        if matches!(saving, Saving::Running { .. }) {
            return false;
        }
        let task = tokio::spawn(save(Arc::clone(&resource), Arc::clone(&app.save_to)));
        *saving = Saving::Running { task: task.abort_handle(), written: 0 };
        true
    });
    Ok(StatusCode::ACCEPTED)
}

async fn save(resource: Arc<Resource>, dir: Arc<PathBuf>) {
    let saved = save_to_free_name(&resource, &dir).await;
    resource.saving.send_replace(match saved {
        Ok((path, size)) => Saving::Saved { path: path.canonicalize().unwrap_or(path), size },
        Err(error) => Saving::Failed(explain(&error)),
    });
}

/// Saves to the first name that nothing has. `save_new` replaces nothing, so a name that is taken, at
/// the start or while the save runs, only means that the next one is tried.
async fn save_to_free_name(resource: &Resource, dir: &FilePath) -> Result<(PathBuf, u64), Error> {
    let tell = |so_far| {
        resource.saving.send_modify(|saving| {
            if let Saving::Running { written, .. } = saving {
                *written = so_far;
            }
        });
    };
    let mut path = dir.join(&resource.name);
    let mut number = 1;
    loop {
        match resource.buffer.save_new_with(&path, tell).await {
            Err(error) if number < LAST_NUMBER && exists_already(&error) => number += 1,
            result => return result.map(|size| (path, size)),
        }
        path = dir.join(format!("{number}-{}", resource.name));
    }
}

fn exists_already(error: &Error) -> bool {
    error.io_error().is_some_and(|cause| cause.kind() == ErrorKind::AlreadyExists)
}

/// Stops the save. Dropping its future is enough: no file remains, and no reader is affected.
pub(crate) async fn cancel(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<StatusCode, StatusCode> {
    let resource = app.find(&name)?;
    resource.saving.send_if_modified(|saving| {
        let Saving::Running { task, .. } = saving else { return false };
        task.abort();
        *saving = Saving::Idle;
        true
    });
    Ok(StatusCode::NO_CONTENT)
}

//! Saves a resource to disk while clients read it.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use crate::explain;
use crate::http::App;
use crate::resource::Resource;

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
        let task = tokio::spawn(save(Arc::clone(&resource), free_path(&app.save_to, &resource.name)));
        *saving = Saving::Running { task: task.abort_handle(), written: 0 };
        true
    });
    Ok(StatusCode::ACCEPTED)
}

async fn save(resource: Arc<Resource>, path: PathBuf) {
    let tell = |so_far| {
        resource.saving.send_modify(|saving| {
            if let Saving::Running { written, .. } = saving {
                *written = so_far;
            }
        });
    };
    let saved = resource.buffer.save_with(&path, tell).await;
    resource.saving.send_replace(match saved {
        Ok(size) => Saving::Saved { path: path.canonicalize().unwrap_or(path), size },
        Err(error) => Saving::Failed(explain(&error)),
    });
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

/// An unused path, because `save` would replace an existing file.
fn free_path(dir: &FilePath, name: &str) -> PathBuf {
    let numbered = (2..1000).map(|number| dir.join(format!("{number}-{name}")));
    let mut paths = std::iter::once(dir.join(name)).chain(numbered);
    paths.find(|path| !path.exists()).unwrap_or_else(|| dir.join(name))
}

//! Server-sent events for the page: the buffer's progress and its readers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::Stream;
use futures::stream::unfold;
use serde_json::{Value, json};
use streamspool::{ProgressUpdates, State as BufferState};
use tokio::time::{sleep, timeout};

use crate::explain;
use crate::http::App;
use crate::resource::Resource;

/// The shortest time between two events.
const BEAT: Duration = Duration::from_millis(80);

/// How often the readers are checked. Unlike the progress, they send no notification.
const LOOK: Duration = Duration::from_millis(160);

struct Watching {
    resource: Arc<Resource>,
    progress: ProgressUpdates,
    told: Option<String>,
}

pub(crate) async fn events(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, StatusCode> {
    let resource = app.find(&name)?;
    let progress = resource.buffer.subscribe();
    let start = Watching { resource, progress, told: None };
    let stream = unfold(start, async |mut watching| {
        loop {
            let now = watching.snapshot();
            if watching.told.as_ref() != Some(&now) {
                if watching.told.is_some() {
                    sleep(BEAT).await;
                }
                let now = watching.snapshot();
                let event = Event::default().data(&now);
                watching.told = Some(now);
                return Some((Ok(event), watching));
            }
            if let Ok(Err(_gone)) = timeout(LOOK, watching.progress.changed()).await {
                return None;
            }
        }
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

impl Watching {
    fn snapshot(&mut self) -> String {
        let progress = self.progress.latest();
        let resource = &self.resource;
        let state = match progress.state {
            BufferState::Waiting => "waiting",
            BufferState::Pulling => "pulling",
            BufferState::Complete => "complete",
            BufferState::Retrying { .. } => "retrying",
            _ => "failed",
        };
        let error = resource.buffer.error();
        let retry = match progress.state {
            BufferState::Retrying { attempt, delay } => json!({
                "attempt": attempt,
                "delay_ms": u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
                // Without the error of the buffer itself, which only says where the source failed.
                "cause": error.as_ref().and_then(std::error::Error::source).map(explain),
            }),
            _ => Value::Null,
        };
        let store_error = progress.store_failing.then(|| resource.buffer.store_error()).flatten();
        json!({
            "loaded": progress.loaded,
            "size": progress.size,
            "resident": progress.resident,
            "spilled": progress.spilled,
            "state": state,
            "error": error.map(|error| explain(&error)),
            "retry": retry,
            "store_failing": progress.store_failing,
            "store_error": store_error.map(|error| explain(&error)),
            "type": resource.known_content_type(),
            "readers": resource.readers.to_json(),
            "saving": resource.saving.borrow().to_json(),
        })
        .to_string()
    }
}

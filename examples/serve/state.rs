//! The state of a resource for the page, as JSON: once, or as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse, Sse};
use futures::Stream;
use futures::stream::unfold;
use serde_json::{Value, json};
use std::ops::Range;
use streamspool::{Progress, ProgressUpdates, State as BufferState};
use tokio::time::{sleep, timeout};

use crate::http::App;
use crate::report::explain;
use crate::resource::{Resource, Run};
use crate::trouble;

/// The shortest time between two events.
const BEAT: Duration = Duration::from_millis(80);

/// How often the readers are checked. Unlike the progress, they send no notification.
const LOOK: Duration = Duration::from_millis(160);

/// How soon the page connects again after the end of the events, in case the resource has started over.
const AGAIN: Duration = Duration::from_millis(500);

struct Watching {
    resource: Arc<Resource>,
    run: Arc<Run>,
    progress: ProgressUpdates,
    told: Option<String>,
}

/// The state now.
pub(crate) async fn state(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<impl IntoResponse, StatusCode> {
    let resource = app.find(&name)?;
    let run = resource.run();
    let now = snapshot(&resource, &run, run.buffer.progress()).await;
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], now))
}

/// The state at each change. The events end when the resource starts over.
pub(crate) async fn events(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, StatusCode> {
    let resource = app.find(&name)?;
    let run = resource.run();
    let progress = run.buffer.subscribe();
    let start = Watching { resource, run, progress, told: None };
    let stream = unfold(start, async |mut watching| {
        loop {
            // A new version is read by another buffer.
            if !Arc::ptr_eq(&watching.run, &watching.resource.run()) {
                return None;
            }
            let now = watching.snapshot().await;
            if watching.told.as_ref() != Some(&now) {
                if watching.told.is_some() {
                    sleep(BEAT).await;
                }
                let now = watching.snapshot().await;
                let event = Event::default().retry(AGAIN).data(&now);
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
    async fn snapshot(&mut self) -> String {
        snapshot(&self.resource, &self.run, self.progress.latest()).await
    }
}

/// The loaded ranges of each kind, sorted and disjoint. Each range is `[start, end]`, and its end is exclusive.
async fn ranges(run: &Run, progress: Progress) -> Value {
    // Fails only if the resource starts over, and then another buffer is shown.
    let loaded = run.buffer.ranges().await.unwrap_or_default();
    let list = |ranges: &[Range<u64>]| ranges.iter().map(|it| json!([it.start, it.end])).collect::<Value>();
    let discarded = if progress.start > 0 { json!([[0, progress.start]]) } else { json!([]) };
    json!({ "resident": list(&loaded.resident), "spilled": list(&loaded.spilled), "discarded": discarded })
}

async fn snapshot(resource: &Resource, run: &Run, progress: Progress) -> String {
    let state = match progress.state {
        BufferState::Waiting => "waiting",
        BufferState::Pulling => "pulling",
        BufferState::Complete => "complete",
        BufferState::Ended => "ended",
        BufferState::Retrying { .. } => "retrying",
        _ => "failed",
    };
    let error = run.buffer.error();
    let retry = match progress.state {
        BufferState::Retrying { attempt, delay } => json!({
            "attempt": attempt,
            "delay_ms": u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            "what": error.as_ref().map(|error| trouble::what(error, &resource.origin)),
            // Without the error of the buffer itself, which only says where the source failed.
            "cause": error.as_ref().and_then(std::error::Error::source).map(explain),
        }),
        _ => Value::Null,
    };
    let store_error = progress.store_failing.then(|| run.buffer.store_error()).flatten();
    json!({
        "run": run.etag,
        "loaded": progress.loaded,
        "size": progress.size,
        "resident": progress.resident,
        "spilled": progress.spilled,
        "ranges": ranges(run, progress).await,
        // The first byte that is missing.
        "frontier": progress.frontier,
        "streams": progress.streams,
        // The offset that each stream has reached.
        "positions": run.streams.positions(),
        "state": state,
        "error": error.as_ref().map(|error| explain(error)),
        "trouble": error.filter(|_| state == "failed").map(|error| trouble::to_json(&error, &resource.origin)),
        "retry": retry,
        "store_failing": progress.store_failing,
        "store_error": store_error.map(|error| explain(&error)),
        "type": run.known_content_type(),
        "pace": resource.pace.get(),
        "readers": run.readers.to_json(),
        "saving": run.saving.borrow().to_json(),
    })
    .to_string()
}

//! The list of current readers, for the page. The server keeps it, because the library does not know the names of
//! its readers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long a reader stays in the list after it has left. Many reads take less than a millisecond.
const SHOWN_AFTER: Duration = Duration::from_secs(5);

/// The most readers in the list that have left.
const MOST_LEFT: usize = 8;

/// The readers of one resource.
#[derive(Default)]
pub(crate) struct Readers {
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    last: u64,
    readers: BTreeMap<u64, Reader>,
}

struct Reader {
    label: String,
    start: u64,
    /// Exclusive. `None` if the range goes to the end of a stream of unknown size.
    end: Option<u64>,
    position: u64,
    waiting_since: Option<Instant>,
    waited: Duration,
    left: Option<Instant>,
}

/// The entry of one reader. Dropping it marks the reader as gone.
pub(crate) struct Ticket {
    id: u64,
    readers: Arc<Readers>,
}

impl Readers {
    pub(crate) fn enter(self: &Arc<Self>, label: &str, start: u64, end: Option<u64>) -> Ticket {
        let (label, waited) = (label.to_owned(), Duration::ZERO);
        let reader = Reader { label, start, end, position: start, waiting_since: None, waited, left: None };
        let id = self.with(|list| {
            list.last += 1;
            list.readers.insert(list.last, reader);
            list.last
        });
        Ticket { id, readers: Arc::clone(self) }
    }

    /// Whether a reader has not left.
    pub(crate) fn are_reading(&self) -> bool {
        self.with(|list| list.readers.values().any(|reader| reader.left.is_none()))
    }

    /// All readers and those that have just left, for the page.
    pub(crate) fn to_json(&self) -> Value {
        let one = |(id, reader): (&u64, &Reader)| {
            let waiting = reader.waiting_since.map(|since| since.elapsed()).unwrap_or_default();
            json!({
                "id": id,
                "label": reader.label,
                "start": reader.start,
                "end": reader.end,
                "position": reader.position,
                "waiting_ms": millis(waiting),
                "waited_ms": millis(reader.waited + waiting),
                "gone": reader.left.is_some(),
            })
        };
        self.with(|list| {
            list.forget(SHOWN_AFTER);
            list.readers.iter().map(one).collect()
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut List) -> T) -> T {
        work(&mut self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl List {
    /// Removes readers that have left some time ago, or before many others.
    fn forget(&mut self, after: Duration) {
        self.readers.retain(|_, reader| reader.left.is_none_or(|left| left.elapsed() < after));
        let left = self.readers.iter().filter(|(_, reader)| reader.left.is_some()).map(|(id, _)| *id);
        let left: Vec<u64> = left.collect();
        for id in left.iter().rev().skip(MOST_LEFT) {
            self.readers.remove(id);
        }
    }
}

impl Ticket {
    /// Updates the reader's position, and whether it waits there.
    pub(crate) fn is_at(&self, position: u64, waits: bool) {
        self.readers.with(|list| {
            let Some(reader) = list.readers.get_mut(&self.id) else { return };
            reader.position = position;
            if waits {
                reader.waiting_since.get_or_insert_with(Instant::now);
            } else if let Some(since) = reader.waiting_since.take() {
                reader.waited += since.elapsed();
            }
        });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.readers.with(|list| {
            if let Some(reader) = list.readers.get_mut(&self.id) {
                let now = Instant::now();
                reader.waited += reader.waiting_since.take().map(|since| now - since).unwrap_or_default();
                reader.left = Some(now);
            }
            // Also while no page is open.
            list.forget(SHOWN_AFTER);
        });
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

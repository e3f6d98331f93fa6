//! What must hold after each step of a source at random: no byte of two versions, no opening without need, limits that
//! hold, and an answer that is right for each request.

use super::*;
use crate::progress::Ranges;

impl Run {
    /// Whether a request waits for a byte at `offset` or after it, of these loaded bytes. `answered` have an
    /// answer by now.
    fn waits_beyond(&self, offset: u64, loaded: &Ranges, answered: &[usize]) -> bool {
        let Ranges { resident, spilled: stored } = loaded;
        let is_loaded = |range: &Range<u64>| {
            let inside = resident
                .iter()
                .chain(stored)
                .map(|have| have.end.min(range.end).saturating_sub(have.start.max(range.start)));
            inside.sum::<u64>() == range.end - range.start
        };
        let waits = |asked: &Asked| {
            let Range { start, end } = asked.range;
            let is_exact = asked.what == What::Load || asked.want == Want::Exact;
            let end = if is_exact { end } else { end.min(start + 1) };
            let rest = start.max(offset)..end;
            asked.what != What::Other
                && !answered.contains(&asked.ask.id)
                && !rest.is_empty()
                && !is_loaded(&rest)
        };
        self.asked.iter().any(waits)
    }

    /// Whether the resource may have no byte at `offset` or after it, by what its source has shown.
    fn is_end(&self, offset: u64) -> bool {
        let arrived = self.world.arrived_end();
        let is_after = |end: &u64| *end >= arrived && *end <= offset;
        self.world.published.size.is_some_and(|size| size <= offset) || self.ends.iter().any(is_after)
    }

    /// Whether the core wants bytes of this stream. It must not fetch bytes again that no request waits for.
    pub(super) fn wants(&mut self, stream: usize) -> bool {
        let wants = self.world.wants_of(stream);
        if let Some(at) = self.world.at_of(stream).filter(|_| wants) {
            // A stream may start again before the bytes that were discarded for good. It skips them.
            let next = self.world.first_missing(at.max(self.world.published.start));
            let is_new = !self.world.has_arrived(next);
            let is_asked = self.waits_beyond(next, &self.world.ranges(), &[]);
            assert!(is_new || is_asked, "the byte at {next} is fetched again without a waiting request");
        }
        wants
    }

    pub(super) fn check(&mut self) {
        if self.world.openings() > self.openings {
            self.openings = self.world.openings();
            // Later in the same step the request may have been answered, because bytes were discarded.
            let (answered, loaded) = &self.world.source.at_opening;
            let is_asked = self.waits_beyond(0, loaded, answered);
            let loads_all = self.read_ahead == u64::MAX;
            let mut next = self.world.last_opening().offset.max(self.world.published.start);
            let all = || loaded.resident.iter().chain(&loaded.spilled);
            while let Some(range) = all().find(|range| range.contains(&next)) {
                next = range.end;
            }
            let is_new = !self.world.has_arrived(next);
            // Rule 26: the read-ahead of a reader goes on before the reader waits.
            let is_ahead = self.world.is_ahead(next);
            assert!(loads_all || is_asked || is_ahead, "opened at {next} without need");
            assert!(is_new || is_asked, "opened at {next} to fetch bytes again without a waiting request");
        }
        self.most_open = self.most_open.max(self.world.published.streams);
        self.check_ranges();
        while !self.world.fresh.is_empty() {
            let (id, answer) = self.world.next_answer();
            let Some(at) = self.asked.iter().position(|asked| asked.ask.id == id) else {
                // Its caller has left.
                continue;
            };
            let asked = self.asked.swap_remove(at);
            let Range { start, end } = asked.range;
            match answer {
                Ok(bytes) if asked.what != What::Read => assert!(bytes.is_empty()),
                Ok(bytes) => {
                    // A part of an exact read, or all of it; without bytes it is at the end.
                    assert!(!bytes.is_empty() || start == end || self.is_end(start), "no bytes at {start}");
                    assert!(bytes.len() as u64 <= end - start);
                    let kept = self.server.kept.unwrap_or(0);
                    let expected = bytes_of(kept, start.min(SOURCE.len() as u64), start + bytes.len() as u64);
                    assert!(bytes == expected, "wrong bytes at {start}");
                }
                Err(error) if asked.what == What::Other => assert_eq!(error.kind(), ErrorKind::Spill),
                Err(error) => {
                    assert!(start < end, "{error} for no bytes");
                    match error.kind() {
                        ErrorKind::Truncated | ErrorKind::Source if !self.is_final() => {
                            let missing = self.world.first_missing(start);
                            self.failures.failed(&self.world, missing);
                        }
                        ErrorKind::Changed | ErrorKind::Truncated | ErrorKind::Source | ErrorKind::Spill => {}
                        ErrorKind::Discarded => assert!(error.kept_from().is_some_and(|kept| kept > start)),
                        ErrorKind::InvalidInput => assert!(asked.what == What::Load, "{error}"),
                        _ => panic!("{error}"),
                    }
                }
            }
        }
        self.failures.check(&self.world);
    }

    /// The ranges are those that progress says, and memory is within its limit.
    fn check_ranges(&mut self) {
        let Ranges { resident, spilled: stored } = self.world.ranges();
        let progress = self.world.progress();
        for (ranges, bytes) in [(&resident, progress.resident), (&stored, progress.spilled)] {
            assert_eq!(ranges.iter().map(|range| range.end - range.start).sum::<u64>(), bytes);
            assert!(ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.end < b.start), "{ranges:?}");
        }
        assert!(self.world.allocated() as u64 >= progress.resident);
        // A new limit holds once it is applied, and a failed write delays that.
        self.adjusting.retain(|ask| self.world.is_kept(ask));
        if !self.adjusting.is_empty() || progress.store_failing {
            return;
        }
        let held = self.world.allocated() + self.world.spare();
        if held <= self.max_memory.saturating_add(SLACK) {
            self.met_memory = self.max_memory;
        }
        assert!(held <= self.met_memory.saturating_add(SLACK), "{held} bytes of memory");
        let held = self.world.disk.places.len() as u64 * BLOCKS;
        if held <= self.max_disk {
            self.met_disk = self.max_disk;
        }
        assert!(self.world.disk.is_discarding() || held <= self.met_disk, "the store holds {held} bytes");
    }

    /// All bytes that are loaded now are those of one version.
    pub(super) fn read_all(&mut self) {
        self.world.keeps_slices = false;
        let Ranges { resident, spilled: stored } = self.world.ranges();
        for range in resident.into_iter().chain(stored) {
            let mut at = range.start;
            while at < range.end {
                let len = range.end - at;
                let ask = self.world.ask_once(Read { offset: at, len, want: Want::Exact });
                let is_answered = !self.world.is_waiting(&ask) && self.world.answered(&ask).is_ok();
                if self.world.disk.is_limited && !is_answered {
                    // It was discarded since the ranges were taken.
                    break;
                }
                let bytes = self.world.take_bytes(&ask);
                let end = at + bytes.len() as u64;
                assert!(
                    at < end && bytes == bytes_of(self.server.kept.unwrap(), at, end),
                    "wrong bytes at {at}"
                );
                at = end;
            }
        }
    }
}

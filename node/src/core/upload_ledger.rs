//! [`UploadLedger`]: what was sent to whom, and how fast: what a person is shown of the uploads.
//!
//! One entry a peer and content; the small files that a peer takes together are one entry. The ledger is for showing only:
//! nothing is decided by it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use potluck_common::content_id::ContentId;
use potluck_common::peer::PeerKey;

/// Entries that are kept: some screens. The one that rested longest makes room.
const MAX_ENTRIES: usize = 256;
/// An entry to which nothing was sent for so long is shown no more.
const SHOWN_FOR: Duration = Duration::from_secs(600);

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UploadKey {
    /// Who takes it.
    pub peer: PeerKey,
    /// Which content; `None`: many small files, several in an answer.
    pub content_id: Option<ContentId>,
}

/// What was sent to one peer of one content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Bytes that the system took.
    pub bytes: u64,
    /// Bytes per second, over the last measurement.
    pub rate: u64,
    /// Requests that are served now.
    pub active: u32,
    /// When something was last asked for or sent.
    pub last: Instant,
    /// Bytes at the last measurement.
    measured: u64,
}

/// What was sent to whom.
///
/// What happened: [`begin`](Self::begin), [`end`](Self::end). Every second: [`measure`](Self::measure). To show:
/// [`entries`](Self::entries).
#[derive(Debug, Default)]
pub struct UploadLedger {
    entries: HashMap<UploadKey, Upload>,
    measured_at: Option<Instant>,
}

impl UploadLedger {
    /// A request begins to be served.
    pub fn begin(&mut self, key: UploadKey, now: Instant) {
        if self.entries.len() >= MAX_ENTRIES && !self.entries.contains_key(&key) {
            self.make_room();
        }
        let entry = self.entries.entry(key).or_insert(Upload { bytes: 0, rate: 0, active: 0, last: now, measured: 0 });
        entry.active += 1;
        entry.last = now;
    }

    /// A request is over; so many bytes were sent for it.
    pub fn end(&mut self, key: UploadKey, bytes: u64, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.active = entry.active.saturating_sub(1);
            entry.bytes += bytes;
            entry.last = now;
        }
    }

    /// Measures the rates, and forgets what has rested long.
    pub fn measure(&mut self, now: Instant) {
        let seconds = self.measured_at.replace(now).map_or(0.0, |then| now.saturating_duration_since(then).as_secs_f64());
        self.entries.retain(|_, entry| entry.active > 0 || now.saturating_duration_since(entry.last) < SHOWN_FOR);
        for entry in self.entries.values_mut() {
            let moved = entry.bytes - std::mem::replace(&mut entry.measured, entry.bytes);
            entry.rate = if seconds > 0.0 { (moved as f64 / seconds) as u64 } else { 0 };
        }
    }

    /// All entries, those that move first, then the latest.
    #[must_use]
    pub fn entries(&self) -> Vec<(UploadKey, Upload)> {
        let mut all: Vec<_> = self.entries.iter().map(|(key, entry)| (*key, *entry)).collect();
        all.sort_by(|(one_key, one), (other_key, other)| {
            let order = (other.rate > 0, other.last).cmp(&(one.rate > 0, one.last));
            order.then_with(|| one_key.peer.cmp(&other_key.peer)).then_with(|| one_key.content_id.cmp(&other_key.content_id))
        });
        all
    }

    fn make_room(&mut self) {
        let oldest = self.entries.iter().min_by_key(|(_, entry)| (entry.active > 0, entry.last)).map(|(key, _)| *key);
        if let Some(key) = oldest {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{beginning, peer};

    fn key(n: u32) -> UploadKey {
        UploadKey { peer: peer(n), content_id: Some(ContentId::of(&n.to_be_bytes())) }
    }

    #[test]
    fn an_entry_tells_bytes_and_rate_and_goes_when_it_rested() {
        let (mut ledger, start) = (UploadLedger::default(), beginning());
        let after = |seconds| start + Duration::from_secs(seconds);
        ledger.measure(start);
        ledger.begin(key(1), start);
        ledger.end(key(1), 3000, after(1));
        ledger.begin(key(2), after(2));
        ledger.measure(after(2));
        let entries = ledger.entries();
        assert_eq!((entries[0].0, entries[0].1.bytes, entries[0].1.rate, entries[0].1.active), (key(1), 3000, 1500, 0));
        assert_eq!((entries[1].0, entries[1].1.active), (key(2), 1));
        ledger.measure(after(1000));
        assert_eq!(ledger.entries().len(), 1, "what is being served stays");
    }

    #[test]
    fn the_ledger_is_bounded_and_keeps_what_moves() {
        let (mut ledger, start) = (UploadLedger::default(), beginning());
        ledger.begin(key(0), start);
        for n in 1..MAX_ENTRIES as u32 {
            ledger.begin(key(n), start + Duration::from_secs(u64::from(n)));
            ledger.end(key(n), 1, start + Duration::from_secs(u64::from(n)));
        }
        let one_more = UploadKey { content_id: None, ..key(1) };
        ledger.begin(one_more, start + Duration::from_secs(1000));
        let entries = ledger.entries();
        assert_eq!(entries.len(), MAX_ENTRIES);
        assert!(entries.iter().any(|(known, _)| *known == key(0)) && entries.iter().any(|(known, _)| *known == one_more));
    }
}

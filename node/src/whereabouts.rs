//! Where the contents are that searches found lately: who downloads one of them need not ask for its sources first, which
//! is one round trip to a tracker less.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use potluck_common::content_id::ContentId;

use crate::asking::Found;

/// Most contents that are remembered: those of the last searches.
const MAX_CONTENTS: usize = 64;
/// For how long: peers come and go. A download asks again as soon as it has begun, so this is only about its first request.
const FRESH: Duration = Duration::from_secs(60);

/// What was found out lately. Never locked across an await.
#[derive(Debug, Default)]
pub(crate) struct Whereabouts(Mutex<VecDeque<(Instant, ContentId, Found)>>);

impl Whereabouts {
    /// Remembers what was found out now, and forgets the oldest beyond the bound.
    pub(crate) fn remember(&self, found: HashMap<ContentId, Found>, now: Instant) {
        let mut known = self.lock();
        known.retain(|(_, id, _)| !found.contains_key(id));
        known.extend(found.into_iter().filter(|(_, found)| !found.peers.is_empty()).map(|(id, found)| (now, id, found)));
        let surplus = known.len().saturating_sub(MAX_CONTENTS);
        known.drain(..surplus);
    }

    /// Where a content is, if that was found out lately.
    pub(crate) fn recall(&self, id: ContentId, now: Instant) -> Option<Found> {
        let is_it = |(at, known, _): &&(Instant, ContentId, Found)| *known == id && now.saturating_duration_since(*at) < FRESH;
        self.lock().iter().find(is_it).map(|(_, _, found)| found.clone())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Instant, ContentId, Found)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;

    fn at(size: u64) -> Found {
        Found { size: Some(size), path: None, peers: vec![libp2p::PeerId::random()] }
    }

    #[test]
    fn what_was_found_is_known_for_a_minute_and_the_newest_word_counts() {
        let (whereabouts, id, start) = (Whereabouts::default(), ContentId::of(b"x"), now());
        whereabouts.remember([(id, at(1))].into(), start);
        whereabouts.remember([(id, at(2)), (ContentId::of(b"nobody has it"), Found::default())].into(), start);
        assert_eq!(whereabouts.recall(id, start + FRESH / 2).and_then(|found| found.size), Some(2));
        assert!(whereabouts.recall(id, start + FRESH).is_none());
        assert!(whereabouts.recall(ContentId::of(b"nobody has it"), start).is_none());
    }

    #[test]
    fn only_the_last_contents_are_remembered() {
        let (whereabouts, start) = (Whereabouts::default(), now());
        let ids: Vec<ContentId> = (0..=MAX_CONTENTS).map(|number| ContentId::of(&number.to_le_bytes())).collect();
        for id in &ids {
            whereabouts.remember([(*id, at(1))].into(), start);
        }
        assert!(whereabouts.recall(ids[0], start).is_none());
        assert!(ids[1..].iter().all(|id| whereabouts.recall(*id, start).is_some()));
    }
}

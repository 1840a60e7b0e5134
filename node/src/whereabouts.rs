//! Where the contents are that searches found lately: who downloads one of them need not ask for its sources first, which
//! is one round trip to a tracker less.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use potluck_common::content_id::ContentId;
use tokio::sync::watch;

use crate::asking::Found;

/// Most contents that are remembered: those of the last searches.
const MAX_CONTENTS: usize = 64;
/// For how long: peers come and go. A download asks again as soon as it has begun, so this is only about its first request.
const FRESH: Duration = Duration::from_secs(60);

/// What was found out lately, and is being found out. Never locked across an await.
#[derive(Debug, Default)]
pub(crate) struct Whereabouts {
    known: Mutex<VecDeque<(Instant, ContentId, Found)>>,
    /// What parties are being asked about; a few contents for each search that is just over.
    asked: Mutex<Vec<(ContentId, watch::Receiver<()>)>>,
}

impl Whereabouts {
    /// These contents are being asked about, until the sender that this gives back is dropped.
    pub(crate) fn expect(&self, ids: &[ContentId]) -> watch::Sender<()> {
        let (sender, receiver) = watch::channel(());
        let mut asked = lock(&self.asked);
        asked.retain(|(_, answer)| answer.has_changed().is_ok());
        asked.extend(ids.iter().map(|id| (*id, receiver.clone())));
        sender
    }

    /// Waits for what is being found out about a content, if it is.
    pub(crate) async fn await_expected(&self, id: ContentId) {
        let answer = lock(&self.asked).iter().find(|(asked, _)| *asked == id).map(|(_, answer)| answer.clone());
        if let Some(mut answer) = answer {
            let _ = answer.changed().await; // its end is what is waited for
        }
    }

    /// Remembers what was found out now, and forgets the oldest beyond the bound.
    pub(crate) fn remember(&self, found: HashMap<ContentId, Found>, now: Instant) {
        let mut known = lock(&self.known);
        known.retain(|(_, id, _)| !found.contains_key(id));
        known.extend(found.into_iter().filter(|(_, found)| !found.peers.is_empty()).map(|(id, found)| (now, id, found)));
        let surplus = known.len().saturating_sub(MAX_CONTENTS);
        known.drain(..surplus);
    }

    /// Where a content is, if that was found out lately.
    pub(crate) fn recall(&self, id: ContentId, now: Instant) -> Option<Found> {
        let is_it = |(at, known, _): &&(Instant, ContentId, Found)| *known == id && now.saturating_duration_since(*at) < FRESH;
        lock(&self.known).iter().find(is_it).map(|(_, _, found)| found.clone())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[tokio::test]
    async fn who_needs_what_is_being_asked_waits_for_that_answer() {
        let (whereabouts, id) = (Whereabouts::default(), ContentId::of(b"x"));
        whereabouts.await_expected(id).await; // nobody asks
        let asking = whereabouts.expect(&[id]);
        let waiting = whereabouts.await_expected(id);
        let mut waiting = std::pin::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        whereabouts.remember([(id, at(1))].into(), now());
        drop(asking);
        waiting.await;
        assert!(whereabouts.recall(id, now()).is_some());
        whereabouts.await_expected(id).await;
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

//! [`Rescans`]: which share is listed again, and when, after the disk said that something changed in it.
//!
//! A change seldom comes alone: a share is listed when it has been quiet for a moment, or when it has been restless for a
//! while; and listing takes no more than a part of the time, however large the share and however busy.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long nothing must change before a share is listed: an album that is being copied changes all the time.
const QUIET: Duration = Duration::from_millis(400);
/// After this it is listed all the same.
const RESTLESS: Duration = Duration::from_secs(3);
/// Rest after a listing, in times of what it took: listing takes a sixth of the time at most.
const REST: u32 = 5;

/// Decides when shares are listed again.
///
/// What happened: [`handle_change`](Self::handle_change), [`handle_listed`](Self::handle_listed). What to do next:
/// [`poll`](Self::poll), again at [`poll_timeout`](Self::poll_timeout).
#[derive(Debug, Default)]
pub struct Rescans {
    /// Shares in which something changed: when first, when last.
    changed: BTreeMap<String, (Instant, Instant)>,
    /// Until when a share is left alone.
    resting: BTreeMap<String, Instant>,
}

impl Rescans {
    /// Something changed in a share.
    pub fn handle_change(&mut self, share: String, now: Instant) {
        let (_, last) = self.changed.entry(share).or_insert((now, now));
        *last = now;
    }

    /// A share was listed, which took so long and ended now. What changed meanwhile counts anew.
    pub fn handle_listed(&mut self, share: &str, took: Duration, now: Instant) {
        self.resting.insert(share.to_owned(), now + took.saturating_mul(REST));
    }

    /// A share is no more.
    pub fn forget(&mut self, share: &str) {
        self.changed.remove(share);
        self.resting.remove(share);
    }

    /// The next share to list now.
    pub fn poll(&mut self, now: Instant) -> Option<String> {
        let due = self.changed.keys().find(|share| self.due(share).is_some_and(|at| at <= now)).cloned()?;
        self.changed.remove(&due);
        Some(due)
    }

    /// When [`poll`](Self::poll) may give something.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.changed.keys().filter_map(|share| self.due(share)).min()
    }

    fn due(&self, share: &str) -> Option<Instant> {
        let (first, last) = self.changed.get(share)?;
        let wanted = (*last + QUIET).min(*first + RESTLESS);
        Some(self.resting.get(share).map_or(wanted, |rested| wanted.max(*rested)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::beginning;

    const MOMENT: Duration = Duration::from_millis(100);

    #[test]
    fn a_burst_of_changes_is_one_listing_once_it_is_over() {
        let (mut rescans, mut now) = (Rescans::default(), beginning());
        for _ in 0..10 {
            rescans.handle_change("music".into(), now);
            assert_eq!(rescans.poll(now), None);
            now += MOMENT;
        }
        assert_eq!(rescans.poll_timeout(), Some(now - MOMENT + QUIET));
        assert_eq!(rescans.poll(now + QUIET), Some("music".into()));
        assert_eq!((rescans.poll(now + QUIET), rescans.poll_timeout()), (None, None), "once");
    }

    #[test]
    fn a_share_that_never_rests_is_listed_all_the_same() {
        let (mut rescans, start) = (Rescans::default(), beginning());
        let mut now = start;
        while rescans.poll(now).is_none() {
            rescans.handle_change("music".into(), now);
            now += MOMENT;
            assert!(now <= start + RESTLESS + MOMENT);
        }
    }

    #[test]
    fn a_large_share_is_listed_only_a_part_of_the_time() {
        let (mut rescans, now) = (Rescans::default(), beginning());
        let took = Duration::from_secs(10);
        rescans.handle_listed("large", took, now);
        rescans.handle_change("large".into(), now);
        rescans.handle_change("small".into(), now);
        assert_eq!(rescans.poll(now + QUIET), Some("small".into()), "others do not wait for it");
        assert_eq!(rescans.poll(now + took * REST - MOMENT), None);
        assert_eq!(rescans.poll(now + took * REST), Some("large".into()));
        rescans.handle_change("large".into(), now);
        rescans.forget("large");
        assert_eq!(rescans.poll_timeout(), None);
    }
}

//! [`Figures`]: what a tracker has done, for its page and its metrics. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Over how long a rate is told: long enough to be steady, short enough to be of now.
const WINDOW: Duration = Duration::from_secs(10);
/// Events that are remembered: some screens.
const MAX_EVENTS: usize = 200;

/// What a tracker has done since it started, and lately.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Searches within the limits.
    pub(crate) searches: u64,
    /// Requests of any kind that were refused.
    pub(crate) refused: u64,
    /// Ends of the last windows: when, and how many searches there were by then.
    marks: VecDeque<(Instant, u64)>,
    events: VecDeque<Happened>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Happened {
    /// When, in seconds since 1970.
    pub(crate) at: i64,
    /// What, in a word or two.
    pub(crate) what: &'static str,
    /// To whom.
    pub(crate) peer: String,
}

impl Figures {
    /// Some time has passed.
    pub(crate) fn handle_tick(&mut self, now: Instant) {
        self.marks.push_back((now, self.searches));
        while self.marks.len() > 2 && self.marks.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
            self.marks.pop_front();
        }
    }

    /// Searches a second, lately.
    pub(crate) fn search_rate(&self) -> f64 {
        let Some(((begin, before), (end, after))) = self.marks.front().zip(self.marks.back()) else { return 0.0 };
        let seconds = end.saturating_duration_since(*begin).as_secs_f64();
        if seconds > 0.0 { (after - before) as f64 / seconds } else { 0.0 }
    }

    /// Something happened to a peer.
    pub(crate) fn note(&mut self, at: i64, what: &'static str, peer: &impl ToString) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(Happened { at, what, peer: peer.to_string() });
    }

    /// What happened, the latest first.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Happened> {
        self.events.iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::some_time;

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        let (mut figures, start) = (Figures::default(), some_time());
        assert_eq!(figures.search_rate().to_bits(), 0.0_f64.to_bits());
        for second in 0..60_u64 {
            figures.searches += if second < 30 { 100 } else { 5 };
            figures.handle_tick(start + Duration::from_secs(second));
        }
        assert!((figures.search_rate() - 5.0).abs() < 0.01, "{}", figures.search_rate());
        assert!(figures.marks.len() < 15);
    }

    #[test]
    fn old_events_make_room() {
        let mut figures = Figures::default();
        (0..300).for_each(|at| figures.note(at, "came", &at));
        assert_eq!(figures.events().count(), MAX_EVENTS);
        assert_eq!(figures.events().next().map(|event| event.at), Some(299));
    }
}

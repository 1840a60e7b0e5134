//! [`Lanes`]: how many connections to one peer pay.
//!
//! A connection gets of a line what its host's congestion control lets it have. Where packets are lost for other reasons
//! than a full line, or the path is long, that is a fraction of the line with most of them, and several connections get
//! several times that. So once a long path gets no faster by itself it is tried with four connections, and with more as
//! long as that pays. On a short path one connection is all that can be had: there encryption is the limit, and more only
//! cost.
//!
//! On a full line shared with others this takes a larger part of it, as every program with several connections does; that
//! it stops when nothing is gained keeps it from taking more than the line has.

use std::time::{Duration, Instant};

/// Paths of less delay are short.
pub(super) const LONG_DELAY: Duration = Duration::from_millis(20);
/// The first step: fills most lines, and costs a peer little.
const FIRST_STEP: u32 = 4;
/// As many times more are tried when the last ones were each worth about as much as the first, which is so where packets
/// are lost, and when they were worth less.
const BIG_STEP: u32 = 4;
const SMALL_STEP: u32 = 2;
/// Of what as many connections would give that are worth as much as the first.
const PROPORTIONAL: f64 = 0.6;
/// Most connections to one peer; below what a node accepts of one.
pub(super) const MOST_LANES: u32 = 24;
/// A rate that is this many times the one before still grows, or falls: more connections now would only overrun the line
/// together, and there is nothing that they could be compared with.
const GROWS: f64 = 1.1;
const FALLS: f64 = 0.7;
/// How long it must have been the same, in time and in delays.
const CALM: Duration = Duration::from_millis(300);
const CALM_DELAYS: u32 = 5;
/// How long connections that were asked for may take to come.
const OPENING: Duration = Duration::from_secs(2);
/// How long a number of connections is tried, at least, before its rate counts, and how long in delays: they start slowly.
const TRIAL: Duration = Duration::from_millis(700);
const TRIAL_DELAYS: u32 = 14;
/// How much faster more connections must be to have paid.
const PAYS: f64 = 1.15;
/// How long after a trial that did not pay the next begins; it costs nothing, as its connections are there.
const REST: Duration = Duration::from_secs(5);

/// How many connections there are to a peer, and whether more are worth a try.
#[derive(Debug)]
pub(super) struct Lanes {
    count: u32,
    /// As many of them as have paid.
    paid: u32,
    trial: Option<Trial>,
    /// A rate since the last trial, and since when it is about that.
    calm: Option<(f64, Instant)>,
    rests_until: Option<Instant>,
}

/// More connections than have paid.
#[derive(Clone, Copy, Debug)]
struct Trial {
    /// As many were asked for.
    wanted: u32,
    asked: Instant,
    /// When the last of them came.
    since: Instant,
    rate_before: f64,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { count: 1, paid: 1, trial: None, calm: None, rests_until: None }
    }
}

impl Trial {
    fn is_over(&self, count: u32, delay: Duration, now: Instant) -> bool {
        let is_opening = count < self.wanted && now.saturating_duration_since(self.asked) < OPENING;
        !is_opening && now.saturating_duration_since(self.since) >= TRIAL.max(delay * TRIAL_DELAYS)
    }
}

impl Lanes {
    /// Connections over which requests should be under way.
    pub(super) fn in_use(&self) -> u32 {
        if self.trial.is_some() { self.count } else { self.paid }
    }

    /// There are so many connections now.
    pub(super) fn handle_count(&mut self, count: u32, now: Instant) {
        if let Some(trial) = self.trial.as_mut().filter(|_| count > self.count) {
            trial.since = now;
        }
        self.count = count;
        self.paid = self.paid.min(count).max(1);
    }

    /// How many connections to add, given the rate in bytes per second and the delay of a peer that is kept busy.
    pub(super) fn add(&mut self, rate: f64, delay: Duration, now: Instant) -> Option<u32> {
        let mut step = SMALL_STEP;
        if let Some(trial) = self.trial {
            if !trial.is_over(self.count, delay, now) {
                return None;
            }
            self.trial = None;
            if rate < trial.rate_before * PAYS {
                self.rests_until = Some(now + REST);
                return None;
            }
            if rate >= trial.rate_before * f64::from(self.count) / f64::from(self.paid) * PROPORTIONAL {
                step = BIG_STEP;
            }
            self.paid = self.count;
        } else if !self.is_calm(rate, delay, now) {
            return None;
        }
        let rests = self.rests_until.is_some_and(|until| now < until);
        if delay < LONG_DELAY || rests || self.paid >= MOST_LANES {
            return None;
        }
        let wanted = if self.paid == 1 { FIRST_STEP } else { self.paid * step }.min(MOST_LANES);
        (self.trial, self.calm) = (Some(Trial { wanted, asked: now, since: now, rate_before: rate }), None);
        let more = wanted.saturating_sub(self.count);
        (more > 0).then_some(more)
    }

    /// Whether the peer has been about as fast for a while: a connection that is new sends more with every round trip.
    fn is_calm(&mut self, rate: f64, delay: Duration, now: Instant) -> bool {
        match self.calm {
            Some((about, since)) if (about * FALLS..about * GROWS).contains(&rate) => {
                now.saturating_duration_since(since) >= CALM.max(delay * CALM_DELAYS)
            }
            _ => {
                self.calm = Some((rate, now));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::beginning;

    /// Plays a peer for a while that gives `rate` for a number of connections. Returns how many there are, and have paid.
    fn play(lanes: &mut Lanes, delay: u64, seconds: u64, start: Instant, rate: impl Fn(u32) -> f64) -> (u32, u32) {
        let mut count = lanes.count;
        for tick in 0..seconds * 10 {
            let now = start + Duration::from_millis(tick * 100);
            if let Some(more) = lanes.add(rate(count), Duration::from_millis(delay), now) {
                count += more;
                lanes.handle_count(count, now + Duration::from_millis(3 * delay));
            }
        }
        (count, lanes.paid)
    }

    #[test]
    fn a_line_that_loses_packets_gets_as_many_connections_as_there_may_be() {
        assert_eq!(play(&mut Lanes::default(), 50, 20, beginning(), |count| f64::from(count) * 300e3), (MOST_LANES, MOST_LANES));
    }

    #[test]
    fn a_line_that_is_full_gets_a_few_and_uses_as_many_as_paid() {
        assert_eq!(play(&mut Lanes::default(), 50, 20, beginning(), |count| f64::from(count.min(4)) * 15e6), (16, 4));
    }

    #[test]
    fn a_slow_peer_ends_with_one_and_a_near_one_is_not_tried() {
        assert_eq!(play(&mut Lanes::default(), 50, 20, beginning(), |_| 1e6), (4, 1));
        assert_eq!(play(&mut Lanes::default(), 2, 20, beginning(), |count| f64::from(count) * 1e9), (1, 1));
    }

    #[test]
    fn a_trial_begins_when_its_connections_are_there() {
        let (mut lanes, delay, start) = (Lanes::default(), Duration::from_millis(50), beginning());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(lanes.add(1e6, delay, at(0)).or(lanes.add(1e6, delay, at(400))), Some(3));
        assert_eq!((lanes.in_use(), lanes.add(1e6, delay, at(1400))), (1, None), "they are still opening");
        lanes.handle_count(4, at(1500));
        assert_eq!((lanes.in_use(), lanes.add(1e6, delay, at(1600))), (4, None));
        assert_eq!((lanes.add(1e6, delay, at(2300)), lanes.in_use()), (None, 1), "they gave nothing");
        lanes.handle_count(2, at(2400));
        assert_eq!(lanes.in_use(), 1);
    }

    #[test]
    fn a_peer_that_still_gets_faster_is_left_alone() {
        let (mut lanes, start) = (Lanes::default(), beginning());
        let asked = (0..20).filter_map(|tick| {
            lanes.add(1e6 * 1.2_f64.powi(tick), Duration::from_millis(50), start + Duration::from_millis(100 * tick as u64))
        });
        assert_eq!(asked.count(), 0);
        let calm = (20..30).find_map(|tick| lanes.add(40e6, Duration::from_millis(50), start + Duration::from_millis(100 * tick)));
        assert_eq!(calm, Some(FIRST_STEP - 1));
    }

    #[test]
    fn where_each_connection_is_worth_as_much_as_the_first_there_are_many_within_three_seconds() {
        let count = play(&mut Lanes::default(), 50, 3, beginning(), |count| f64::from(count) * 300e3).0;
        assert_eq!(count, MOST_LANES);
    }
}

//! [`Lanes`]: how many connections to one peer pay.
//!
//! A connection gets of a line what its host's congestion control lets it have. Where packets are lost for other reasons
//! than a full line, or the path is long, that is a fraction of the line with most of them, and several connections get
//! several times that. So a long path to the only source gets eight connections as soon as a window of pieces is asked for by it, which
//! also begin eight times as fast as one; once a path gets no faster by itself it is tried with more, as long as that pays. Where it is plain that
//! packets are lost, for it brings less in a round trip than connections begin with, three times as many are tried without waiting. On a short path
//! one connection is all that can be had: there encryption is the limit, and more only cost.
//!
//! On a full line shared with others this takes a larger part of it, as every program with several connections does; that
//! it stops when nothing is gained keeps it from taking more than the line has.

use std::time::{Duration, Instant};

use super::load::{LONG_DELAY, TINY_WINDOW};

/// The first step: fills most lines, and costs a peer little.
const FIRST_STEP: u32 = 8;
/// As many times more are tried when packets are lost, and when they are not.
const BIG_STEP: u32 = 3;
const SMALL_STEP: u32 = 2;
/// In delays, how long it takes to be plain that packets are lost, and more connections to show what they are worth then: their windows
/// need not grow.
const SHORT_TRIAL_DELAYS: u32 = 6;
/// Most connections to one peer; below what a node accepts of one. Where one packet of a hundred is lost each brings a third of a
/// megabyte a second.
pub(super) const MOST_LANES: u32 = 40;
/// A rate that is this many times the one before still grows, or falls: more connections now would only overrun the line
/// together, and there is nothing that they could be compared with.
const GROWS: f64 = 1.1;
const FALLS: f64 = 0.7;
/// How long it must have been the same before the first step, in time and in delays.
const CALM: Duration = Duration::from_millis(300);
const CALM_DELAYS: u32 = 5;
/// As many times longer before a further one: where no packets are lost the line is probably full, and connections that are new to a full line
/// make all of them lose some.
const CALMER: u32 = 6;
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
    /// As many as have paid.
    paid: u32,
    /// When the first step was taken, the last of its connections came, or a rate was measured first: the latest of these.
    begun: Option<Instant>,
    /// Whether a rate was measured since the first step.
    is_measured: bool,
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
        Self { count: 1, paid: 1, begun: None, is_measured: false, trial: None, calm: None, rests_until: None }
    }
}

impl Trial {
    fn is_over(&self, count: u32, length: Duration, now: Instant) -> bool {
        let is_opening = !self.have_come(count) && now.saturating_duration_since(self.asked) < OPENING;
        !is_opening && now.saturating_duration_since(self.since) >= length
    }

    /// Most of them: where packets are lost some take seconds.
    fn have_come(&self, count: u32) -> bool {
        count * 4 >= self.wanted * 3
    }
}

impl Lanes {
    /// Connections over which requests should be under way.
    pub(super) fn in_use(&self) -> u32 {
        if self.trial.is_some() { self.count } else { self.paid.min(self.count) }
    }

    /// There are so many connections now.
    pub(super) fn handle_count(&mut self, count: u32, now: Instant) {
        if let Some(trial) = self.trial.as_mut().filter(|trial| count > self.count && !trial.have_come(self.count)) {
            trial.since = now;
        }
        if let Some(begun) = self.begun.as_mut().filter(|_| count > self.count && count <= FIRST_STEP) {
            *begun = now; // before they are there, nothing can be said of them
        }
        self.count = count;
    }

    /// How many connections to add at once to a peer of this delay that is asked for all that its window holds, and is the only one
    /// who is asked: others would make its path look longer than it is.
    pub(super) fn begin(&mut self, delay: Duration, now: Instant) -> Option<u32> {
        if self.begun.is_some() || delay < LONG_DELAY {
            return None;
        }
        (self.begun, self.paid) = (Some(now), FIRST_STEP);
        FIRST_STEP.checked_sub(self.count).filter(|more| *more > 0)
    }

    /// Whether the first step was taken.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// How many connections to add, given the rate in bytes per second and the delay of a peer that is kept busy.
    pub(super) fn add(&mut self, rate: f64, delay: Duration, now: Instant) -> Option<u32> {
        let Some(begun) = self.begun else {
            return if delay >= LONG_DELAY && self.is_calm(rate, delay, 1, now) { self.begin(delay, now) } else { None };
        };
        if !std::mem::replace(&mut self.is_measured, true) {
            self.begun = Some(now); // the connections may have waited for what they are to bring
            return None;
        }
        let is_losing = rate * delay.as_secs_f64() < TINY_WINDOW * f64::from(self.in_use());
        let length = if is_losing { delay * SHORT_TRIAL_DELAYS } else { TRIAL.max(delay * TRIAL_DELAYS) };
        if let Some(trial) = self.trial {
            if !trial.is_over(self.count, length, now) {
                return None;
            }
            self.trial = None;
            if rate < trial.rate_before * PAYS {
                self.rests_until = Some(now + REST);
                return None;
            }
            self.paid = self.count;
        } else if is_losing {
            if now.saturating_duration_since(begun) < length {
                return None;
            }
        } else if !self.is_calm(rate, delay, CALMER, now) {
            return None;
        }
        let rests = self.rests_until.is_some_and(|until| now < until);
        if rests || self.paid >= MOST_LANES {
            return None;
        }
        let wanted = (self.paid * if is_losing { BIG_STEP } else { SMALL_STEP }).min(MOST_LANES);
        (self.trial, self.calm) = (Some(Trial { wanted, asked: now, since: now, rate_before: rate }), None);
        let more = wanted.saturating_sub(self.count);
        (more > 0).then_some(more)
    }

    /// Whether the peer has been about as fast for a while, `times` as long as for the first step: a connection that is new sends more with
    /// every round trip.
    fn is_calm(&mut self, rate: f64, delay: Duration, times: u32, now: Instant) -> bool {
        match self.calm {
            Some((about, since)) if (about * FALLS..about * GROWS).contains(&rate) => {
                now.saturating_duration_since(since) >= CALM.max(delay * CALM_DELAYS) * times
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
            let (now, delay) = (start + Duration::from_millis(tick * 100), Duration::from_millis(delay));
            if let Some(more) = lanes.begin(delay, now).or_else(|| lanes.add(rate(count), delay, now)) {
                count += more;
                lanes.handle_count(count, now + 3 * delay);
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
        assert_eq!(play(&mut Lanes::default(), 50, 20, beginning(), |count| f64::from(count.min(4)) * 15e6), (16, 8));
    }

    #[test]
    fn a_slow_peer_is_tried_once_and_a_near_one_is_not() {
        assert_eq!(play(&mut Lanes::default(), 50, 20, beginning(), |_| 1e6), (24, 8));
        assert_eq!(play(&mut Lanes::default(), 2, 20, beginning(), |count| f64::from(count) * 1e9), (1, 1));
    }

    #[test]
    fn one_of_several_sources_is_tried_when_it_gets_no_faster() {
        let (mut lanes, delay, start) = (Lanes::default(), Duration::from_millis(50), beginning());
        let asked: Vec<u64> = (0..10).filter(|tick| lanes.add(1e6, delay, start + Duration::from_millis(tick * 100)).is_some()).collect();
        assert_eq!(asked.first(), Some(&3));
    }

    #[test]
    fn connections_that_are_slow_to_come_are_not_taken_for_a_line_that_loses_packets() {
        let (mut lanes, delay, start) = (Lanes::default(), Duration::from_millis(50), beginning());
        let at = |ms| start + Duration::from_millis(ms);
        lanes.begin(delay, at(0));
        assert_eq!(lanes.add(300e3, delay, at(250)), None);
        lanes.handle_count(8, at(290));
        assert_eq!(lanes.add(8.0 * 300e3, delay, at(310)).or(lanes.add(8.0 * 300e3, delay, at(580))), None, "they are new");
        assert_eq!(lanes.add(8.0 * 300e3, delay, at(600)), Some(16));
    }

    #[test]
    fn a_trial_begins_when_its_connections_are_there() {
        let (mut lanes, delay, start) = (Lanes::default(), Duration::from_millis(50), beginning());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!((lanes.begin(delay, at(0)), lanes.begin(delay, at(10))), (Some(7), None));
        lanes.handle_count(8, at(100));
        lanes.add(20e6, delay, at(150));
        assert_eq!((lanes.in_use(), lanes.add(20e6, delay, at(200)).or(lanes.add(20e6, delay, at(2000)))), (8, Some(8)));
        assert_eq!((lanes.in_use(), lanes.add(20e6, delay, at(3000))), (8, None), "they are still opening");
        lanes.handle_count(16, at(3100));
        assert_eq!((lanes.in_use(), lanes.add(20e6, delay, at(3200))), (16, None));
        assert_eq!((lanes.add(20e6, delay, at(3900)), lanes.in_use()), (None, 8), "they gave nothing");
        lanes.handle_count(2, at(4000));
        assert_eq!(lanes.in_use(), 2);
    }

    #[test]
    fn a_peer_that_still_gets_faster_is_left_alone() {
        let (mut lanes, start) = (Lanes::default(), beginning());
        let (delay, at) = (Duration::from_millis(50), |tick: u32| start + Duration::from_millis(100) * tick);
        lanes.begin(delay, start);
        lanes.handle_count(8, start);
        let asked = (0..20).filter_map(|tick: u32| lanes.add(10e6 * 1.2_f64.powi(tick as i32), delay, at(tick)));
        assert_eq!(asked.count(), 0);
        assert_eq!((20..50).find_map(|tick| lanes.add(400e6, delay, at(tick))), Some(8));
    }

    #[test]
    fn where_packets_are_lost_there_are_many_within_a_second_and_a_half() {
        let mut lanes = Lanes::default();
        let start = beginning();
        let count = (0..15).fold(1, |count, tick| {
            let now = start + Duration::from_millis(100) * tick;
            let delay = Duration::from_millis(50);
            let more = lanes.begin(delay, now).or_else(|| lanes.add(f64::from(count) * 300e3, delay, now)).unwrap_or(0);
            lanes.handle_count(count + more, now);
            count + more
        });
        assert_eq!(count, MOST_LANES);
    }
}

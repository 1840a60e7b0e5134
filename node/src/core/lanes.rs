//! [`Lanes`]: how many connections to one peer pay.
//!
//! A connection gets of a line what its host's congestion control lets it have. Where packets are lost for other reasons
//! than a full line, or the path is long, that is a fraction of the line with most of them, and several connections get
//! several times that. So a long path is tried with four connections, and with twice as many as long as that pays. On a
//! short path one connection is all that can be had: there encryption is the limit, and more only cost.
//!
//! On a full line shared with others this takes a larger part of it, as every program with several connections does; that
//! it stops when nothing is gained keeps it from taking more than the line has.

use std::time::{Duration, Instant};

/// Paths of less delay are short.
const LONG_DELAY: Duration = Duration::from_millis(20);
/// The first step: fills most lines, and costs a peer little.
const FIRST_STEP: u32 = 4;
/// Most connections to one peer; below what a node accepts of one.
pub(super) const MOST_LANES: u32 = 24;
/// How long a number of connections is tried, at least, before its rate counts, and how long in delays: they start slowly.
const TRIAL: Duration = Duration::from_millis(1200);
const TRIAL_DELAYS: u32 = 15;
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
    rests_until: Option<Instant>,
}

/// More connections than have paid, since when, and the rate with those before.
#[derive(Clone, Copy, Debug)]
struct Trial {
    since: Instant,
    rate_before: f64,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { count: 1, paid: 1, trial: None, rests_until: None }
    }
}

impl Lanes {
    /// Connections over which requests should be under way.
    pub(super) fn in_use(&self) -> u32 {
        if self.trial.is_some() { self.count } else { self.paid }
    }

    /// How many connections to add, given the rate in bytes per second and the delay of a peer that is kept busy.
    pub(super) fn add(&mut self, rate: f64, delay: Duration, now: Instant) -> Option<u32> {
        if let Some(trial) = self.trial {
            if now.saturating_duration_since(trial.since) < TRIAL.max(delay * TRIAL_DELAYS) {
                return None;
            }
            self.trial = None;
            if rate < trial.rate_before * PAYS {
                self.rests_until = Some(now + REST);
                return None;
            }
            self.paid = self.count;
        }
        let rests = self.rests_until.is_some_and(|until| now < until);
        if delay < LONG_DELAY || rests || self.paid >= MOST_LANES {
            return None;
        }
        self.trial = Some(Trial { since: now, rate_before: rate });
        let wanted = if self.paid == 1 { FIRST_STEP } else { self.paid * 2 }.min(MOST_LANES);
        let more = wanted.saturating_sub(self.count);
        self.count = self.count.max(wanted);
        (more > 0).then_some(more)
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
            count += lanes.add(rate(count), Duration::from_millis(delay), now).unwrap_or(0);
        }
        (count, lanes.paid)
    }

    #[test]
    fn a_line_that_loses_packets_gets_as_many_connections_as_there_may_be() {
        assert_eq!(play(&mut Lanes::default(), 50, 20, beginning(), |count| f64::from(count) * 300e3), (MOST_LANES, MOST_LANES));
    }

    #[test]
    fn a_line_that_is_full_gets_a_few_and_uses_as_many_as_paid() {
        let mut lanes = Lanes::default();
        assert_eq!(play(&mut lanes, 50, 20, beginning(), |count| f64::from(count.min(4)) * 15e6), (8, 4));
        let later = beginning() + Duration::from_secs(3600);
        assert_eq!(play(&mut lanes, 50, 20, later, |count| f64::from(count) * 15e6), (MOST_LANES, MOST_LANES), "the line has changed");
    }

    #[test]
    fn a_slow_peer_ends_with_one_and_a_near_one_is_not_tried() {
        assert_eq!(play(&mut Lanes::default(), 50, 20, beginning(), |_| 1e6), (4, 1));
        assert_eq!(play(&mut Lanes::default(), 2, 20, beginning(), |count| f64::from(count) * 1e9), (1, 1));
    }
}
